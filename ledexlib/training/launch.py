"""A training in this process, or in several: ``accelerate launch`` of its module with a run's parameters."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml

from ledexlib.params import layers as params
from ledexlib.runs import stage as runs
from ledexlib.params.layers import ParameterError
from ledexlib.params.vocabulary import Params


@dataclass(frozen=True)
class Training:
    """What trains a model in a stage's folder.

    ``prefix`` begins the names of its parameters and, in ``ledexlib``, is the name of its module. ``check`` raises
    ParameterError for settings that cannot work; ``train`` works in one process, which may be one of several, and
    leaves ``model`` in the folder.
    """

    prefix: str
    stage: str
    check: Callable[[Params], None]
    train: Callable[[Params, Path], None]

    def run(self, p: Params, folder: Path) -> Path:
        """Train in this process or by ``accelerate launch``; the model's folder.

        What an earlier, killed call left is taken up; a finished model is left as it is.
        """
        if not (folder / "model").exists():
            n = processes(p, self.prefix)
            if n == 1 and torch.cuda.device_count() <= 1:
                self.train(p, folder)
            else:
                config = getattr(p, f"{self.prefix}_accelerate_config")
                accelerate(f"ledexlib.{self.prefix}", p, n, config, folder)
        return folder / "model"

    def main(self, words: Sequence[str] | None = None) -> int:
        """``python -m ledexlib.PREFIX``: train in the run's stage, whose notebook has left there what that needs."""
        program = f"python -m ledexlib.{self.prefix}"
        parser = argparse.ArgumentParser(prog=program, description=f"Train in the folder of {self.stage}.")
        params.add_arguments(parser, named=False)  # the file that accelerate is given names it
        parser.add_argument("--folder", type=Path, help="where to train instead of the run's stage; it must exist")
        arguments = parser.parse_args(words)
        try:
            p = params.from_arguments(arguments)
            self.check(p)
            folder = arguments.folder or runs.run_folder(p) / self.stage
            if not folder.exists():
                raise ParameterError(f"there is no {folder}: run the first cells of notebooks/{self.stage}.ipynb")
            if not (folder / "model").exists():
                self.train(p, folder)
        except ParameterError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        return 0


def processes(p: Params, prefix: str) -> int:
    """How many processes train together: as many as the parameters say, else one for each GPU."""
    return getattr(p, f"{prefix}_processes") or max(1, torch.cuda.device_count())


def check(p: Params, prefix: str) -> None:
    """Raise ParameterError if accelerate's own file is missing."""
    config = getattr(p, f"{prefix}_accelerate_config")
    if config and not runs.resolve(config).is_file():
        raise ParameterError(f"{prefix}_accelerate_config = '{config}': no such file")


def accelerate(module: str, p: Params, n: int, config: str | None, folder: Path) -> None:
    """Run ``python -m module params.yaml --folder FOLDER`` in ``n`` processes, on as many GPUs; show what they print.

    ``params.yaml`` is written to the folder; ``config`` is accelerate's own file, if any. Raises RuntimeError with the
    last lines if it fails.
    """
    stated = folder / "params.yaml"
    stated.write_text(yaml.safe_dump(p.model_dump()), encoding="utf-8")
    command = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", str(n)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(runs.ROOT), os.environ.get("PYTHONPATH", "")])}
    if config:
        command += ["--config_file", str(runs.resolve(config))]
    if torch.cuda.is_available():
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(torch.cuda.device_count())))
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(visible.split(",")[:n])
    else:
        command.append("--cpu")
    command += ["-m", module, str(stated), "--folder", str(folder)]
    lines: deque[str] = deque(maxlen=20)
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        for line in process.stdout:
            lines.append(line)
            print(line, end="", flush=True)
    if process.returncode:
        raise RuntimeError(f"training failed with status {process.returncode}:\n{''.join(lines)}")
