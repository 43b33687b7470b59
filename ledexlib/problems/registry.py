"""Benchmarks by their names, and their problems from the Hugging Face hub, from files or from other packages.

``load_problems("mbpp", "train")`` loads from the hub, ``load_problems("mbpp", "train", path="mbpp.jsonl")`` from the
benchmark's original file or folder. A package registers more benchmarks by entry points of the group
``ledexlib.benchmarks``, each a ``Benchmark``. The project's own format, ``jsonl``, has a ``Problem`` a line (as
``ledexlib.records`` describes it; ``entry_point`` is null for a program that reads stdin)::

    {"task_id": "own/1", "prompt": "Add two numbers.", "entry_point": "add", "benchmark": "own", "split": "train",
     "reference": "def add(a, b): return a + b", "tests": [
         {"kind": "assertion", "statement": "assert add(1, 2) == 3"},
         {"kind": "check", "source": "def check(candidate): ..."},
         {"kind": "call", "arguments": "(1, 2)", "expected": "3"},
         {"kind": "io", "stdin": "1 2\\n", "stdout": "3\\n"}]}"""

import difflib
import logging
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from ledexlib.params import resolve
from ledexlib.problems import converters, evalplus
from ledexlib.problems.converters import Row
from ledexlib.problems.files import ProblemError, rows_at
from ledexlib.problems.programs import job_of
from ledexlib.records import Problem
from ledexlib.sandbox import unusable

log = logging.getLogger(__name__)


class WorkedRepair(NamedTuple):
    """A wrong program with its feedback, an explanation and a repair, shown to a base model as an example."""
    problem: Problem
    wrong: str
    feedback: str
    explanation: str
    code: str


class Benchmark(NamedTuple):
    """Where a benchmark's problems come from: rows that ``convert`` reads, or ``generate``, called with a split.

    ``hub`` is the arguments of ``datasets.load_dataset`` but the split; ``files`` are the names of its original files;
    ``worked_repairs`` makes repairs of its own for few-shot prompts."""
    convert: Callable[[Row, str], Problem] | None = None
    splits: tuple[str, ...] = ("test",)
    hub: dict[str, Any] | None = None
    files: tuple[str, ...] = ()
    generate: Callable[[str], list[Problem]] | None = None
    worked_repairs: Callable[[], tuple[WorkedRepair, ...]] = tuple


BENCHMARKS: dict[str, Benchmark] = {
    "humaneval": Benchmark(
        converters.humaneval, ("test",), {"path": "openai/openai_humaneval"},
        ("HumanEval.jsonl.gz", "HumanEval.jsonl")),
    "humanevalplus": Benchmark(
        evalplus.humanevalplus, ("test",), {"path": "evalplus/humanevalplus"},
        ("HumanEvalPlus.jsonl.gz", "HumanEvalPlus.jsonl")),
    "mbpp": Benchmark(
        converters.mbpp, tuple(converters.MBPP_SPLITS), {"path": "google-research-datasets/mbpp", "name": "full"},
        ("mbpp.jsonl", "sanitized-mbpp.json")),
    "mbppplus": Benchmark(
        evalplus.mbppplus, ("test",), {"path": "evalplus/mbppplus"}, ("MbppPlus.jsonl.gz", "MbppPlus.jsonl")),
    # The repository's own loader is a script, which `datasets` no longer runs: read its files.
    "apps": Benchmark(
        converters.apps, ("train", "test"),
        {"path": "json", "data_files": "hf://datasets/codeparrot/apps/{split}.jsonl"}, ("train.jsonl", "test.jsonl")),
    "code_contests": Benchmark(
        converters.code_contests, ("train", "valid", "test"), {"path": "deepmind/code_contests"}),
    "leetcode": Benchmark(converters.leetcode, files=("debugbench_leetcode.jsonl.gz",)),
    "jsonl": Benchmark(lambda row, split: Problem.model_validate(row), splits=())}


@cache
def _registered() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group="ledexlib.benchmarks")}


def benchmark_names() -> tuple[str, ...]:
    """All names of benchmarks, the registered ones first."""
    return (*_registered(), *BENCHMARKS)


def find_benchmark(entry: str) -> Benchmark:
    """The benchmark NAME or NAME=PATH; raises ProblemError naming the nearest one if there is none."""
    name = entry.partition("=")[0]
    if name in BENCHMARKS:
        return BENCHMARKS[name]
    if name not in _registered():
        raise ProblemError(f"'{name}' is not a benchmark{_nearest(name, benchmark_names())}")
    return _registered()[name].load()


