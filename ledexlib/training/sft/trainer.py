"""Supervised fine-tuning (paper section 2) with trl's SFTTrainer: all weights or LoRA, loss on the last turn only.

A training's folder holds the examples and gets the log, the checkpoints and, last, ``model``, an ordinary transformers
folder. A killed training goes on from its last whole checkpoint; on a CPU it ends with the weights of an undisturbed
one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import datasets
import torch
from transformers import PrinterCallback
from trl import SFTConfig, SFTTrainer

from ledexlib.models.local import (
    ChatTokenizer,
    base_checkpoint,
    export_checkpoint,
    expose_head_bias,
    load_trainable,
    lora_config,
)
from ledexlib.params import ParameterError, Params
from ledexlib.records import content_id
from ledexlib.runs import EARLIER, JsonLines, read_json, write_json, write_records
from ledexlib.training.launch import last_checkpoint, micro_batches, run_training, training_lock
from ledexlib.training.sft.data import KINDS, SFTExample, SFTExamples, training_order
from ledexlib.training.sft.log import LOG, SFTLogCallback, sft_card

FILES = {"train": "examples.jsonl", "held_out": "held_out.jsonl", "too_long": "too_long.jsonl"}
TRAINED_ON = "trained_on.json"  # the fingerprint of the examples that checkpoints and model come from


def train_sft(examples: SFTExamples, p: Params, folder: Path) -> Path:
    """Fine-tune on these examples, in this process or by ``accelerate launch``; the folder of the model.

    A training of the same examples that was killed goes on, and a finished one is left as it is; what other examples
    gave is set aside. Raises TrainingError if another process trains in the folder or a launched one fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with training_lock(folder):
        _write_examples(examples, folder)
    return run_training("sft", sft_process, p, folder)


def _write_examples(examples: SFTExamples, folder: Path) -> None:
    """Write the examples for the processes that train, and make the folder theirs."""
    fingerprint = content_id(*examples.train, "held out", *examples.held_out)
    made_from = (read_json(folder / TRAINED_ON) or {}).get("examples", "unknown")
    others = [path for path in (folder / "model", folder / "checkpoints", folder / LOG) if path.exists()]
    if made_from != fingerprint and others:
        aside = folder.parent / EARLIER / f"{folder.name}-examples-{made_from}"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        for path in others:
            os.rename(path, aside / path.name)
        print(f"{folder.name}: trained on other examples before; that is now in {EARLIER}/{aside.name}")
    for name, file in FILES.items():
        write_records(folder / file, getattr(examples, name))
    write_json(folder / TRAINED_ON, {"examples": fingerprint})


def _read_examples(folder: Path) -> SFTExamples:
    """Raises ParameterError if there are none, ArtifactError if one comes twice."""
    if not (folder / FILES["train"]).exists():
        raise ParameterError(f"{folder} has no {FILES['train']}: run the first cells of notebooks/04_sft.ipynb")
    return SFTExamples(*(JsonLines(folder / file, SFTExample).read() for file in FILES.values()))


def sft_process(p: Params, folder: Path) -> None:
    """Train on the examples in the folder in this process, which may be one of several, and leave ``model`` there."""
    examples = _read_examples(folder)
    with training_lock(folder):
        chat = ChatTokenizer(base_checkpoint(p))
        trainer = sft_trainer(examples, p, folder, chat)
        checkpoint = last_checkpoint(folder / "checkpoints")
        trainer.args.eval_on_start = bool(trainer.eval_dataset) and checkpoint is None
        trainer.train(resume_from_checkpoint=checkpoint)
        if trainer.eval_dataset:
            trainer.evaluate()
        last = folder / "checkpoints" / "last"
        trainer.save_model(str(last))
        if trainer.is_world_process_zero():
            card = sft_card(examples, p, folder)
            export_checkpoint(p, base_checkpoint(p), last, chat, card, folder / "model")
            shutil.rmtree(folder / "checkpoints")


def sft_trainer(examples: SFTExamples, p: Params, folder: Path, chat: ChatTokenizer) -> SFTTrainer:
    """trl's trainer on these examples, in the order of training."""
    datasets.disable_progress_bars()
    held_out = {kind: [e for e in examples.held_out if e.kind == kind] for kind in KINDS}
    held_out = {kind: _dataset(part) for kind, part in held_out.items() if part}
    torch.manual_seed(p.seed)
    model = load_trainable(p, chat)
    trainer = SFTTrainer(
        model, _config(p, folder / "checkpoints", bool(held_out)), processing_class=chat.tokenizer,
        train_dataset=_dataset(examples.train), eval_dataset=held_out or None,
        peft_config=lora_config(p, model, chat), callbacks=[SFTLogCallback(folder, base_checkpoint(p))],
    )  # fmt: skip
    expose_head_bias(trainer.model)
    trainer.remove_callback(PrinterCallback)
    # All epochs as one: the order then needs no state, and a resumed run skips to its place in it.
    rows = trainer.train_dataset
    lengths, copies = [len(ids) for ids in rows["input_ids"]], [example.copies for example in examples.train]
    trainer.train_dataset = rows.select(training_order(lengths, copies, p.sft_batch, p.sft_epochs, p.seed))
    return trainer


def _dataset(examples: Sequence[SFTExample]) -> datasets.Dataset:
    return datasets.Dataset.from_list([{"prompt": e.prompt, "completion": e.completion} for e in examples])


def _config(p: Params, checkpoints: Path, measure: bool) -> SFTConfig:
    """What trl is told."""
    gpu, world = torch.cuda.is_available(), int(os.environ.get("WORLD_SIZE", 1))
    device_batch, accumulation = micro_batches("sft", p.sft_batch, p.sft_device_batch, 1, world)
    return SFTConfig(
        output_dir=str(checkpoints), seed=p.seed, report_to="none", disable_tqdm=True, use_cpu=not gpu, bf16=gpu,
        num_train_epochs=1, train_sampling_strategy="sequential",  # the data come in their order, all epochs as one
        per_device_train_batch_size=device_batch, per_device_eval_batch_size=device_batch,
        gradient_accumulation_steps=accumulation, learning_rate=p.sft_lr, warmup_steps=p.sft_warmup_steps,
        lr_scheduler_type="cosine", activation_checkpointing=p.gradient_checkpointing,
        max_length=p.sft_max_length,  # nothing is longer than that
        logging_steps=p.sft_log_every, eval_strategy="steps" if measure else "no", eval_steps=p.sft_eval_every,
        save_strategy="steps", save_steps=p.sft_save_every, save_total_limit=1, dataloader_pin_memory=gpu,
    )  # fmt: skip
