"""What is kept of a training by reinforcement: a line for each batch of answers, and some answers token by token."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from transformers import TrainerCallback

from ledexlib.params import Params
from ledexlib.records import Record
from ledexlib.runs import JsonLines, Progress
from ledexlib.training.card import model_card
from ledexlib.training.rl.scoring import ScoredBatch

if TYPE_CHECKING:
    from ledexlib.training.rl.trainer import RepairTrainer

LOG, TRACES, STOPPED = "log.jsonl", "rollouts.jsonl", "stopped.txt"
TRACED = 4  # answers of each batch that are kept token by token


class BatchRecord(Record):
    """A batch of answers and what was learned from it; ``metrics`` by name, None where there is no value.

    ``rollout/…`` are means over the batch's answers, ``seconds/…`` times, the others means over the optimizer's steps.
    """

    id: str
    step: int  # batches of answers so far
    metrics: dict[str, float | None]


class TokenTrace(Record):
    """An answer token by token: ``tokens`` (text), the reward placed at each, its KL, its value and its advantage."""

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


def read_rl_log(folder: Path) -> pd.DataFrame:
    """The training log of a folder: a column for each metric, its batch in ``step``; NaN where a batch lacks one."""
    return log_table(JsonLines(folder / LOG, BatchRecord))


def log_table(log: Iterable[BatchRecord]) -> pd.DataFrame:
    """The log as ``read_rl_log`` gives it."""
    table = pd.DataFrame([{"step": row.step, **row.metrics} for row in log])
    return table.astype({name: float for name in table if name != "step"})


def read_traces(folder: Path) -> list[TokenTrace]:
    """The answers that were kept token by token."""
    return JsonLines(folder / TRACES, TokenTrace).read()


class Stopwatch:
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


def rollout_facts(batch: ScoredBatch) -> dict[str, list[float]]:
    """What is logged of each answer, by name; NaN where it has no such thing."""
    nan, rollouts = float("nan"), batch.rollouts

    def reward(name: str) -> list[float]:
        values = [getattr(r.reward, name) if r.reward else None for r in rollouts]
        return [nan if value is None else float(value) for value in values]

    verdicts = [r.refinement.verdict for r in rollouts]
    return {
        "reward": reward("total"), "code reward": reward("code"), "explanation reward": reward("explanation"),
        "s_cb": reward("s_cb"), "s_ut": reward("s_ut"), "s_ex": reward("s_ex"),
        "repaired": [nan if verdict.status == "infra" else float(verdict.passed) for verdict in verdicts],
        "unscored": [float(r.reward is None) for r in rollouts],
        "invalid": [float(not r.answer.valid) for r in rollouts],
        "tokens": [float(r.answer.tokens) for r in rollouts],
        "explanation tokens": [
            nan if r.answer.explanation is None else float(r.answer.explanation_tokens) for r in rollouts
        ],
    }  # fmt: skip


NAMES = {  # trl's names and ours
    "entropy": "entropy", "clip_ratio/region_mean": "clip fraction", "clip_ratio/low_mean": "clipped low",
    "clip_ratio/high_mean": "clipped high", "completions/clipped_ratio": "unfinished", "grad_norm": "gradient norm",
    "learning_rate": "learning rate", "loss": "loss", "num_tokens": "tokens seen", "kl": "kl a token",
}  # fmt: skip


class RLLogCallback(TrainerCallback):
    """Writes log, answers and progress, from the first process only; stops the training when the trainer says so."""

    def __init__(self, folder: Path, p: Params, trainer: RepairTrainer) -> None:
        self.folder, self.steps, self.updates, self.trainer = folder, p.ppo_steps, trainer.updates, trainer
        self.log: JsonLines[BatchRecord] | None = None
        self.traces: JsonLines[TokenTrace] | None = None
        self.progress: Progress | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            self.log = JsonLines(self.folder / LOG, BatchRecord)
            self.traces = JsonLines(self.folder / TRACES, TokenTrace)
            for lines in (self.log, self.traces):
                lines.append(())  # a line that a kill tore must not stay
            label = f"{self.trainer.p.ppo_algorithm.upper()}: batches of answers"
            self.progress = Progress(self.folder, self.steps, label, state.global_step // self.updates)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.trainer.stopped and state.global_step % self.updates == 0:
            control.should_training_stop = True

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
        if self.log is None or "loss" not in logs:
            return
        step = state.global_step // self.updates
        metrics = {NAMES.get(name, name): value for name, value in logs.items() if name in NAMES or _is_ours(name)}
        self.log.append([BatchRecord(id=str(step), step=step, metrics=metrics)])
        self.traces.append(self._traced(step))
        self.progress.advance()

    def _traced(self, step: int) -> list[TokenTrace]:
        """Some answers at random: those to one prompt lie together, and kinds of prompts come in a regular pattern."""
        latest, decode = self.trainer.latest, self.trainer.processing_class.decode
        batch, traces = latest["batch"], []
        answers = len(latest["rollouts"])
        for row in sorted(random.Random(step).sample(range(answers), min(TRACED, answers))):
            rollout, asked = latest["rollouts"][row], latest["asked"][row]
            n = int(batch["completion_mask"][row].sum())

            def numbers(x: Any, row: int = row, n: int = n) -> tuple[float, ...]:
                return tuple(round(value, 4) for value in x[row, :n].tolist())

            ids = batch["completion_ids"][row, :n].tolist()
            traces.append(TokenTrace(
                id=f"{step} {row}", step=step, **asked, tokens=tuple(decode([i]) for i in ids),
                explanation_tokens=int(latest["explained"][row]), rewards=numbers(latest["rewards"]),
                kl=numbers(latest["kl"]), values=numbers(batch["old_values"]), advantages=numbers(batch["advantages"]),
                code_reward=rollout.reward and rollout.reward.code,
                explanation_reward=rollout.reward and rollout.reward.explanation,
                status=rollout.refinement.verdict.status,
            ))  # fmt: skip
        return traces

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.progress:
            self.progress.close()


def _is_ours(name: str) -> bool:
    return name.startswith(("rollout/", "seconds/")) or name in ("ratio", "value loss", "beta", "explained variance")


# What the notebook shows

CHANGES = {  # what is compared between the first and the last batches, and its name in tables
    "rollout/reward": "reward R(e) + R(r)", "rollout/code reward": "R(r)", "rollout/explanation reward": "R(e)",
    "rollout/repaired": "repaired", "rollout/s_ut": "S_ut", "rollout/s_cb": "S_cb", "rollout/s_ex": "S_ex",
    "rollout/invalid": "invalid answers", "rollout/kl": "KL, nats an answer", "entropy": "entropy, nats a token",
    "rollout/tokens": "tokens an answer", "rollout/explanation tokens": "tokens an explanation",
}  # fmt: skip


def change_table(log: pd.DataFrame, share: float = 0.2) -> pd.DataFrame:
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


def rl_gains(changes: pd.DataFrame) -> dict[str, float]:
    """The differences that a run is remembered by, from a ``change_table``."""
    rows = changes.set_index("of answers")
    wanted = [row for row in ("R(e)", "R(r)", "repaired") if row in rows.index]
    return {f"{row} gained": round(float(rows.loc[row, "difference"]), 3) for row in wanted}


def early_and_late(traces: Sequence[TokenTrace]) -> list[TokenTrace]:
    """An early and a late answer with an explanation if there are any, else without."""
    explained = [trace for trace in traces if trace.explain and trace.explanation_tokens > 1] or list(traces)
    return [explained[0], explained[-1]] if len(explained) > 1 else explained


def rl_card(p: Params, folder: Path) -> str:
    """A Markdown card that says what the model is, how it was trained and what came of it."""
    log = read_rl_log(folder)
    few = max(1, len(log) // 10)
    batches = "batch" if few == 1 else f"{few} batches"
    rows = [
        f"| {title} | {log[name][:few].mean():.2f} | {log[name][-few:].mean():.2f} |"
        for name, title in CHANGES.items() if name in log and log[name].notna().any()
    ]  # fmt: skip
    stopped = (folder / STOPPED).read_text() if (folder / STOPPED).exists() else ""
    return model_card(p, "ppo", "fine-tuned and then trained with two rewards to explain and repair its programs", (
        f"{len(log)} batches of {p.ppo_batch} answers to wrong programs of {p.benchmark} ({p.split}). {stopped}\n"
        + "\n".join([f"| means over answers | first {batches} | last {batches} |", "|-|-|-|", *rows])
    ))  # fmt: skip
