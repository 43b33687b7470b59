"""Reinforcement learning with two rewards (paper section 3), from the fine-tuned model and the verified trajectories.

A stage's folder gets the log, answers to look at, checkpoints and, last, ``model``, an ordinary transformers folder.
A killed training goes on from its last whole checkpoint with the same curve. Several processes train together with
``accelerate launch -m ledexlib.ppo PARAMS.yaml [--run NAME]``, which the notebook does by itself where there is more
than one GPU. The parts: ``segments``, ``advantages``, ``rollouts``, ``rounds``, ``value_trainer``, ``ppo_trainer``,
``control``, ``ppo_log``.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import datasets
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase, PrinterCallback
from trl import GRPOConfig

from ledexlib.models.local import checkpoints as backbones
from ledexlib.training import launch
from ledexlib.training.rl import on_policy as own_programs
from ledexlib.rewards import rewards
from ledexlib.training.rl import scoring as rollouts
from ledexlib.runs import stage as runs
from ledexlib.runs.storage import JsonLines, read_json
from ledexlib.rewards.embeddings import Encoder
from ledexlib.models.interface import check_generator
from ledexlib.training.launch import Training
from ledexlib.params.layers import ParameterError
from ledexlib.training.rl.log import STOPPED, Recorder, Update, read_log
from ledexlib.training.rl.trainer import BEST, RepairTrainer
from ledexlib.models.prompts import Message
from ledexlib.records import Problem, Solution, Trajectory
from ledexlib.rewards.rewards import Scorer
from ledexlib.training.rl.scoring import Ask, Asks, Judge
from ledexlib.training.sft.trainer import last_checkpoint
from ledexlib.params.vocabulary import Params

STAGE = "05_ppo"


def check(p: Params) -> None:
    """Raise ParameterError for settings that cannot work, before any work."""
    if p.ppo_batch % p.ppo_generations:
        raise ParameterError(f"ppo_batch = {p.ppo_batch} is not a multiple of ppo_generations = {p.ppo_generations}")
    if p.ppo_max_tokens >= p.ppo_max_length:
        raise ParameterError(f"ppo_max_length = {p.ppo_max_length} leaves no room for a prompt before ppo_max_tokens")
    launch.check(p, "ppo")
    if p.ppo_vllm and not (torch.cuda.is_available() and importlib.util.find_spec("vllm")):
        raise ParameterError("ppo_vllm = True: needs a GPU and the package vllm: pip install 'ledexlib[vllm]'")
    if p.ppo_rounds > 1 and p.ppo_credit == "isolated":
        raise ParameterError("ppo_rounds > 1: ppo_credit: isolated would hide R(r) from the earlier rounds' programs")
    if p.ppo_programs == "own" and p.reward_references == "solution":
        check_generator("teacher", p)
    if p.ppo_rounds > 1 and p.ppo_vllm:
        raise ParameterError("ppo_rounds > 1 samples in this process: set ppo_vllm: false")
    _micro_batches(p, launch.processes(p, "ppo"))


def _micro_batches(p: Params, world: int) -> tuple[int, int]:
    """Answers on a device at once, and the micro-batches that a process makes of a batch."""
    device = min(p.ppo_device_batch, max(1, p.ppo_batch // world // p.ppo_minibatches))
    if p.ppo_batch % (device * world * p.ppo_minibatches):
        raise ParameterError(
            f"ppo_batch = {p.ppo_batch} is not a multiple of ppo_device_batch × processes × ppo_minibatches = "
            f"{device} × {world} × {p.ppo_minibatches}"
        )
    return device, p.ppo_batch // (device * world)


# Data


class Sources(NamedTuple):
    """What the training reads of the run's earlier stages."""

    problems: list[Problem]
    wrong: list[Solution]  # the programs to be repaired
    scorer: Scorer
    tokenizer: PreTrainedTokenizerBase
    model: Path

    def decode(self, ids: Sequence[int]) -> str:
        """The text of an answer's tokens."""
        return self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def prepare(p: Params, folder: Path) -> None:
    """Make in the training's folder what it needs beside the run's earlier stages."""
    if p.ppo_programs == "own":
        own_programs.write(_problems(p), _tuned(p), p, folder)


