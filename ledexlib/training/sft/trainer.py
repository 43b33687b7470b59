"""Supervised fine-tuning (paper section 2) with trl's SFTTrainer: all weights or LoRA, loss on the last turn only.

A training's folder holds the examples and gets the log, the checkpoints and, last, ``model``, an ordinary transformers
folder. A killed training goes on from its last whole checkpoint, on a CPU to the weights of an undisturbed one."""

import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import torch
from transformers import PrinterCallback
from trl import SFTConfig, SFTTrainer

from ledexlib.models import local
from ledexlib.params import ParameterError, Params
from ledexlib.records import Record, content_id
from ledexlib.runs import EARLIER, JsonLines, read_json, write_json, write_records
from ledexlib.training.launch import last_checkpoint, micro_batches, run_training, training_lock
from ledexlib.training.log import LogCallback, model_card
from ledexlib.training.sft.data import KINDS, SFTExample, SFTExamples, training_order

FILES = {"train": "examples.jsonl", "held_out": "held_out.jsonl", "too_long": "too_long.jsonl"}
LOG, TRAINED_ON = "log.jsonl", "trained_on.json"  # the losses; the fingerprint of the examples


def train_sft(examples: SFTExamples, p: Params, folder: Path) -> Path:
    """Fine-tune on these examples, in this process or by ``accelerate launch``; the folder of the model.

    A training of the same examples that was killed goes on, and a finished one is left as it is; what other examples
    gave is set aside. Raises StageError if another process trains there, TrainingError if a launched one fails."""
    folder.mkdir(parents=True, exist_ok=True)
    fingerprint = content_id(*examples.train, "held out", *examples.held_out)
    with training_lock(folder):
        made_from = (read_json(folder / TRAINED_ON) or {}).get("examples", "unknown")
        others = [path for path in (folder / "model", folder / "checkpoints", folder / LOG) if path.exists()]
        if made_from != fingerprint and others:
            aside = folder.parent / EARLIER / f"{folder.name}-examples-{made_from}"
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(parents=True)
            for path in others:
                os.rename(path, aside / path.name)
            print(f"{folder.name}: trained on other examples before; that is now in {EARLIER}/{aside.name}")
        for name, file in FILES.items():  # for the processes that train
            write_records(folder / file, getattr(examples, name))
        write_json(folder / TRAINED_ON, {"examples": fingerprint})
    return run_training("sft", sft_process, p, folder)


def sft_process(p: Params, folder: Path) -> None:
    """Train on the examples in the folder in this process, which may be one of several, and leave ``model`` there.

    Raises ParameterError if there are no examples, ArtifactError if one comes twice."""
    if not (folder / FILES["train"]).exists():
        raise ParameterError(f"{folder} has no {FILES['train']}: run the first cells of notebooks/04_sft.ipynb")
    examples = SFTExamples(*(JsonLines(folder / file, SFTExample).read() for file in FILES.values()))
    with training_lock(folder):
        chat = local.ChatTokenizer(local.base_checkpoint(p))
        trainer = sft_trainer(examples, p, folder, chat)
        checkpoint = last_checkpoint(folder / "checkpoints")
        trainer.args.eval_on_start = bool(trainer.eval_dataset) and checkpoint is None
        trainer.train(resume_from_checkpoint=checkpoint)
        if trainer.eval_dataset:
            trainer.evaluate()
        last = folder / "checkpoints" / "last"
        trainer.save_model(str(last))
        if trainer.is_world_process_zero():
            card = _card(examples, p, folder)
            local.export_checkpoint(p, local.base_checkpoint(p), last, chat, card, folder / "model")
            shutil.rmtree(folder / "checkpoints")


def sft_trainer(examples: SFTExamples, p: Params, folder: Path, chat: local.ChatTokenizer) -> SFTTrainer:
    """trl's trainer on these examples, in the order of training."""
    datasets.disable_progress_bars()
    held_out = {kind: [e for e in examples.held_out if e.kind == kind] for kind in KINDS}
    held_out = {kind: _dataset(part) for kind, part in held_out.items() if part}
    torch.manual_seed(p.seed)
    model = local.load_trainable(p, chat)
    trainer = SFTTrainer(
        model, _config(p, folder / "checkpoints", bool(held_out)), processing_class=chat.tokenizer,
        train_dataset=_dataset(examples.train), eval_dataset=held_out or None,
        peft_config=local.lora_config(p, model, chat), callbacks=[SFTLogCallback(folder, local.base_checkpoint(p))])
    local.expose_head_bias(trainer.model)
    trainer.remove_callback(PrinterCallback)
    # All epochs as one: the order then needs no state, and a resumed run skips to its place in it.
    rows = trainer.train_dataset
    lengths, copies = [len(ids) for ids in rows["input_ids"]], [example.copies for example in examples.train]
    trainer.train_dataset = rows.select(training_order(lengths, copies, p.sft_batch, p.sft_epochs, p.seed))
    return trainer


