"""``ledex train sft|rl PARAMS.yaml --run NAME``, a training by hand or one of several processes; checks of settings."""

import argparse
import importlib.util
from pathlib import Path

from ledexlib import params
from ledexlib.models import check_checkpoint, check_generator
from ledexlib.params import ParameterError, Params
from ledexlib.runs import run_folder
from ledexlib.training.launch import gpu_count, micro_batches, process_count

STAGES = {"sft": "04_sft", "rl": "05_ppo"}


def check_sft(p: Params) -> None:
    """Raise ParameterError for a fine-tuning that cannot work."""
    if p.load_in_4bit:
        from ledexlib.models.local import check_4bit

        check_4bit(p)
    check_checkpoint(p.sft_model or p.model, "sft_model" if p.sft_model else "model")
    if not (p.sft_generation or p.sft_refine or p.sft_explain_refine):
        raise ParameterError("sft_generation, sft_refine, sft_explain_refine are all 0: there is nothing to learn")
    _check_launch(p, "sft")


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
    _check_launch(p, "ppo")


def _check_launch(p: Params, prefix: str) -> None:
    if p.accelerate_config and not params.resolve(p.accelerate_config).is_file():
        raise ParameterError(f"accelerate_config = '{p.accelerate_config}': no such file")
    micro_batches(p, prefix, process_count(p))


def add_train_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``train``."""
    parser.add_argument("kind", choices=STAGES, help="fine-tuning (04_sft) or reinforcement learning (05_ppo)")
    params.add_arguments(parser, named=False)  # the file that accelerate is given names it
    parser.add_argument("--folder", type=Path, help="where to train instead of the run's stage; it must exist")


def train_command(arguments: argparse.Namespace) -> None:
    """Train in the run's stage, whose notebook has left there what that needs."""
    p, stage = params.from_arguments(arguments), STAGES[arguments.kind]
    (check_sft if arguments.kind == "sft" else check_rl)(p)
    folder = arguments.folder or run_folder(p) / stage
    if not folder.exists():
        raise ParameterError(f"there is no {folder}: run the first cells of notebooks/{stage}.ipynb")
    if arguments.kind == "sft":
        from ledexlib.training.sft import sft_process as train
    else:
        from ledexlib.training.rl import rl_process as train
    if not (folder / "model").exists():
        train(p, folder)