def sources(p: Params, folder: Path) -> Sources:
    """Problems, rewards and the fine-tuned model of the run that the parameters name; all its stages must be there.

    ``folder`` is the training's, after ``prepare``.
    """
    run = runs.run_folder(p)
    problems = _problems(p)
    trajectories = JsonLines(run / "02_verify" / "trajectories.jsonl", Trajectory, complete=True).read()
    own = own_programs.read(folder) if p.ppo_programs == "own" else None
    trajectories += own or []
    ends = rewards.chosen_ends(p, read_json(run / "03_rewards" / "calibration.json"))
    encoder = Encoder(p.encoder, runs.resolve(p.outputs) / "embeddings")
    scorer, model = Scorer(trajectories, p, encoder, problems, ends), _tuned(p)
    tokenizer = AutoTokenizer.from_pretrained(model, padding_side="left")
    if tokenizer.chat_template is None or tokenizer.eos_token is None:
        raise ParameterError(f"{model}: its tokenizer has no chat template or no end token; make it with 04_sft")
    wrong = list(scorer.wrong.values()) if own is None else [t.solution for t in own]
    return Sources(problems, wrong, scorer, tokenizer, model)


def _problems(p: Params) -> list[Problem]:
    path = runs.run_folder(p) / "01_collect" / "problems.jsonl"
    return JsonLines(path, Problem, "task_id", complete=True).read()


def _tuned(p: Params) -> Path:
    return runs.run_folder(p) / "04_sft" / "model"


def make_asks(found: Sources, p: Params) -> Asks:
    """All prompts of the run."""

    def count(messages: Sequence[Message]) -> int:
        asked = found.tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, return_dict=True)
        return len(asked["input_ids"])

    return rollouts.build_asks(found.wrong, found.scorer, found.problems, count, p)


def dataset(asks: Sequence[Ask], p: Params) -> datasets.Dataset:
    """The prompts of the whole training in their order, one row each; trl repeats it for its answers."""
    n = p.ppo_steps * p.ppo_batch // p.ppo_generations
    columns = ("solution_id", "task_id", "explain")
    return datasets.Dataset.from_list([
        {"prompt": list(asks[i].messages), **{name: getattr(asks[i], name) for name in columns}}
        for i in rollouts.order(asks, p.ppo_explain, n, p.seed)
    ])  # fmt: skip


# Training


def train(p: Params, folder: Path) -> None:
    """Train in this process, which may be one of several, and leave ``model`` in the folder."""
    found = sources(p, folder)
    trainer = make_trainer(p, folder, found)
    trainer.train(resume_from_checkpoint=last_checkpoint(folder / "checkpoints"))
    last = folder / "checkpoints" / "last"
    trainer.save_model(str(last))
    if trainer.is_world_process_zero():
        best = folder / "checkpoints" / BEST
        chosen = best if trainer.stopped and best.exists() else last
        if trainer.stopped:
            (folder / STOPPED).write_text(f"{trainer.stopped}; kept the {chosen.name} policy\n", encoding="utf-8")
        export(p, chosen, found, model_card(p, folder), folder / "model")
        shutil.rmtree(folder / "checkpoints")


def make_trainer(p: Params, folder: Path, found: Sources) -> RepairTrainer:
    """The trainer of a run, ready to train."""
    datasets.disable_progress_bars()
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)  # trl's own use of an old name
    torch.manual_seed(p.seed)
    config = _config(p, folder / "checkpoints")
    updates = p.ppo_minibatches * p.ppo_epochs
    recorder = Recorder(folder, p.ppo_steps, updates, p.ppo_shown)
    judge = Judge(found.scorer, found.problems, found.decode, p)
    gpu = torch.cuda.is_available()
    model = AutoModelForCausalLM.from_pretrained(
        found.model, dtype=torch.bfloat16 if gpu and p.ppo_method == "lora" else torch.float32
    )
    rows = dataset(make_asks(found, p).used, p)
    adapters = backbones.lora(p) if p.ppo_method == "lora" else None
    trainer = RepairTrainer(model, p, config, rows, found.tokenizer, judge, adapters)
    recorder.trainer = trainer
    trainer.add_callback(recorder)
    trainer.remove_callback(PrinterCallback)
    return trainer


