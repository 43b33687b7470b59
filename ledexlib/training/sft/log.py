"""What is kept of a fine-tuning: the losses, and the model's card."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pandas as pd
from transformers import TrainerCallback

from ledexlib.params import Params
from ledexlib.records import Record
from ledexlib.runs import JsonLines, Progress
from ledexlib.training.card import model_card
from ledexlib.training.sft.data import KINDS, SFTExamples

LOG = "log.jsonl"


class LossRecord(Record):
    """The loss in nats a token of a series, which is 'train' or a kind of held-out data, after so many steps.

    The training loss is the mean since the line before. ``tokens_per_second`` counts all tokens, those without loss
    too, over the time spent in training steps.
    """

    id: str
    series: str
    step: int
    epoch: float
    loss: float
    learning_rate: float | None = None
    tokens_per_second: float | None = None


def read_sft_log(folder: Path) -> pd.DataFrame:
    """The training log of a folder, a row for each ``LossRecord``."""
    return pd.DataFrame([row.model_dump() for row in JsonLines(folder / LOG, LossRecord)])


class SFTLogCallback(TrainerCallback):
    """Writes the log and the progress, from the first process only; logs the last step too."""

    def __init__(self, folder: Path, model: str) -> None:
        self.folder, self.model = folder, model
        self.log: JsonLines[LossRecord] | None = None
        self.progress: Progress | None = None
        self._busy = self._began = self._tokens = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            self.log = JsonLines(self.folder / LOG, LossRecord)
            self.log.append(())  # a line that a kill tore must not stay
            label = f"SFT of {Path(self.model).name}: steps"
            self.progress = Progress(self.folder, state.max_steps, label, state.global_step)

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._began = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._busy += time.monotonic() - self._began
        if self.progress:
            self.progress.advance()
        if state.global_step == state.max_steps:
            control.should_log = True

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
        if self.log is None:
            return
        rows = []
        common = {"step": state.global_step, "epoch": round(state.epoch or 0.0, 4)}
        if "loss" in logs:
            speed = (logs["num_tokens"] - self._tokens) / self._busy
            self._tokens, self._busy = logs["num_tokens"], 0.0
            rows.append(LossRecord(
                id=f"{state.global_step} train", series="train", loss=logs["loss"], tokens_per_second=round(speed, 1),
                learning_rate=logs["learning_rate"], **common,
            ))  # fmt: skip
        for kind in KINDS:
            if f"eval_{kind}_loss" in logs:
                loss = logs[f"eval_{kind}_loss"]
                rows.append(LossRecord(id=f"{state.global_step} {kind}", series=kind, loss=loss, **common))
        self.log.append(rows)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.progress:
            self.progress.close()


def sft_card(examples: SFTExamples, p: Params, folder: Path) -> str:
    """A Markdown card that says what the model is, what it was trained on and how."""
    n_problems = len({e.task_id for e in examples.train})
    counts = ", ".join(f"{sum(e.kind == kind for e in examples.train):,} {kind}" for kind in KINDS)
    last = {row.series: row.loss for row in JsonLines(folder / LOG, LossRecord)}
    losses = ", ".join(f"{name} {loss:.4f}" for name, loss in last.items())
    about = (
        f"Trained on verified trajectories of {p.benchmark} ({p.split}): {counts}\n"
        f"examples of {n_problems:,} problems; {len(examples.too_long):,} were left out as too long. "
        f"Last losses (nats a token): {losses}."
    )
    return model_card(p, "sft", "fine-tuned to explain and repair its programs", about)
