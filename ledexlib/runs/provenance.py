"""What a run ran on: package versions, git commit, hardware."""

from __future__ import annotations

import functools
import os
import platform
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
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip()


def versions() -> dict[str, str]:
    """Python's version and that of every installed package (from the names of its folder: the metadata are slow)."""
    folders = [path for entry in sys.path for path in Path(entry).glob("*.dist-info")]
    packages = dict(path.stem.rpartition("-")[::2] for path in reversed(folders))  # the first on the path counts
    return {"python": platform.python_version(), **dict(sorted(packages.items()))}


def commit(root: Path) -> dict[str, Any]:
    """The git commit of the repository at ``root`` and whether it has uncommitted changes; None where unknown."""
    name = _output("git", "-C", str(root), "rev-parse", "HEAD")
    changes = _output("git", "-C", str(root), "status", "--porcelain")
    return {"commit": name, "dirty": None if changes is None else bool(changes)}


@functools.cache
def hardware() -> dict[str, Any]:
    """CPU model, cores this process may use, memory in GiB, and the name and memory of each GPU."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpus = _output("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader")
    return {
        "cpu": _cpu_model(),
        "cores": cores,
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpus": gpus.splitlines() if gpus else [],
        "system": platform.platform(),
    }


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