def _dataset(examples: Sequence[SFTExample]) -> datasets.Dataset:
    turns = [(list(e.messages[:-1]), list(e.messages[-1:])) for e in examples]  # the last is learned
    return datasets.Dataset.from_list([{"prompt": prompt, "completion": answer} for prompt, answer in turns])


def _config(p: Params, checkpoints: Path, measure: bool) -> SFTConfig:
    """What trl is told."""
    gpu, world = torch.cuda.is_available(), int(os.environ.get("WORLD_SIZE", 1))
    device_batch, accumulation = micro_batches(p, "sft", world)
    return SFTConfig(
        output_dir=str(checkpoints), seed=p.seed, report_to="none", disable_tqdm=True, use_cpu=not gpu, bf16=gpu,
        num_train_epochs=1, train_sampling_strategy="sequential",  # the data come in their order, all epochs as one
        per_device_train_batch_size=device_batch, per_device_eval_batch_size=device_batch,
        gradient_accumulation_steps=accumulation, learning_rate=p.sft_lr, warmup_steps=p.sft_warmup_steps,
        lr_scheduler_type="cosine", activation_checkpointing=p.gradient_checkpointing,
        max_length=p.sft_max_length,  # nothing is longer than that
        logging_steps=p.sft_log_every, eval_strategy="steps" if measure else "no", eval_steps=p.sft_eval_every,
        save_strategy="steps", save_steps=p.sft_save_every, save_total_limit=1, dataloader_pin_memory=gpu)


class LossRecord(Record):
    """The loss in nats a token of a series, which is 'train' or a kind of held-out data, after so many steps.

    The training loss is the mean since the line before. ``tokens_per_second`` counts all tokens, those without loss
    too, over the time spent in training steps."""
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


class SFTLogCallback(LogCallback):
    """Writes the log and the progress; logs the last step too."""

    def __init__(self, folder: Path, model: str) -> None:
        super().__init__(folder, {LOG: LossRecord}, f"SFT of {Path(model).name}: steps")
        self._busy = self._began = self._tokens = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._began = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._busy += time.monotonic() - self._began
        if self.progress:
            self.progress.advance()
        if state.global_step == state.max_steps:
            control.should_log = True

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
        losses: dict[str, dict[str, float]] = {}
        if "loss" in logs:
            speed = (logs["num_tokens"] - self._tokens) / self._busy
            self._tokens, self._busy = logs["num_tokens"], 0.0
            rate = logs["learning_rate"]
            losses["train"] = {"loss": logs["loss"], "tokens_per_second": round(speed, 1), "learning_rate": rate}
        losses |= {kind: {"loss": logs[f"eval_{kind}_loss"]} for kind in KINDS if f"eval_{kind}_loss" in logs}
        step, epoch = state.global_step, round(state.epoch or 0.0, 4)
        names = {series: {"id": f"{step} {series}", "series": series} for series in losses}
        for file in self.files.values():
            file.append(LossRecord(**names[x], step=step, epoch=epoch, **values) for x, values in losses.items())


def _card(examples: SFTExamples, p: Params, folder: Path) -> str:
    """The model's card: what it was trained on, and the last losses."""
    counts = ", ".join(f"{sum(e.kind == kind for e in examples.train):,} {kind}" for kind in KINDS)
    last = {row.series: row.loss for row in JsonLines(folder / LOG, LossRecord)}
    return model_card(p, "sft", "fine-tuned to explain and repair its programs", (
        f"Trained on verified trajectories of {p.benchmark} ({p.split}): {counts}\n"
        f"examples of {len({e.task_id for e in examples.train}):,} problems; "
        f"{len(examples.too_long):,} were left out as too long. "
        f"Last losses (nats a token): {', '.join(f'{name} {loss:.4f}' for name, loss in last.items())}."))
