"""``ledex train sft|rl PARAMS.yaml --run NAME``: a training by hand, or one of the processes that train together."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ledexlib import params
from ledexlib.runs import run_folder
from ledexlib.training.checks import check_rl, check_sft
from ledexlib.training.launch import TrainingError

STAGES = {"sft": "04_sft", "rl": "05_ppo"}
CHECKS = {"sft": check_sft, "rl": check_rl}


def add_train_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``train``."""
    parser.add_argument("kind", choices=STAGES, help="fine-tuning (04_sft) or reinforcement learning (05_ppo)")
    params.add_arguments(parser, named=False)  # the file that accelerate is given names it
    parser.add_argument("--folder", type=Path, help="where to train instead of the run's stage; it must exist")


def train_command(arguments: argparse.Namespace) -> int:
    """Train in the run's stage, whose notebook has left there what that needs; the exit status."""
    try:
        p = params.from_arguments(arguments)
        CHECKS[arguments.kind](p)
        stage = STAGES[arguments.kind]
        folder = arguments.folder or run_folder(p) / stage
        if not folder.exists():
            raise params.ParameterError(f"there is no {folder}: run the first cells of notebooks/{stage}.ipynb")
        if arguments.kind == "sft":
            from ledexlib.training.sft import sft_process as train
        else:
            from ledexlib.training.rl import rl_process as train
        if not (folder / "model").exists():
            train(p, folder)
    except (params.ParameterError, TrainingError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
