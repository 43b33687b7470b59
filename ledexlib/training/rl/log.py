"""What is kept of a training by reinforcement: a line for each batch of answers, and some answers token by token."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from transformers import TrainerCallback

from ledexlib.runs.storage import JsonLines
from ledexlib.runs.progress import Progress
from ledexlib.records import Record
from ledexlib.training.rl.scoring import Judged

LOG, SHOWN, STOPPED = "log.jsonl", "rollouts.jsonl", "stopped.txt"


class Update(Record):
    """A batch of answers and what was learned from it; ``metrics`` by name, None where there is no value.

    ``rollout/…`` are means over the batch's answers, ``seconds/…`` times, the others means over the optimizer's steps.
    """

    id: str
    step: int  # batches of answers so far
    metrics: dict[str, float | None]


class Shown(Record):
    """An answer token by token: ``tokens`` (text), the reward placed at each, its value and its advantage."""

    id: str
    step: int
    task_id: str
    solution_id: str
    explain: bool
    tokens: tuple[str, ...]
    explanation_tokens: int
    rewards: tuple[float, ...]
    kl: tuple[float, ...]
    values: tuple[float, ...]
    advantages: tuple[float, ...]
    code_reward: float | None
    explanation_reward: float | None
    status: str


def read_log(folder: Path) -> JsonLines[Update]:
    """The training log of a stage."""
    return JsonLines(folder / LOG, Update)


def read_shown(folder: Path) -> JsonLines[Shown]:
    """The answers that were kept token by token."""
    return JsonLines(folder / SHOWN, Shown)


class Clock:
    """Seconds by what they were spent on; a GPU is waited for."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        began = self._now()
        yield
        self.seconds[name] += self._now() - began

    @staticmethod
    def _now() -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()


def facts(judged: Judged) -> dict[str, list[float]]:
    """What is logged of each answer, by name; NaN where it has no such thing."""
    nan = float("nan")

    def reward(name: str) -> list[float]:
        values = [getattr(s.reward, name) if s.reward else None for s in judged.scored]
        return [nan if value is None else float(value) for value in values]

    counted = [s.verdict.status != "infra" for s in judged.scored]
    return {
        "reward": reward("total"), "code reward": reward("code"), "explanation reward": reward("explanation"),
        "s_cb": reward("s_cb"), "s_ut": reward("s_ut"), "s_ex": reward("s_ex"),
        "guarded": [nan if s.reward is None else float(bool(s.reward.guards)) for s in judged.scored],
        "repaired": [float(s.verdict.passed) if ok else nan for s, ok in zip(judged.scored, counted, strict=True)],
        "unscored": [float(s.reward is None) for s in judged.scored],
        "invalid": [float(not s.answer.valid) for s in judged.scored],
        "tokens": [float(s.answer.tokens) for s in judged.scored],
        "explanation tokens": [
            float(s.answer.explanation_tokens) if s.answer.explanation is not None else nan for s in judged.scored
        ],
    }  # fmt: skip

KEPT = {  # trl's names and ours
    "entropy": "entropy", "clip_ratio/region_mean": "clip fraction", "clip_ratio/low_mean": "clipped low",
    "clip_ratio/high_mean": "clipped high", "completions/clipped_ratio": "unfinished", "grad_norm": "gradient norm",
    "learning_rate": "learning rate", "loss": "loss", "num_tokens": "tokens seen", "kl": "kl a token",
}  # fmt: skip


