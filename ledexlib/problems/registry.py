"""Problems of a benchmark, from the Hugging Face hub or from files.

``load_problems("mbpp", "train")`` loads from the hub; ``load_problems("mbpp", "train", path="mbpp.jsonl")`` reads the
benchmark's original file. Files are JSON lines or a JSON list, plain or gzipped; a folder is searched for the names
its benchmark is known by; APPS is a folder with one folder a problem (or the hub's JSON lines). APPS and CodeContests
rows do not say their split: a file or folder named after one does, else the split asked for, else ``train``.

``load_problems("jsonl", path=...)`` reads the project's own format, a JSON object a line, which is
``ledexlib.records.Problem``::

    task_id      text, unique in the file
    prompt       text: what a model is asked
    entry_point  a Python expression for the function under test, or null for a program that reads stdin
    tests        a list of tests, each of one kind:
                 {"kind": "assertion", "statement": "assert add(1, 2) == 3"}
                 {"kind": "check", "source": "def check(candidate): ..."}
                 {"kind": "call", "arguments": "(1, 2)", "expected": "3"}, both Python literals; optional:
                     "expected": null (what the reference returns), "tolerance": 1e-6,
                     "comparison": "equal" | "set" | "same_none" | "json"
                 {"kind": "io", "stdin": "1 2\\n", "stdout": "3\\n"}
    reference    text: a program that passes, or empty
    benchmark    text: the name to report it under
    split        text
    setup        optional text: code run before the program
    stub         optional text: code that a completion continues
"""

from __future__ import annotations

import difflib
import gzip
import json
import logging
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ledexlib.problems import converters as benchmarks
from ledexlib.problems import evalplus
from ledexlib.problems.converters import Row
from ledexlib.mini import load_mini
from ledexlib.mini.problems import BENCHMARKS as MINI
from ledexlib.mini.problems import SIZES as MINI_SIZES
from ledexlib.records import Problem

log = logging.getLogger(__name__)

APPS_FILES = {"question": "question.txt", "starter_code": "starter_code.py"}
APPS_JSON_FILES = {"input_output": "input_output.json", "solutions": "solutions.json"}


class ProblemError(ValueError):
    """Problems that cannot be loaded; the message names the place, the fault and what would be right."""


def _own_format(row: Row, split: str) -> Problem:
    return Problem.model_validate(row)


@dataclass(frozen=True)
class Benchmark:
    """Where a benchmark comes from. ``hub`` is the arguments of ``datasets.load_dataset`` but the split."""

    convert: Callable[[Row, str], Problem]
    splits: tuple[str, ...] = ("test",)
    hub: dict[str, Any] | None = None
    files: tuple[str, ...] = ()


BENCHMARKS: dict[str, Benchmark] = {
    "humaneval": Benchmark(
        benchmarks.humaneval, hub={"path": "openai/openai_humaneval"}, files=("HumanEval.jsonl.gz", "HumanEval.jsonl")
    ),
    "humanevalplus": Benchmark(
        evalplus.humanevalplus,
        hub={"path": "evalplus/humanevalplus"},
        files=("HumanEvalPlus.jsonl.gz", "HumanEvalPlus.jsonl"),
    ),
    "mbpp": Benchmark(
        benchmarks.mbpp,
        tuple(benchmarks.MBPP_SPLITS),
        {"path": "google-research-datasets/mbpp", "name": "full"},
        ("mbpp.jsonl", "sanitized-mbpp.json"),
    ),
    "mbppplus": Benchmark(
        evalplus.mbppplus, hub={"path": "evalplus/mbppplus"}, files=("MbppPlus.jsonl.gz", "MbppPlus.jsonl")
    ),
    # The repository's own loader is a script, which `datasets` no longer runs: read its files.
    "apps": Benchmark(
        benchmarks.apps,
        ("train", "test"),
        {"path": "json", "data_files": "hf://datasets/codeparrot/apps/{split}.jsonl"},
        ("train.jsonl", "test.jsonl"),
    ),
    "code_contests": Benchmark(
        benchmarks.code_contests, ("train", "valid", "test"), {"path": "deepmind/code_contests"}
    ),
    "leetcode": Benchmark(benchmarks.leetcode, files=("debugbench_leetcode.jsonl.gz",)),
    "jsonl": Benchmark(_own_format, splits=()),
}
NAMES = ("mini", *MINI, *BENCHMARKS)


