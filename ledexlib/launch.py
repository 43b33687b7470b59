"""Training by several processes: ``accelerate launch`` of a module with a run's parameters."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import torch
import yaml

from ledexlib import runs
from ledexlib.vocabulary import Params


def accelerate(
    module: str, p: Params, n: int, config: str | None, folder: Path, options: Sequence[str] = ()
) -> None:
    """Run ``python -m module params.yaml OPTIONS`` in ``n`` processes, on as many GPUs, and show what they print.

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
    command += ["-m", module, str(stated), *options]
    lines: deque[str] = deque(maxlen=20)
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        for line in process.stdout:
            lines.append(line)
            print(line, end="", flush=True)
    if process.returncode:
        raise RuntimeError(f"training failed with status {process.returncode}:\n{''.join(lines)}")
