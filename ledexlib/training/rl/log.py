"""What is kept of a training by reinforcement: a line for each batch of answers, and some answers token by token."""

import math
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ledexlib.params import Params
from ledexlib.records import Record
from ledexlib.runs import JsonLines
from ledexlib.training.log import LogCallback, model_card
from ledexlib.training.rl.scoring import ScoredBatch

LOG, TRACES, STOPPED = "log.jsonl", "rollouts.jsonl", "stopped.txt"
TRACED = 4  # answers of each batch that are kept token by token


class BatchRecord(Record):
    """A batch of answers and what was learned from it; ``metrics`` by name, None where there is no value.

    ``rollout/…`` are means over the batch's answers, ``seconds/…`` times, others means over the optimizer's steps."""
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
    table = pd.DataFrame([{"step": row.step, **row.metrics} for row in JsonLines(folder / LOG, BatchRecord)])
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
    rows = []
    for answer, refinement, reward in batch.rollouts:
        verdict, explained = refinement.verdict, answer.explanation is not None
        rows.append({
            "reward": reward and reward.total, "code reward": reward and reward.code,
            "explanation reward": reward and reward.explanation, "s_cb": reward and reward.s_cb,
            "s_ut": reward and reward.s_ut, "s_ex": reward and reward.s_ex, "unscored": reward is None,
            "repaired": None if verdict.status == "infra" else verdict.passed, "invalid": not answer.valid,
            "tokens": answer.tokens, "explanation tokens": answer.explanation_tokens if explained else None})
    return {name: [math.nan if row[name] is None else float(row[name]) for row in rows] for name in rows[0]}


NAMES = {  # trl's names and ours
    "entropy": "entropy", "clip_ratio/region_mean": "clip fraction", "clip_ratio/low_mean": "clipped low",
    "clip_ratio/high_mean": "clipped high", "completions/clipped_ratio": "unfinished", "grad_norm": "gradient norm",
    "learning_rate": "learning rate", "loss": "loss", "num_tokens": "tokens seen", "kl": "kl a token"}
OURS = ("ratio", "value loss", "beta", "explained variance")


class RLLogCallback(LogCallback):
    """Writes log, answers and progress of a ``RepairTrainer``; stops the training when it says so."""

    def __init__(self, folder: Path, trainer: Any) -> None:
        label = f"{trainer.p.ppo_algorithm.upper()}: batches of answers"
        super().__init__(folder, {LOG: BatchRecord, TRACES: TokenTrace}, label, trainer.updates)
        self.trainer = trainer

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.trainer.stopped and state.global_step % self.updates == 0:
            control.should_training_stop = True

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
        if not self.files or "loss" not in logs:
            return
        step = state.global_step // self.updates
        kept = {name for name in logs if name in NAMES or name in OURS or name.startswith(("rollout/", "seconds/"))}
        metrics = {NAMES.get(name, name): value for name, value in logs.items() if name in kept}
        self.files[LOG].append([BatchRecord(id=str(step), step=step, metrics=metrics)])
        self.files[TRACES].append(self._traced(step))
        self.progress.advance()

    def _traced(self, step: int) -> list[TokenTrace]:
        """Some answers at random: those to one prompt lie together, and kinds of prompts come in a regular pattern."""
        latest, decode = self.trainer.latest, self.trainer.processing_class.decode
        batch, traces, answers = latest["batch"], [], len(latest["rollouts"])
        by_token = {"rewards": latest["rewards"], "kl": latest["kl"]}
        by_token |= {"values": batch["old_values"], "advantages": batch["advantages"]}
        for row in sorted(random.Random(step).sample(range(answers), min(TRACED, answers))):
            _, refinement, reward = latest["rollouts"][row]
            n = int(batch["completion_mask"][row].sum())
            traces.append(TokenTrace(
                id=f"{step} {row}", step=step, **latest["asked"][row], status=refinement.verdict.status,
                tokens=tuple(decode([i]) for i in batch["completion_ids"][row, :n].tolist()),
                explanation_tokens=int(latest["explained"][row]), code_reward=reward and reward.code,
                explanation_reward=reward and reward.explanation,
                **{name: tuple(round(value, 4) for value in x[row, :n].tolist()) for name, x in by_token.items()}))
        return traces


CHANGES = {  # what is compared between the first and the last batches, and its name in tables
    "rollout/reward": "reward R(e) + R(r)", "rollout/code reward": "R(r)", "rollout/explanation reward": "R(e)",
    "rollout/repaired": "repaired", "rollout/s_ut": "S_ut", "rollout/s_cb": "S_cb", "rollout/s_ex": "S_ex",
    "rollout/invalid": "invalid answers", "rollout/kl": "KL, nats an answer", "entropy": "entropy, nats a token",
    "rollout/tokens": "tokens an answer", "rollout/explanation tokens": "tokens an explanation"}


def change_table(log: pd.DataFrame) -> pd.DataFrame:
    """Each metric's mean over the first and the last fifth of the batches, and the difference with its 95% interval."""
    few = max(1, round(len(log) * 0.2))
    rows = []
    for name, title in CHANGES.items():
        ends = [part.dropna().to_numpy() for part in (log[name][:few], log[name][-few:])] if name in log else [()]
        if all(map(len, ends)):
            rng, (first, last) = np.random.default_rng(0), [x.mean() for x in ends]
            drawn = [x[rng.integers(len(x), size=(2000, len(x)))].mean(1) for x in ends]  # resampled by batch
            low, high = np.quantile(drawn[1] - drawn[0], (0.025, 0.975))
            row = {"of answers": title, f"first {few}": first, f"last {few}": last, "difference": last - first}
            rows.append({**row, "low": low, "high": high})
    return pd.DataFrame(rows)


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
        for name, title in CHANGES.items() if name in log and log[name].notna().any()]
    stopped = (folder / STOPPED).read_text() if (folder / STOPPED).exists() else ""
    return model_card(p, "ppo", "fine-tuned and then trained with two rewards to explain and repair its programs", (
        f"{len(log)} batches of {p.ppo_batch} answers to wrong programs of {p.benchmark} ({p.split}). {stopped}\n"
        + "\n".join([f"| means over answers | first {batches} | last {batches} |", "|-|-|-|", *rows])))