def check_benchmark(
    entry: str, split: str | None = None, path: str | Path | None = None) -> tuple[str, Benchmark, Path | None]:
    """The name, the benchmark and the path of its data, if that is given; loads nothing.

    Raises ProblemError for an unknown name, a wrong split or a path that is not there."""
    name, _, inside = entry.partition("=")
    where = Path(path) if path is not None else resolve(inside) if inside else None
    benchmark = find_benchmark(name)
    if split is not None and benchmark.splits and split not in benchmark.splits:
        raise ProblemError(f"'{split}' is not a split of {name}{_nearest(split, benchmark.splits)}")
    if where is not None and benchmark.generate:
        raise ProblemError(f"'{name}' is generated, it cannot be read from {where}: leave the path out")
    if where is not None and not where.exists():
        raise ProblemError(f"{where}: no such file or folder (for the problems of {name})")
    if where is None and not (benchmark.generate or benchmark.hub):
        raise ProblemError(f"'{name}' is not on the hub: give the path of its data ({name}=PATH)")
    return name, benchmark, where


def load_problems(entry: str, split: str | None = None, path: str | Path | None = None) -> list[Problem]:
    """The problems of a benchmark's split (None: of all its splits), in its own order.

    ``entry`` is NAME or NAME=PATH as parameters write it, where a relative path starts at the repository; ``path`` is
    the same for code. Without a path, problems are loaded from the hub. Raises ProblemError for an unknown name or
    split, for a missing or damaged file (with its line) and for a row that is not the benchmark's."""
    name, benchmark, where = check_benchmark(entry, split, path)
    if benchmark.generate:
        return [problem for part in ((split,) if split else benchmark.splits) for problem in benchmark.generate(part)]
    if where is not None:
        rows = rows_at(where, name, benchmark.files, benchmark.splits, split)
    else:
        rows = _rows_of_hub(name, benchmark, split)
    problems = _converted(name, benchmark, rows)
    wanted = [problem for problem in problems if split in (None, problem.split)]
    if not wanted:
        found = ", ".join(sorted({problem.split for problem in problems})) or "no problem at all"
        raise ProblemError(f"{where or name}: no problem of split '{split}' (there is: {found})")
    return wanted


def worked_repairs(entry: str) -> tuple[WorkedRepair, ...]:
    """The benchmark's own examples of repairs for few-shot prompts; empty for one that has none."""
    return find_benchmark(entry).worked_repairs()


def _nearest(name: str, valid: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return f"{hint} (valid: {', '.join(valid)})"


def _rows_of_hub(name: str, benchmark: Benchmark, split: str | None) -> Iterator[tuple[str, str, Row]]:
    from datasets import load_dataset

    for part in (split,) if split else benchmark.splits:
        source = {key: value.format(split=part) for key, value in benchmark.hub.items()}
        try:  # a list of loose files is one split, which `datasets` calls train
            rows = load_dataset(**source, split="train" if "data_files" in source else part)
        except Exception as error:
            where = source.get("data_files", source["path"])
            said = f"{type(error).__name__}: {' '.join(str(error).split())}"
            advice = "without the hub, give the path of its original files"
            raise ProblemError(f"{name}: cannot load {where} from the hub ({said}); {advice}") from error
        for index, row in enumerate(rows):
            yield f"{benchmark.hub['path']} [{part}] row {index}", part, row


def _converted(name: str, benchmark: Benchmark, rows: Iterator[tuple[str, str, Row]]) -> list[Problem]:
    """The problems that have tests, each once; raises ProblemError naming the place and the field at fault.

    LeetCode rows are bugs, several to a task: the first with a reference is taken."""
    problems: dict[str, Problem] = {}
    places: dict[str, str] = {}
    untested = []
    for place, split, row in rows:
        try:
            problem = benchmark.convert(row, split)
        except KeyError as error:
            said = f"field {error} is missing (it has: {', '.join(sorted(row))})"
            raise ProblemError(f"{place}: not a row of {name}: {said}") from None
        except ValidationError as error:
            first = error.errors()[0]
            raise ProblemError(f"{place}: field '{'.'.join(map(str, first['loc']))}': {first['msg'].lower()}") from None
        except (ValueError, TypeError, AttributeError, SyntaxError) as error:
            raise ProblemError(f"{place}: not a row of {name}: {error}") from error
        known = problems.get(problem.task_id)
        if not problem.tests:
            untested.append(problem.task_id)
        elif known is None or (name == "leetcode" and not known.reference):
            problems[problem.task_id], places[problem.task_id] = problem, place
        elif name != "leetcode":
            raise ProblemError(f"{place}: task_id '{problem.task_id}' was already at {places[problem.task_id]}")
    if untested:
        log.warning("%s: left out %d problems that have no tests: %s", name, len(untested), ", ".join(untested))
    for task_id, problem in problems.items():
        if fault := unusable(job_of(task_id, problem, "")):
            log.warning("%s: programs for %s are not scored: %s", name, task_id, fault)
    return list(problems.values())
