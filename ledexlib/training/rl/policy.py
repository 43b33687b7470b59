"""Reinforcement learning with two rewards (paper section 3), from the fine-tuned model and the verified trajectories.

A training's folder gets the log, answers to look at, checkpoints and, last, ``model``, an ordinary transformers folder.
A killed training goes on from its last whole checkpoint with the same curve."""

import os
import shutil
import warnings
from functools import partial
from pathlib import Path

import datasets
import torch
from transformers import AutoModelForCausalLM, PrinterCallback
from trl import GRPOConfig

from ledexlib.models.local import ChatTokenizer, export_checkpoint, lora_config
from ledexlib.params import Params
from ledexlib.training.launch import last_checkpoint, micro_batches, run_training, training_lock
from ledexlib.training.rl.log import STOPPED, RLLogCallback, rl_card
from ledexlib.training.rl.prompts import RLPrompts, RLSources, build_prompts, load_sources, prompt_order
from ledexlib.training.rl.scoring import RolloutScorer
from ledexlib.training.rl.trainer import BEST, COLUMNS, RepairTrainer


def train_policy(p: Params, folder: Path, sources: RLSources | None = None, prompts: RLPrompts | None = None) -> Path:
    """Train in this process or by ``accelerate launch``; the folder of the model.

    ``sources`` and ``prompts`` are those of the run that the parameters name unless they are given; launched processes
    always read those. Raises StageError if another process trains there, TrainingError if a launched one fails."""
    folder.mkdir(parents=True, exist_ok=True)
    if p.ppo_programs == "own" and sources is None and not (folder / "model").exists():
        with training_lock(folder):
            sources = load_sources(p, folder)  # writes what launched processes read
    return run_training("rl", partial(rl_process, sources=sources, prompts=prompts), p, folder)


def rl_process(p: Params, folder: Path, sources: RLSources | None = None, prompts: RLPrompts | None = None) -> None:
    """Train in this process, which may be one of several, and leave ``model`` in the folder."""
    with training_lock(folder):
        sources = sources or load_sources(p, folder)
        trainer = rl_trainer(p, folder, sources, prompts or build_prompts(sources, p))
        trainer.train(resume_from_checkpoint=last_checkpoint(folder / "checkpoints"))
        last = folder / "checkpoints" / "last"
        trainer.save_model(str(last))
        if trainer.is_world_process_zero():
            best = folder / "checkpoints" / BEST
            chosen = best if trainer.stopped and best.exists() else last
            if trainer.stopped:
                (folder / STOPPED).write_text(f"{trainer.stopped}; kept the {chosen.name} policy\n", encoding="utf-8")
            base = str(sources.model)
            export_checkpoint(p, base, chosen, ChatTokenizer(base), rl_card(p, folder), folder / "model")
            shutil.rmtree(folder / "checkpoints")


def rl_trainer(p: Params, folder: Path, sources: RLSources, prompts: RLPrompts) -> RepairTrainer:
    """The trainer of the policy, ready to train."""
    datasets.disable_progress_bars()
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)  # trl's own use of an old name
    torch.manual_seed(p.seed)
    config, data = _config(p, folder / "checkpoints"), _dataset(prompts, p)
    scorer = RolloutScorer(sources.scorer, sources.problems, sources.decode, p)
    dtype = torch.bfloat16 if torch.cuda.is_available() and p.method == "lora" else torch.float32
    model = AutoModelForCausalLM.from_pretrained(sources.model, dtype=dtype)
    more = {"processing_class": sources.tokenizer, "peft_config": lora_config(p)}
    trainer = RepairTrainer(model, p, scorer, config, data, **more)
    trainer.add_callback(RLLogCallback(folder, trainer))
    trainer.remove_callback(PrinterCallback)
    return trainer


def _dataset(prompts: RLPrompts, p: Params) -> datasets.Dataset:
    """The prompts of the whole training in their order, one row each; trl repeats it for its answers."""
    n = p.ppo_steps * p.ppo_batch // p.ppo_generations
    chosen = [prompts.used[i] for i in prompt_order(prompts.used, p.ppo_explain, n, p.seed)]
    rows = [{"prompt": list(x.messages), **x.model_dump(include=set(COLUMNS))} for x in chosen]
    return datasets.Dataset.from_list(rows)


def _config(p: Params, checkpoints: Path) -> GRPOConfig:
    """What trl is told. Checkpoints lie between batches of answers, so that none is ever cut in two by a kill."""
    gpu, world = torch.cuda.is_available(), int(os.environ.get("WORLD_SIZE", 1))
    device_batch, steps = micro_batches(p, "ppo", world)
    updates = p.ppo_minibatches * p.ppo_epochs
    return GRPOConfig(
        output_dir=str(checkpoints), seed=p.seed, report_to="none", disable_tqdm=True, use_cpu=not gpu, bf16=gpu,
        num_train_epochs=1, shuffle_dataset=False,  # the prompts come in their order, all passes as one
        remove_unused_columns=False, dataloader_pin_memory=gpu, ddp_find_unused_parameters=False,
        per_device_train_batch_size=device_batch, steps_per_generation=steps,
        gradient_accumulation_steps=steps // p.ppo_minibatches, num_iterations=p.ppo_epochs,
        num_generations=p.ppo_generations, max_completion_length=p.ppo_max_tokens, temperature=p.ppo_temperature,
        learning_rate=p.ppo_lr, warmup_steps=p.ppo_warmup_steps, lr_scheduler_type="constant_with_warmup",
        loss_type="dapo",  # the mean over all tokens of a step, however it is divided
        epsilon=p.ppo_clip, beta=p.ppo_kl_coef, disable_dropout=True,
        activation_checkpointing=p.gradient_checkpointing, use_vllm=p.ppo_vllm, vllm_mode="colocate",
        logging_steps=updates, save_strategy="steps", save_steps=updates * p.ppo_save_every, save_total_limit=1)
