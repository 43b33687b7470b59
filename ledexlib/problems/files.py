"""Rows of a benchmark in files: JSON lines or a JSON list, plain or gzipped, or APPS's own folders.

Rows come with their place, for error messages, and with their split: a file or folder named after one says it, else it
is the split asked for, else ``train``.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ledexlib.problems.converters import Row, integer, unix

APPS_FILES = {"question": "question.txt", "starter_code": "starter_code.py"}
APPS_JSON_FILES = {"input_output": "input_output.json", "solutions": "solutions.json", "metadata": "metadata.json"}


class ProblemError(ValueError):
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
        for place, row in read_rows(file):
            yield place, (named or [split or "train"])[0], row


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

    Raises ProblemError naming the line that is damaged, cut off or no JSON object.
    """
    if path.name.endswith((".json", ".json.gz")):
        rows = _parse("".join(text for _, text in _lines(path)), str(path))
        if not isinstance(rows, list):
            raise ProblemError(f"{path}: expected a list of problems, got a {type(rows).__name__}")
        yield from ((f"{path} item {index}", _row(row, f"{path} item {index}")) for index, row in enumerate(rows))
        return
    for number, text in _lines(path):
        if text.strip():
            place = f"{path}:{number}"
            yield place, _row(_parse(text, place), place)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    number = 0
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as lines:
            for number, text in enumerate(lines, 1):
                yield number, text
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ProblemError(f"{path}:{number + 1}: damaged or cut-off gzip file: {error}") from None
    except UnicodeDecodeError as error:
        raise ProblemError(f"{path}:{number + 1}: not UTF-8 text: {error}") from None


def _parse(text: str, place: str) -> Any:
    try:
        return json.loads(text, parse_int=integer)
    except json.JSONDecodeError as error:
        at_end = error.pos >= len(text.rstrip()) - 1 or error.msg.startswith("Unterminated string")
        end = "; the text ends there: is the file cut off?" if at_end else ""
        raise ProblemError(f"{place}: not valid JSON: {error.msg} at column {error.colno}{end}") from None


def _row(value: Any, place: str) -> Row:
    if not isinstance(value, dict):
        raise ProblemError(f"{place}: expected a JSON object, got a {type(value).__name__}")
    return value


def _apps_folder(path: Path, splits: Sequence[str], split: str | None) -> Iterator[tuple[str, str, Row]]:
    """The problems of APPS's own layout: ``train/0001/question.txt`` and so on, at any of its three levels."""
    if (path / "question.txt").exists():
        row: dict[str, Any] = {"problem_id": path.name}
        for field, file in APPS_FILES.items():
            if field == "question" or (path / file).exists():
                row[field] = unix((path / file).read_text(encoding="utf-8"))
        for field, file in APPS_JSON_FILES.items():
            found = (path / file).exists()
            row[field] = _parse((path / file).read_text(encoding="utf-8"), str(path / file)) if found else None
        row["url"] = (row.pop("metadata") or {}).get("url", "")
        named = path.resolve().parent.name
        yield str(path), named if named in splits else split or "train", row
        return
    folders = [f for f in sorted(path.iterdir()) if f.name in splits or f.name.isdigit()]
    if not folders:
        raise ProblemError(f"{path}: neither an APPS problem nor a folder of them (0000, 0001, … or train, test)")
    for folder in folders:
        yield from _apps_folder(folder, splits, split)