class Recorder(TrainerCallback):
    """Writes log, answers and progress, from the first process only; stops the training when the trainer says so."""

    def __init__(self, folder: Path, steps: int, updates: int, shown: int) -> None:
        self.folder, self.steps, self.updates, self.shown = folder, steps, updates, shown
        self.trainer: Any = None  # set once it is made
        self.log: JsonLines[Update] | None = None
        self.answers: JsonLines[Shown] | None = None
        self.progress: Progress | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            self.log, self.answers = read_log(self.folder), read_shown(self.folder)
            for lines in (self.log, self.answers):
                lines.append(())  # a line that a kill tore must not stay
            self.progress = Progress(self.folder, self.steps, "batches of answers", state.global_step // self.updates)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.trainer.stopped and state.global_step % self.updates == 0:
            control.should_training_stop = True

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
        if self.log is None or "loss" not in logs:
            return
        step = state.global_step // self.updates
        metrics = {KEPT.get(name, name): value for name, value in logs.items() if name in KEPT or _ours(name)}
        self.log.append([Update(id=str(step), step=step, metrics=metrics)])
        self.answers.append(self._shown(step))
        self.progress.advance()

    def _shown(self, step: int) -> list[Shown]:
        """Some answers at random: those to one prompt lie together, and kinds of prompts come in a regular pattern."""
        latest, decode = self.trainer.latest, self.trainer.processing_class.decode
        batch, rows = latest["batch"], []
        answers = len(latest["scored"])
        for row in sorted(random.Random(step).sample(range(answers), min(self.shown, answers))):
            scored, asked = latest["scored"][row], latest["asked"][row]
            n = int(batch["completion_mask"][row].sum())

            def numbers(x: Any, row: int = row, n: int = n) -> tuple[float, ...]:
                return tuple(round(value, 4) for value in x[row, :n].tolist())

            ids = batch["completion_ids"][row, :n].tolist()
            rows.append(Shown(
                id=f"{step} {row}", step=step, **asked, tokens=tuple(decode([i]) for i in ids),
                explanation_tokens=int(latest["explained"][row]), rewards=numbers(latest["rewards"]),
                kl=numbers(latest["kl"]), values=numbers(batch["old_values"]), advantages=numbers(batch["advantages"]),
                code_reward=scored.reward.code if scored.reward else None,
                explanation_reward=scored.reward.explanation if scored.reward else None, status=scored.verdict.status,
            ))  # fmt: skip
        return rows

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.progress:
            self.progress.close()


def _ours(name: str) -> bool:
    return name.startswith(("rollout/", "seconds/")) or name in ("ratio", "value loss", "beta", "explained variance")


# What the notebook shows

CHANGES = {  # what is compared between the first and the last batches, and its name in tables
    "rollout/reward": "reward R(e) + R(r)", "rollout/code reward": "R(r)", "rollout/explanation reward": "R(e)",
    "rollout/repaired": "repaired", "rollout/s_ut": "S_ut", "rollout/s_cb": "S_cb", "rollout/s_ex": "S_ex",
    "rollout/invalid": "invalid answers", "rollout/kl": "KL, nats an answer", "entropy": "entropy, nats a token",
    "rollout/tokens": "tokens an answer", "rollout/explanation tokens": "tokens an explanation",
}  # fmt: skip


def frame(log: Iterable[Update]) -> pd.DataFrame:
    """The log with a column for each metric, its batch in ``step``; columns that a batch lacks are NaN."""
    table = pd.DataFrame([{"step": row.step, **row.metrics} for row in log])
    return table.astype({name: float for name in table if name != "step"})


def change(log: pd.DataFrame, share: float = 0.2) -> pd.DataFrame:
    """Each metric's mean over the first and the last ``share`` of the batches, and the difference with its interval."""
    few = max(1, round(len(log) * share))
    rows = []
    for name, title in CHANGES.items():
        if name not in log or log[name].isna().all():
            continue
        first, last = (part.dropna().to_numpy() for part in (log[name][:few], log[name][-few:]))
        if len(first) and len(last):
            difference = _difference(first, last)
            rows.append({"of answers": title, f"first {few}": first.mean(), f"last {few}": last.mean(), **difference})
    return pd.DataFrame(rows)


def _difference(first: np.ndarray, last: np.ndarray, draws: int = 2000) -> dict[str, float]:
    """Mean of the last less mean of the first, each resampled by batch."""
    rng = np.random.default_rng(0)
    drawn = [x[rng.integers(len(x), size=(draws, len(x)))].mean(1) for x in (first, last)]
    low, high = np.quantile(drawn[1] - drawn[0], (0.025, 0.975))
    return {"difference": last.mean() - first.mean(), "low": low, "high": high}


def headline(changes: pd.DataFrame) -> dict[str, float]:
    """The differences that a run is remembered by."""
    rows = changes.set_index("of answers")
    wanted = [row for row in ("R(e)", "R(r)", "repaired") if row in rows.index]
    return {f"{row} gained": round(float(rows.loc[row, "difference"]), 3) for row in wanted}


def pick(answers: Iterable[Shown]) -> list[Shown]:
    """An early and a late answer with an explanation if there are any, else without."""
    every = list(answers)
    explained = [answer for answer in every if answer.explain and answer.explanation_tokens > 1] or every
    return [explained[0], explained[-1]] if len(explained) > 1 else explained
