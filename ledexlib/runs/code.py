"""The code that makes a stage, by file: what changed since is named, and throws nothing away."""

import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from ledexlib.params import ROOT, shown


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@functools.cache
def _library() -> dict[str, str]:
    """A digest of each of the library's modules, as they are when this process asks first."""
    modules = sorted((ROOT / "ledexlib").rglob("*.py"))
    return {shown(path): _digest(path.read_text(encoding="utf-8")) for path in modules}


def _notebook(path: Path) -> str:
    """A digest of a notebook's code, without its parameters (read as JSON: importing nbformat takes seconds)."""
    cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    code = ["".join(cell["source"]) for cell in cells if "parameters" not in cell["metadata"].get("tags", ())]
    return _digest("\n\n".join(code))


def current_code(notebook: Path) -> dict[str, str]:
    """A digest of each file whose code makes the notebook's stage: its own, and the library's modules."""
    return {shown(notebook): _notebook(notebook), **_library()}


def changed_code(made_by: Mapping[str, str] | None, notebook: Path) -> list[str]:
    """The files that differ from those a stage was made by, are new or are gone; none if that was not recorded."""
    if not made_by:
        return []
    now = current_code(notebook)
    return sorted(name for name in {*made_by, *now} if made_by.get(name) != now.get(name))


def in_words(files: list[str], most: int = 3) -> str:
    """A list of files for a line of text: the first few, and how many more."""
    more = f" and {len(files) - most} more" if len(files) > most else ""
    return ", ".join(files[:most]) + more