def _config(p: Params, checkpoints: Path) -> GRPOConfig:
    """What trl is told. Checkpoints lie between batches of answers, so that none is ever cut in two by a kill."""
    gpu, world = torch.cuda.is_available(), int(os.environ.get("WORLD_SIZE", 1))
    device_batch, micro_batches = _micro_batches(p, world)
    updates = p.ppo_minibatches * p.ppo_epochs
    return GRPOConfig(
        output_dir=str(checkpoints), seed=p.seed, report_to="none", disable_tqdm=True, use_cpu=not gpu, bf16=gpu,
        num_train_epochs=1, shuffle_dataset=False,  # the prompts come in their order, all passes as one
        remove_unused_columns=False, dataloader_pin_memory=gpu, ddp_find_unused_parameters=False,
        per_device_train_batch_size=device_batch, steps_per_generation=micro_batches,
        gradient_accumulation_steps=micro_batches // p.ppo_minibatches, num_iterations=p.ppo_epochs,
        num_generations=p.ppo_generations, max_completion_length=p.ppo_max_tokens, temperature=p.ppo_temperature,
        learning_rate=p.ppo_lr, warmup_steps=p.ppo_warmup_steps, lr_scheduler_type=p.ppo_schedule,
        loss_type="dapo",  # the mean over all tokens of a step, however it is divided
        epsilon=p.ppo_clip, beta=p.ppo_kl_coef, disable_dropout=True,
        activation_checkpointing=p.ppo_gradient_checkpointing, use_vllm=p.ppo_vllm, vllm_mode="colocate",
        logging_steps=updates, save_strategy="steps", save_steps=updates * p.ppo_save_every, save_total_limit=1,
    )  # fmt: skip


def export(p: Params, trained: Path, found: Sources, card: str, to: Path) -> None:
    """Make an ordinary transformers folder, at once, of what the trainer saved; adapters are merged."""
    dtype = torch.bfloat16 if torch.cuda.is_available() else torch.float32
    if p.ppo_method == "lora":
        base = AutoModelForCausalLM.from_pretrained(found.model, dtype=dtype)
        model = PeftModel.from_pretrained(base, trained).merge_and_unload()
    else:
        model = AutoModelForCausalLM.from_pretrained(trained, dtype=dtype)
    backbones.save_folder(model, AutoTokenizer.from_pretrained(found.model), card, to)


def model_card(p: Params, folder: Path) -> str:
    """A Markdown card that says what the model is, how it was trained and what came of it."""
    log = read_log(folder).read()
    few = max(1, len(log) // 10)
    batches = "batch" if few == 1 else f"{few} batches"

    def mean(rows: Sequence[Update], name: str) -> str:
        values = [v for row in rows if (v := row.metrics.get(name)) is not None]
        return f"{sum(values) / len(values):.2f}" if values else "–"

    names = ("reward", "code reward", "explanation reward", "repaired", "kl", "invalid")
    came = "\n".join(
        f"| {name} | {mean(log[:few], f'rollout/{name}')} | {mean(log[-few:], f'rollout/{name}')} |" for name in names
    )
    settings = "\n".join(f"| {name} | {getattr(p, name)} |" for name in Params.model_fields if name.startswith("ppo_"))
    return f"""---
library_name: transformers
pipeline_tag: text-generation
tags: [ledex, ppo, trl]
---

# {p.sft_model or p.model}, fine-tuned and then trained with two rewards to explain and repair its programs

Run `{p.run}`, seed {p.seed}: {len(log)} batches of {p.ppo_batch} answers; wrong programs of {p.benchmark} ({p.split}).
{(folder / STOPPED).read_text() if (folder / STOPPED).exists() else ""}
| means over answers | first {batches} | last {batches} |
|-|-|-|
{came}

| setting | |
|-|-|
{settings}

Limits: rewarded are programs that pass their tests and resemble those that do, not programs proven right; nobody has
read the explanations. A model trained with the simulated teacher is for testing the method. The base model's licence
applies.
"""


TRAINING = Training("ppo", STAGE, check, train)


if __name__ == "__main__":
    sys.exit(TRAINING.main())
