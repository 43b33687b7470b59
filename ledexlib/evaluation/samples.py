"""Verdicts on programs: problems and code in, ``Verdict`` records out; and the command ``python -m ledexlib verify``.

The command reads samples as HumanEval and EvalPlus write them, JSON lines (gzipped or not) with ``task_id`` and either
``solution`` (a whole program) or ``completion`` (what follows the problem's stub; a whole program where the problem has
none), and writes one verdict a line, in their order.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, get_args

from tqdm import tqdm

from ledexlib.runs.storage import JsonLines
from ledexlib.problems.registry import NAMES, ProblemError, load_problems, read_rows
from ledexlib.records import Mode, Problem, Record, Status, Verdict, content_id
from ledexlib.sandbox import Limits
from ledexlib.problems.verdicts import verify_programs

SAVE_SECONDS = 2.0  # between two writes of finished rows


class VerifyError(ValueError):
    """Samples that cannot be verified; the message names the file, the line and what would be right."""


@dataclass(frozen=True)
class Sample:
    """A program to verify; ``index`` counts the samples of its task from 0."""

    task_id: str
    index: int
    code: str


def read_samples(path: Path, problems: dict[str, Problem]) -> list[Sample]:
    """All samples of a file; raises VerifyError or ProblemError at the first line that cannot be used."""
    counts: Counter[str] = Counter()
    samples = []
    for place, row in read_rows(path):
        task_id, code = _sample(row, problems, place)
        samples.append(Sample(task_id, counts[task_id], code))
        counts[task_id] += 1
    if not samples:
        raise VerifyError(f"{path}: no samples in it")
    return samples


def _sample(row: dict[str, Any], problems: dict[str, Problem], place: str) -> tuple[str, str]:
    """The task and the whole program of a sample's row."""
    task_id = row.get("task_id")
    if task_id not in problems:
        known = f"such as '{next(iter(problems))}'"
        raise VerifyError(f"{place}: unknown task_id {task_id!r}; the benchmark has {len(problems)} tasks, {known}")
    given = [field for field in ("solution", "completion") if isinstance(row.get(field), str)]
    if not given:
        raise VerifyError(f"{place}: neither 'solution' nor 'completion' is there as text (fields: {', '.join(row)})")
    stub = problems[task_id].stub if given[0] == "completion" else ""
    return task_id, stub + row[given[0]]


class Row(Record):
    """A line of the command's output: the verdict on a sample."""

    task_id: str
    index: int
    status: Status
    n_passed: int
    n_tests: int
    feedback: str
    seconds: float
    mode: Mode = "in_process"

    @property
    def sample(self) -> tuple[str, int]:
        """Which sample of which task."""
        return self.task_id, self.index


def write_verdicts(
    samples: list[Sample], problems: dict[str, Problem], out: Path, workers: int, limits: Limits
) -> list[Row]:
    """Verify the samples and write their rows, in order, to ``out``; the rows.

    While the work lasts, rows are appended in order to a hidden file beside ``out`` whose name holds a key over
    samples, tests and limits; the same command after an interruption goes on from there. ``out`` is made, or replaced,
    at the end.
    """
    tasks = sorted({sample.task_id for sample in samples})
    key = content_id([asdict(s) for s in samples], [problems[t].model_dump() for t in tasks], asdict(limits))
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = JsonLines(out.with_name(f".{out.name}.{key}.partial"), Row, key="sample")
    rows = partial.read()
    items = [(number, problems[s.task_id], s.code) for number, s in enumerate(samples) if number >= len(rows)]
    waiting: dict[int, Verdict] = {}
    saved = time.monotonic()
    verdicts = verify_programs(items, workers, limits)
    for number, verdict in tqdm(verdicts, "programs", len(samples), initial=len(rows), mininterval=1):
        waiting[number] = verdict
        while len(rows) in waiting:
            sample = samples[len(rows)]
            rows.append(Row(task_id=sample.task_id, index=sample.index, **waiting.pop(len(rows)).model_dump()))
        if time.monotonic() - saved > SAVE_SECONDS:
            partial.append(rows[len(partial) :])
            saved = time.monotonic()
    partial.append(rows[len(partial) :])
    os.replace(partial.path, out)
    return rows


def summary(rows: list[Row]) -> str:
    """Counts by status and pass@1: the share of samples that pass, averaged over tasks."""
    statuses = Counter(row.status for row in rows)
    passes: dict[str, list[bool]] = defaultdict(list)
    for row in rows:
        if row.status != "infra":  # the harness's own trouble is never scored
            passes[row.task_id].append(row.status == "passed")
    counts = ", ".join(f"{statuses[status]:,} {status}" for status in get_args(Status) if statuses[status])
    line = f"{len(rows):,} samples of {len({row.task_id for row in rows}):,} tasks: {counts}"
    if not passes:
        return line
    share = fmean(fmean(passed) for passed in passes.values())
    return f"{line}\npass@1 {share:.4f} (mean over {len(passes):,} tasks of the share of samples that pass)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the subcommand ``verify``."""
    parser.description = "Run samples against a benchmark's tests; one verdict a line, in the samples' order."
    add = parser.add_argument
    add("--benchmark", required=True, choices=NAMES, metavar="NAME", help=f"one of {', '.join(NAMES)}")
    add("--data", type=Path, metavar="PATH", help="the benchmark's original file or folder (default: the hub)")
    add("--split", help="use only this split's problems (default: all splits)")
    add("--samples", type=Path, required=True, metavar="FILE", help="JSON lines: task_id, completion or solution")
    add("--out", type=Path, required=True, metavar="FILE", help="JSON lines: a verdict for each sample")
    add("--workers", type=int, default=2, metavar="N", help="programs run at once (default: %(default)s)")
    add("--timeout", type=float, default=Limits.timeout, metavar="S", help="a program's seconds (default: %(default)s)")


def main(args: argparse.Namespace) -> int:
    """The subcommand ``verify``: exit status 0, or 2 with a message if what was given cannot be used."""
    try:
        if args.workers < 1:
            raise VerifyError(f"--workers {args.workers}: must be at least 1")
        try:
            limits = Limits(timeout=args.timeout)
        except ValueError as error:
            raise VerifyError(f"--timeout: {error}") from None
        if not args.samples.is_file():  # said before a long download of problems
            raise VerifyError(f"{args.samples}: no such file of samples")
        if args.out.is_dir():
            raise VerifyError(f"{args.out}: is a folder; --out names the file to write")
        problems = {problem.task_id: problem for problem in load_problems(args.benchmark, args.split, args.data)}
        samples = read_samples(args.samples, problems)
        rows = write_verdicts(samples, problems, args.out, args.workers, limits)
    except (VerifyError, ProblemError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(summary(rows))
    return 0