def load_problems(name: str, split: str | None = None, path: str | Path | None = None) -> list[Problem]:
    """The problems of a benchmark's split (None: of all its splits), in its own order.

    ``path`` is a file or folder with the original data; None loads from the hub. Raises ProblemError for an unknown
    name or split, for a missing or damaged file (with its line) and for a row that is not the benchmark's.
    """
    name = "mini-mbpp" if name == "mini" else name
    if name not in NAMES:
        raise ProblemError(f"'{name}' is not a benchmark{_nearest(name, NAMES)}")
    splits = splits_of(name)
    if split is not None and splits and split not in splits:
        raise ProblemError(f"'{split}' is not a split of {name}{_nearest(split, splits)}")
    if name in MINI:
        if path is not None:
            raise ProblemError(f"'{name}' is generated, it cannot be read from {path}: leave the path out")
        return [problem for part in ((split,) if split else splits) for problem in load_mini(name, part)]
    benchmark = BENCHMARKS[name]
    if path is not None:
        rows = _rows_at(Path(path), name, split)
    elif benchmark.hub:
        rows = _rows_of_hub(name, split)
    else:
        raise ProblemError(f"'{name}' is not on the hub: give the path of its data")
    problems = _unique(name, _converted(name, rows))
    kept = [problem for problem in problems if split in (None, problem.split)]
    if not kept:
        found = ", ".join(sorted({problem.split for problem in problems})) or "no problem at all"
        raise ProblemError(f"{path or name}: no problem of split '{split}' (there is: {found})")
    return kept


def splits_of(name: str) -> tuple[str, ...]:
    """The splits of a benchmark; none where the file says it (``jsonl``)."""
    return tuple(MINI_SIZES[name.removesuffix("plus")]) if name in MINI else BENCHMARKS[name].splits


