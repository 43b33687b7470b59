"""Supervised fine-tuning (paper section 2) with trl's SFTTrainer: all weights or LoRA, loss on the last turn only.

A stage's folder holds the examples and gets the log, the checkpoints and, last, ``model``, an ordinary transformers
folder. A killed training goes on from its last whole checkpoint; on a CPU it ends with the weights of an undisturbed
one. Several processes train together with ``accelerate launch -m ledexlib.sft PARAMS.yaml [--run NAME]``, which the
notebook does by itself where there is more than one GPU.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import torch
from transformers import PrinterCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer

from ledexlib.models.local import checkpoints as backbones
from ledexlib.training import launch
from ledexlib.training.sft import data as sft_data
from ledexlib.runs.storage import ArtifactError, JsonLines, read_json
from ledexlib.runs.progress import Progress
from ledexlib.training.launch import Training
from ledexlib.params.layers import ParameterError
from ledexlib.records import Record
from ledexlib.training.sft.data import KINDS, Example, Split
from ledexlib.params.vocabulary import Params

STAGE = "04_sft"
FILES = {"train": "examples.jsonl", "held_out": "held_out.jsonl", "too_long": "too_long.jsonl"}


class Measurement(Record):
    """A line of the training log: the loss in nats a token of a series, which is 'train' or a kind of held-out data.

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


def check(p: Params) -> None:
    """Raise ParameterError for settings that cannot work, before any work."""
    backbones.check(p)
    if not any(getattr(p, f"sft_{kind}") for kind in KINDS):
        raise ParameterError(f"{', '.join(f'sft_{kind}' for kind in KINDS)} are all 0: there is nothing to learn")
    launch.check(p, "sft")
    _accumulation(p, launch.processes(p, "sft"))


