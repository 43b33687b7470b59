"""What made a stage and what it ran on: code by file, git commit, package versions, hardware."""

import functools
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from ledexlib.params import ROOT, shown
from ledexlib.records import content_id


@functools.cache
def _library() -> dict[str, str]:
    """A digest of each of the library's modules, as they are when this process asks first."""
    modules = sorted((ROOT / "ledexlib").rglob("*.py"))
    return {shown(path): content_id(path.read_text(encoding="utf-8")) for path in modules}


def code_cells(notebook: Path) -> list[tuple[str, list[str]]]:
    """Source and tags of a notebook's code cells (read as JSON: importing nbformat takes seconds)."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return [("".join(c["source"]), c["metadata"].get("tags", [])) for c in cells if c["cell_type"] == "code"]


def current_code(notebook: Path) -> dict[str, str]:
    """A digest of each file whose code makes the notebook's stage: its own without parameters, and the library's."""
    code = [source for source, tags in code_cells(notebook) if "parameters" not in tags]
    return {shown(notebook): content_id("\n\n".join(code)), **_library()}


def changed_code(made_by: Mapping[str, str] | None, notebook: Path) -> list[str]:
    """The files that differ from those a stage was made by, are new or are gone; none if that was not recorded.
    A stage is still used after its code changed: the change is named, and throws nothing away."""
    now = current_code(notebook) if made_by else {}
    return sorted(name for name in {*(made_by or ()), *now} if made_by.get(name) != now.get(name))


def in_words(files: list[str], most: int = 3) -> str:
    """A list of files for a line of text: the first few, and how many more."""
    more = f" and {len(files) - most} more" if len(files) > most else ""
    return ", ".join(files[:most]) + more


def _output(*command: str) -> str | None:
    """What a command prints, None if it is not there or fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def versions() -> dict[str, str]:
    """Python's version and that of every installed package (from the names of its folder: the metadata are slow)."""
    folders = [path for entry in sys.path for path in Path(entry).glob("*.dist-info")]
    packages = dict(path.stem.rpartition("-")[::2] for path in reversed(folders))  # the first on the path counts
    return {"python": platform.python_version(), **dict(sorted(packages.items()))}


def commit() -> dict[str, Any]:
    """The repository's git commit and whether it has uncommitted changes; None where unknown."""
    head, changes = (_output("git", "-C", str(ROOT), *do) for do in (("rev-parse", "HEAD"), ("status", "--porcelain")))
    return {"commit": head, "dirty": None if changes is None else bool(changes)}


@functools.cache
def hardware() -> dict[str, Any]:
    """CPU model, cores this process may use, memory in GiB, and the name and memory of each GPU."""
    gpus = _output("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader")
    cpus = Path("/proc/cpuinfo")
    model = re.search(r"^model name\s*: (.*)$", cpus.read_text(errors="replace") if cpus.exists() else "", re.M)
    return {
        "cpu": model[1] if model else platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1), "gpus": (gpus or "").splitlines(),
        "system": platform.platform()}
