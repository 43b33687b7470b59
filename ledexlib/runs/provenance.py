"""What a run ran on: package versions, git commit, hardware."""

import functools
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil


def _output(*command: str) -> str | None:
    """What a command prints, None if it is not there or fails."""
    if shutil.which(command[0]) is None:
        return None
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return None


def versions() -> dict[str, str]:
    """Python's version and that of every installed package (from the names of its folder: the metadata are slow)."""
    folders = [path for entry in sys.path for path in Path(entry).glob("*.dist-info")]
    packages = dict(path.stem.rpartition("-")[::2] for path in reversed(folders))  # the first on the path counts
    return {"python": platform.python_version(), **dict(sorted(packages.items()))}


def commit(root: Path) -> dict[str, Any]:
    """The git commit of the repository at ``root`` and whether it has uncommitted changes; None where unknown."""
    changes = _output("git", "-C", str(root), "status", "--porcelain")
    head = _output("git", "-C", str(root), "rev-parse", "HEAD")
    return {"commit": head, "dirty": None if changes is None else bool(changes)}


@functools.cache
def hardware() -> dict[str, Any]:
    """CPU model, cores this process may use, memory in GiB, and the name and memory of each GPU."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpus = _output("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader")
    about = Path("/proc/cpuinfo")
    model = re.search(r"^model name\s*: (.*)$", about.read_text(errors="replace") if about.exists() else "", re.M)
    cpu = model[1] if model else platform.processor() or platform.machine()
    memory = round(psutil.virtual_memory().total / 2**30, 1)
    gpu_list = gpus.splitlines() if gpus else []
    return {"cpu": cpu, "cores": cores, "memory_gib": memory, "gpus": gpu_list, "system": platform.platform()}