def _accumulation(p: Params, world: int) -> tuple[int, int]:
    """Examples on a device at once, and how many such micro-batches each process adds up to the batch."""
    device = min(p.sft_device_batch, max(1, p.sft_batch // world))
    if p.sft_batch % (device * world):
        raise ParameterError(
            f"sft_batch = {p.sft_batch} is not a multiple of sft_device_batch × processes = {device} × {world}"
        )
    return device, p.sft_batch // (device * world)


def write_examples(split: Split, folder: Path) -> None:
    """The stage's examples, as training reads them."""
    for name, file in FILES.items():
        JsonLines(folder / file, Example).append(getattr(split, name))


def read_log(folder: Path) -> JsonLines[Measurement]:
    """The training log of a stage."""
    return JsonLines(folder / "log.jsonl", Measurement)


def train(p: Params, folder: Path) -> None:
    """Train in this process, which may be one of several, and leave ``model`` in the folder.

    Raises ParameterError if the folder has no examples.
    """
    if not (folder / FILES["train"]).exists():
        raise ParameterError(f"{folder} has no {FILES['train']}: run the first cells of notebooks/{STAGE}.ipynb")
    chat = backbones.ChatTokenizer(backbones.trained_name(p))
    trainer = make_trainer(p, folder, chat)
    checkpoint = last_checkpoint(folder / "checkpoints")
    trainer.args.eval_on_start = bool(trainer.eval_dataset) and checkpoint is None
    trainer.train(resume_from_checkpoint=checkpoint)
    if trainer.eval_dataset:
        trainer.evaluate()
    trainer.save_model(str(folder / "checkpoints" / "last"))
    if trainer.is_world_process_zero():
        card = model_card(p, folder)
        backbones.export(p, folder / "checkpoints" / "last", chat, card, folder / "model")
        shutil.rmtree(folder / "checkpoints")


def make_trainer(p: Params, folder: Path, chat: backbones.ChatTokenizer) -> SFTTrainer:
    """trl's trainer on the examples in ``folder``, its data in the order of training."""
    datasets.disable_progress_bars()
    read = {name: JsonLines(folder / file, Example).read() for name, file in FILES.items()}
    held_out = {kind: [e for e in read["held_out"] if e.kind == kind] for kind in KINDS}
    held_out = {kind: _dataset(part) for kind, part in held_out.items() if part}
    torch.manual_seed(p.seed)
    model = backbones.load_to_train(p, chat)
    trainer = SFTTrainer(
        model, _config(p, folder / "checkpoints", bool(held_out)), processing_class=chat.tokenizer,
        train_dataset=_dataset(read["train"], copies=p.sft_packing), eval_dataset=held_out or None,
        peft_config=backbones.adapters(p, model, chat), callbacks=[_Recorder(folder)],
    )  # fmt: skip
    backbones.show_bias(trainer.model)
    trainer.remove_callback(PrinterCallback)
    # All epochs as one: the order then needs no state, and a resumed run skips to its place in it.
    rows = trainer.train_dataset
    lengths = [len(ids) for ids in rows["input_ids"]]
    copies = [1] * len(rows) if p.sft_packing else [example.copies for example in read["train"]]
    trainer.train_dataset = rows.select(sft_data.order(lengths, copies, p.sft_batch, p.sft_epochs, p.seed))
    return trainer


def _dataset(examples: Sequence[Example], copies: bool = False) -> datasets.Dataset:
    rows = [e for e in examples for _ in range(e.copies if copies else 1)]
    return datasets.Dataset.from_list([{"prompt": e.prompt, "completion": e.completion} for e in rows])


def _config(p: Params, checkpoints: Path, measure: bool) -> SFTConfig:
    """What trl is told."""
    gpu = torch.cuda.is_available()
    device_batch, accumulation = _accumulation(p, int(os.environ.get("WORLD_SIZE", 1)))
    return SFTConfig(
        output_dir=str(checkpoints), seed=p.seed, report_to="none", disable_tqdm=True, use_cpu=not gpu, bf16=gpu,
        num_train_epochs=1, train_sampling_strategy="sequential",  # the data come in their order, all epochs as one
        per_device_train_batch_size=device_batch, per_device_eval_batch_size=device_batch,
        gradient_accumulation_steps=accumulation, learning_rate=p.sft_lr, warmup_steps=p.sft_warmup_steps,
        lr_scheduler_type=p.sft_schedule, weight_decay=p.sft_weight_decay,
        activation_checkpointing=p.sft_gradient_checkpointing,
        max_length=p.sft_max_length, packing=p.sft_packing, eval_packing=False,  # nothing is longer than that
        logging_steps=p.sft_log_every, eval_strategy="steps" if measure else "no", eval_steps=p.sft_eval_every,
        save_strategy="steps", save_steps=p.sft_save_every, save_total_limit=1, dataloader_pin_memory=gpu,
    )  # fmt: skip


def last_checkpoint(folder: Path) -> str | None:
    """The newest whole checkpoint; those that a kill left half written are removed."""
    whole: list[tuple[int, Path]] = []
    for path in folder.glob("checkpoint-*"):
        try:
            state = read_json(path / "trainer_state.json")  # the trainer writes it last
        except ArtifactError:
            state = None
        if state is None:
            shutil.rmtree(path)
        else:
            whole.append((state["global_step"], path))
    return str(max(whole)[1]) if whole else None


class _Recorder(TrainerCallback):
    """Writes the log and the progress, from the first process only."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log: JsonLines[Measurement] | None = None
        self.progress: Progress | None = None
        self._busy = self._began = self._tokens = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            self.log = read_log(self.folder)
            self.log.append(())  # a line that a kill tore must not stay
            self.progress = Progress(self.folder, state.max_steps, "training steps", state.global_step)

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._began = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._busy += time.monotonic() - self._began
        if self.progress:
            self.progress.advance()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
        if self.log is None:
            return
        rows = []
        common = {"step": state.global_step, "epoch": round(state.epoch or 0.0, 4)}
        if "loss" in logs:
            speed = (logs["num_tokens"] - self._tokens) / self._busy
            self._tokens, self._busy = logs["num_tokens"], 0.0
            rows.append(Measurement(
                id=f"{state.global_step} train", series="train", loss=logs["loss"], tokens_per_second=round(speed, 1),
                learning_rate=logs["learning_rate"], **common,
            ))  # fmt: skip
        for kind in KINDS:
            if f"eval_{kind}_loss" in logs:
                loss = logs[f"eval_{kind}_loss"]
                rows.append(Measurement(id=f"{state.global_step} {kind}", series=kind, loss=loss, **common))
        self.log.append(rows)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.progress:
            self.progress.close()


def model_card(p: Params, folder: Path) -> str:
    """A Markdown card that says what the model is, what it was trained on and how."""
    examples = JsonLines(folder / FILES["train"], Example).read()
    n_problems = len({e.task_id for e in examples})
    left_out = len(JsonLines(folder / FILES["too_long"], Example))
    last = {row.series: row for row in read_log(folder)}
    counts = ", ".join(f"{sum(e.kind == kind for e in examples):,} {kind}" for kind in KINDS)
    losses = ", ".join(f"{name} {row.loss:.4f}" for name, row in last.items())
    settings = {name: getattr(p, name) for name in Params.model_fields if name.startswith("sft_")}
    rows = "\n".join(f"| {name} | {value} |" for name, value in {**settings, "load_in_4bit": p.load_in_4bit}.items())
    return f"""---
base_model: {backbones.trained_name(p)}
library_name: transformers
pipeline_tag: text-generation
tags: [ledex, sft, trl]
---

# {backbones.trained_name(p)}, fine-tuned to explain and repair its programs

Run `{p.run}`, seed {p.seed}. It answers a task with a program, and a wrong program with its feedback with a refinement,
explained first if asked to; the tokenizer's chat template and `ledexlib.prompts` have the format.

Trained on verified trajectories of {p.benchmark} ({p.split}): {counts} examples of {n_problems:,} problems;
{left_out:,} were left out as too long. Last losses (nats a token): {losses}.

| setting | |
|-|-|
{rows}

Limits: the examples are programs that pass their tests, not programs proven right; nobody has read the explanations. A
model trained with the simulated teacher is for testing the method. The base model's licence applies.
"""


TRAINING = Training("sft", STAGE, check, train)


if __name__ == "__main__":
    sys.exit(TRAINING.main())
