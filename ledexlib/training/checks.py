"""Settings of the trainings that cannot work, found before any work; torch is imported only where it must be."""

from __future__ import annotations

import importlib.util

from ledexlib.models import check_checkpoint, check_generator
from ledexlib.params import ParameterError, Params
from ledexlib.training.launch import check_launch, gpu_count, micro_batches, process_count

WEIGHTS = ("sft_generation", "sft_refine", "sft_explain_refine")


def check_sft(p: Params) -> None:
    """Raise ParameterError for a fine-tuning that cannot work."""
    if p.load_in_4bit:
        from ledexlib.models.local import check_4bit

        check_4bit(p)
    check_checkpoint(p.sft_model or p.model, "sft_model" if p.sft_model else "model")
    if not any(getattr(p, name) for name in WEIGHTS):
        raise ParameterError(f"{', '.join(WEIGHTS)} are all 0: there is nothing to learn")
    check_launch(p)
    micro_batches("sft", p.sft_batch, p.sft_device_batch, 1, process_count(p))


def check_rl(p: Params) -> None:
    """Raise ParameterError for a training by reinforcement that cannot work."""
    if p.ppo_batch % p.ppo_generations:
        raise ParameterError(f"ppo_batch = {p.ppo_batch} is not a multiple of ppo_generations = {p.ppo_generations}")
    if p.ppo_max_tokens >= p.ppo_max_length:
        raise ParameterError(f"ppo_max_length = {p.ppo_max_length} leaves no room for a prompt before ppo_max_tokens")
    if p.ppo_vllm and not (gpu_count() and importlib.util.find_spec("vllm")):
        raise ParameterError("ppo_vllm = True: needs a GPU and the package vllm: pip install vllm")
    if p.ppo_rounds > 1 and p.ppo_credit == "isolated":
        raise ParameterError("ppo_rounds > 1: ppo_credit: isolated would hide R(r) from the earlier rounds' programs")
    if p.ppo_rounds > 1 and p.ppo_vllm:
        raise ParameterError("ppo_rounds > 1 samples in this process: set ppo_vllm: false")
    if p.ppo_programs == "own" and p.reward_references == "solution":
        check_generator("teacher", p)
    check_launch(p)
    micro_batches("ppo", p.ppo_batch, p.ppo_device_batch, p.ppo_minibatches, process_count(p))