def _nearest(name: str, valid: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return f"{hint} (valid: {', '.join(valid)})"


def _converted(name: str, rows: Iterator[tuple[str, str, Row]]) -> Iterator[tuple[str, Problem]]:
    """Each row's place and problem; problems that nothing can test are left out and logged."""
    untested = []
    for place, split, row in rows:
        try:
            problem = BENCHMARKS[name].convert(row, split)
        except KeyError as error:
            has = ", ".join(sorted(row))
            raise ProblemError(f"{place}: not a row of {name}: field {error} is missing (it has: {has})") from None
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise ProblemError(f"{place}: field '{field}': {first['msg'].lower()}") from None
        except (ValueError, TypeError, AttributeError, SyntaxError) as error:
            raise ProblemError(f"{place}: not a row of {name}: {error}") from error
        if problem.tests:
            yield place, problem
        else:
            untested.append(problem.task_id)
    if untested:
        log.warning("%s: left out %d problems that have no tests: %s", name, len(untested), ", ".join(untested))


def _unique(name: str, placed: Iterator[tuple[str, Problem]]) -> list[Problem]:
    """The problems, each task once. LeetCode rows are bugs, several to a task: the first with a reference is taken."""
    problems: dict[str, Problem] = {}
    places: dict[str, str] = {}
    for place, problem in placed:
        known = problems.get(problem.task_id)
        if known is None or (name == "leetcode" and not known.reference):
            problems[problem.task_id], places[problem.task_id] = problem, place
        elif name != "leetcode":
            raise ProblemError(f"{place}: task_id '{problem.task_id}' was already at {places[problem.task_id]}")
    return list(problems.values())


def _rows_of_hub(name: str, split: str | None) -> Iterator[tuple[str, str, Row]]:
    from datasets import load_dataset

    benchmark = BENCHMARKS[name]
    for part in (split,) if split else benchmark.splits:
        source = {key: value.format(split=part) for key, value in benchmark.hub.items()}
        # A list of loose files is one split, which `datasets` calls train.
        kept_as = "train" if "data_files" in source else part
        try:
            rows = load_dataset(**source, split=kept_as)
        except Exception as error:
            where = source.get("data_files", source["path"])
            text = " ".join(str(error).split())
            raise ProblemError(
                f"{name}: cannot load {where} from the hub ({type(error).__name__}: {text}); "
                f"without the hub, give the path of its original files"
            ) from error
        for index, row in enumerate(rows):
            yield f"{benchmark.hub['path']} [{part}] row {index}", part, row


def _rows_at(path: Path, name: str, split: str | None) -> Iterator[tuple[str, str, Row]]:
    """Place, split and row for each row of the files at the path."""
    if not path.exists():
        raise ProblemError(f"{path}: no such file or folder (for the problems of {name})")
    if path.is_dir() and name == "apps" and not any((path / file).exists() for file in BENCHMARKS["apps"].files):
        yield from _apps_folder(path, split)
        return
    for file in [path] if path.is_file() else _files_in(path, name):
        named = [part for part in (file.name.split(".")[0], file.parent.name) if part in BENCHMARKS[name].splits]
        row_split = (named or [split or "train"])[0]
        for place, row in read_rows(file):
            yield place, row_split, row


def _files_in(folder: Path, name: str) -> list[Path]:
    """The files to read in a folder: the benchmark's first known name (every split's, for APPS), or the only file."""
    known = [folder / file for file in BENCHMARKS[name].files if (folder / file).exists()]
    if known:
        return known if name == "apps" else known[:1]
    files = sorted(f for f in folder.iterdir() if f.name.endswith((".jsonl", ".jsonl.gz", ".json", ".json.gz")))
    if len(files) != 1:
        found = ", ".join(f.name for f in files) or "no .json or .jsonl file"
        raise ProblemError(f"{folder}: which file holds {name}? There is: {found}. Give the path of the file")
    return files


def read_rows(path: Path) -> Iterator[tuple[str, Row]]:
    """The place and the row of each line of JSON lines, or of each item of a JSON list, gzipped or not."""
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
        return json.loads(text, parse_int=benchmarks.integer)
    except json.JSONDecodeError as error:
        at_end = error.pos >= len(text.rstrip()) - 1 or error.msg.startswith("Unterminated string")
        end = "; the text ends there: is the file cut off?" if at_end else ""
        raise ProblemError(f"{place}: not valid JSON: {error.msg} at column {error.colno}{end}") from None


def _row(value: Any, place: str) -> Row:
    if not isinstance(value, dict):
        raise ProblemError(f"{place}: expected a JSON object, got a {type(value).__name__}")
    return value


def _apps_folder(path: Path, split: str | None) -> Iterator[tuple[str, str, Row]]:
    """The problems of APPS's own layout: ``train/0001/question.txt`` and so on, at any of its three levels."""
    if (path / "question.txt").exists():
        row: dict[str, Any] = {"problem_id": path.name, "url": ""}
        for field, file in APPS_FILES.items():
            if field == "question" or (path / file).exists():
                row[field] = benchmarks.unix((path / file).read_text(encoding="utf-8"))
        for field, file in APPS_JSON_FILES.items():
            found = (path / file).exists()
            row[field] = _parse((path / file).read_text(encoding="utf-8"), str(path / file)) if found else None
        if (path / "metadata.json").exists():
            row["url"] = _parse((path / "metadata.json").read_text(), str(path / "metadata.json")).get("url", "")
        named = path.resolve().parent.name
        yield str(path), named if named in BENCHMARKS["apps"].splits else split or "train", row
        return
    folders = [f for f in sorted(path.iterdir()) if f.name in BENCHMARKS["apps"].splits or f.name.isdigit()]
    if not folders:
        raise ProblemError(f"{path}: neither an APPS problem nor a folder of them (0000, 0001, … or train, test)")
    for folder in folders:
        yield from _apps_folder(folder, split)
