"""Rows of a benchmark in files: JSON lines or a JSON list, plain or gzipped, or APPS's own folders.

Rows come with their place, for error messages, and with their split: a file or folder named after one says it, else it
is the split asked for, else ``train``."""

import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ledexlib.params import Refused
from ledexlib.problems.converters import Row, integer
from ledexlib.problems.programs import unify_lines

APPS_FILES = ("question.txt", "starter_code.py", "input_output.json", "solutions.json", "metadata.json")


class ProblemError(Refused, ValueError):
    """Problems that cannot be loaded; the message names the place, the fault and what would be right."""


def rows_at(
    path: Path, name: str, files: Sequence[str], splits: Sequence[str], split: str | None
) -> Iterator[tuple[str, str, Row]]:
    """Place, split and row for each row of a benchmark's file or folder; ``files`` are the names it is known by."""
    if path.is_dir() and name == "apps" and not any((path / file).exists() for file in files):
        yield from _apps_folder(path, splits, split)
        return
    for file in [path] if path.is_file() else _files_in(path, name, files):
        named = [part for part in (file.name.split(".")[0], file.parent.name) if part in splits]
        yield from ((place, (named or [split or "train"])[0], row) for place, row in read_rows(file))


def _files_in(folder: Path, name: str, files: Sequence[str]) -> list[Path]:
    """The files to read in a folder: the benchmark's first known name (every split's, for APPS), or the only file."""
    known = [folder / file for file in files if (folder / file).exists()]
    if known:
        return known if name == "apps" else known[:1]
    found = sorted(f for f in folder.iterdir() if f.name.endswith((".jsonl", ".jsonl.gz", ".json", ".json.gz")))
    if len(found) != 1:
        names = ", ".join(f.name for f in found) or "no .json or .jsonl file"
        raise ProblemError(f"{folder}: which file holds {name}? There is: {names}. Give the path of the file")
    return found


def read_rows(path: Path) -> Iterator[tuple[str, Row]]:
    """The place and the row of each line of JSON lines, or of each item of a JSON list, gzipped or not.

    Raises ProblemError naming the line that is damaged, cut off or no JSON object."""
    if path.name.endswith((".json", ".json.gz")):
        rows = _parse("".join(text for _, text in _lines(path)), str(path))
        if not isinstance(rows, list):
            raise ProblemError(f"{path}: expected a list of problems, got a {type(rows).__name__}")
        placed = ((f"{path} item {index}", row) for index, row in enumerate(rows))
    else:
        lines = ((f"{path}:{number}", text) for number, text in _lines(path) if text.strip())
        placed = ((place, _parse(text, place)) for place, text in lines)
    for place, row in placed:
        if not isinstance(row, dict):
            raise ProblemError(f"{place}: expected a JSON object, got a {type(row).__name__}")
        yield place, row


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    number = 0
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8-sig") as lines:
            for number, text in enumerate(lines, 1):
                yield number, text
    except (EOFError, gzip.BadGzipFile, zlib.error, UnicodeDecodeError) as error:
        fault = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else "damaged or cut-off gzip file"
        raise ProblemError(f"{path}:{number + 1}: {fault}: {error}") from None


def _parse(text: str, place: str) -> Any:
    try:
        return json.loads(text, parse_int=integer)
    except json.JSONDecodeError as error:
        at_end = error.pos >= len(text.rstrip()) - 1 or error.msg.startswith("Unterminated string")
        end = "; the text ends there: is the file cut off?" if at_end else ""
        raise ProblemError(f"{place}: not valid JSON: {error.msg} at column {error.colno}{end}") from None


def _apps_folder(path: Path, splits: Sequence[str], split: str | None) -> Iterator[tuple[str, str, Row]]:
    """The problems of APPS's own layout: ``train/0001/question.txt`` and so on, at any of its three levels."""
    if (path / "question.txt").exists():
        row: dict[str, Any] = {"problem_id": path.name}
        for file in (path / name for name in APPS_FILES):
            text = unify_lines(file.read_text(encoding="utf-8")) if file.exists() else None
            row[file.stem] = _parse(text, str(file)) if text is not None and file.suffix == ".json" else text
        row["url"] = (row.pop("metadata") or {}).get("url", "")
        named = path.resolve().parent.name
        yield str(path), named if named in splits else split or "train", row
        return
    folders = [f for f in sorted(path.iterdir()) if f.name in splits or f.name.isdigit()]
    if not folders:
        raise ProblemError(f"{path}: neither an APPS problem nor a folder of them (0000, 0001, … or train, test)")
    for folder in folders:
        yield from _apps_folder(folder, splits, split)
