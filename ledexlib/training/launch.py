"""A training in this process, or in several by ``accelerate launch``; one at a time in a folder."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import yaml
from tqdm.auto import tqdm

from ledexlib.params import ROOT, ParameterError, Params, Refused, resolve
from ledexlib.runs import QUIET, ArtifactError, hold, read_json

LOCK = ".training.lock"
DRIVERS = ("nvidia[0-9]*", "kfd", "dxg")  # in /dev, where a GPU may be


class TrainingError(Refused, RuntimeError):
    """A training that cannot start, or that failed in its processes; the message says why."""


def gpu_count() -> int:
    """The GPUs that torch sees; it is imported only where there may be one."""
    if sys.platform == "linux" and not any(path for pattern in DRIVERS for path in Path("/dev").glob(pattern)):
        return 0
    import torch

    return torch.cuda.device_count()


def process_count(p: Params) -> int:
    """How many processes train together: as many as the parameters say, else one for each GPU."""
    return p.processes or max(1, gpu_count())


def micro_batches(p: Params, prefix: str, world: int) -> tuple[int, int]:
    """Rows on a device at once, and the micro-batches that each of ``world`` processes makes of a batch.

    Raises ParameterError if the batch, the parameter ``sft_batch`` or ``ppo_batch``, cannot be divided so."""
    batch, minibatches = getattr(p, f"{prefix}_batch"), p.ppo_minibatches if prefix == "ppo" else 1
    device = min(getattr(p, f"{prefix}_device_batch"), max(1, batch // world // minibatches))
    if batch % (device * world * minibatches):
        names, numbers = (" × ppo_minibatches", f" × {minibatches}") if minibatches > 1 else ("", "")
        raise ParameterError(
            f"{prefix}_batch = {batch} is not a multiple of {prefix}_device_batch × processes{names} = "
            f"{device} × {world}{numbers}")
    return device, batch // (device * world)


def is_first_process() -> bool:
    """Whether this is the first, or the only one, of the processes that train together."""
    return os.environ.get("RANK", "0") == "0"


def training_lock(folder: Path) -> AbstractContextManager:
    """Keep a second training out of a folder: the first process holds a lock; StageError says who holds it."""
    return hold(folder / LOCK, f"{folder} is being trained in") if is_first_process() else nullcontext()


def last_checkpoint(folder: Path) -> str | None:
    """The newest whole checkpoint, in all processes the one that the first finds; what a kill left half is removed."""
    from accelerate.utils import broadcast_object_list

    whole: list[tuple[int, str]] = []
    for path in folder.glob("checkpoint-*") if is_first_process() else ():
        try:
            whole.append((read_json(path / "trainer_state.json")["global_step"], str(path)))  # it is written last
        except (ArtifactError, TypeError):  # half written, or not there
            shutil.rmtree(path)
    return broadcast_object_list([max(whole)[1] if whole else None])[0]


def run_training(kind: str, train: Callable[[Params, Path], None], p: Params, folder: Path) -> Path:
    """Train by ``train`` in this process, or by ``ledexlib train KIND`` in several; the folder of the model it leaves.

    What an earlier, killed call left is taken up; a finished model is left as it is. What the processes print is shown;
    if they fail, TrainingError has their last lines."""
    model, stated, n = folder / "model", folder / "params.yaml", process_count(p)
    if model.exists():
        return model
    if n == 1 and gpu_count() <= 1:
        train(p, folder)
        return model
    with training_lock(folder):  # refused here, not in a process's output
        pass
    stated.write_text(yaml.safe_dump(p.model_dump()), encoding="utf-8")
    command = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", str(n)]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, QUIET: "1"}
    if p.accelerate_config:
        command += ["--config_file", str(resolve(p.accelerate_config))]
    if gpus := gpu_count():
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(gpus)))
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(visible.split(",")[:n])
    else:
        command.append("--cpu")
    command += ["-m", "ledexlib", "train", kind, str(stated), "--folder", str(folder)]
    lines: deque[str] = deque(maxlen=20)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as process:
        if not os.environ.get(QUIET):
            threading.Thread(target=_mirror, args=(folder / "progress.json", process), daemon=True).start()
        for line in process.stdout:
            lines.append(line)
            print(line, end="", flush=True)
    if process.returncode:
        raise TrainingError(f"training failed with status {process.returncode}:\n{''.join(lines)}")
    return model


def _mirror(path: Path, process: subprocess.Popen) -> None:
    """A bar of the progress that a process writes to a file."""
    began = time.time()
    with tqdm(desc="training", unit="") as bar:
        while process.poll() is None:
            time.sleep(1)
            try:
                state = read_json(path)
            except ArtifactError:
                continue
            if state and state["time"] > began:
                bar.desc, bar.total, bar.n = state["label"], state["total"], state["count"]
                bar.refresh()
