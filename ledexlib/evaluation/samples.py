"""The command ``verify``: samples in HumanEval's and EvalPlus's format in, one verdict a line out, in their order.

Samples are JSON lines, gzipped or not, with ``task_id`` and either ``solution`` (a whole program) or ``completion``
(what follows the problem's stub; a whole program where the problem has none).
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, get_args

from tqdm import tqdm

from ledexlib.params import ParameterError, Params, validate
from ledexlib.problems import ProblemError, benchmark_names, load_problems, read_rows
from ledexlib.records import Mode, Problem, Record, Status, content_id
from ledexlib.repair import VerdictCache
from ledexlib.runs import ArtifactError, write_records


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


class SampleVerdict(Record):
    """A line of the command's output."""

    task_id: str
    index: int
    status: Status
    n_passed: int
    n_tests: int
    feedback: str
    seconds: float
    mode: Mode = "in_process"


class Bar(tqdm):
    """Progress on the terminal alone: a command leaves no file of it."""

    def advance(self, n: int = 1) -> None:
        """Count ``n`` more programs as done."""
        self.update(n)


def write_verdicts(
    samples: Sequence[Sample], problems: Mapping[str, Problem], out: Path, p: Params
) -> list[SampleVerdict]:
    """Verify the samples and write a row for each, in order, to ``out``; the rows.

    Until then verdicts are kept in a hidden file beside it, from which the same command goes on after a kill.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.{content_id(p.timeout, p.memory_mb)}.partial")
    verdicts = VerdictCache(p, partial, lambda total, label, done: Bar(desc=label, total=total, initial=done))
    found = verdicts(problems.values(), [(sample.task_id, sample.code) for sample in samples], "programs")
    rows = [
        SampleVerdict(task_id=sample.task_id, index=sample.index, **verdict.model_dump())
        for sample, verdict in zip(samples, found, strict=True)
    ]
    write_records(out, rows)
    partial.unlink()
    return rows


def summary(rows: Sequence[SampleVerdict]) -> str:
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


def add_verify_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the subcommand ``verify``."""
    parser.description = "Run samples against a benchmark's tests; one verdict a line, in the samples' order."
    add, names = parser.add_argument, benchmark_names()
    add("--benchmark", required=True, choices=names, metavar="NAME", help=f"one of {', '.join(names)}")
    add("--data", type=Path, metavar="PATH", help="the benchmark's original file or folder (default: the hub)")
    add("--split", help="use only this split's problems (default: all splits)")
    add("--samples", type=Path, required=True, metavar="FILE", help="JSON lines: task_id, completion or solution")
    add("--out", type=Path, required=True, metavar="FILE", help="JSON lines: a verdict for each sample")
    add("--workers", type=int, default=2, metavar="N", help="programs run at once (default: %(default)s)")
    add("--timeout", type=float, default=15.0, metavar="S", help="a program's seconds (default: %(default)s)")


def verify_command(args: argparse.Namespace) -> int:
    """The subcommand ``verify``: exit status 0, or 2 with a message if what was given cannot be used."""
    given = {"workers": args.workers, "timeout": args.timeout}
    try:
        p = validate(given, {name: f"--{name}" for name in given})
        if not args.samples.is_file():  # said before a long download of problems
            raise VerifyError(f"{args.samples}: no such file of samples")
        if args.out.is_dir():
            raise VerifyError(f"{args.out}: is a folder; --out names the file to write")
        problems = {problem.task_id: problem for problem in load_problems(args.benchmark, args.split, args.data)}
        rows = write_verdicts(read_samples(args.samples, problems), problems, args.out, p)
    except (VerifyError, ProblemError, ParameterError, ArtifactError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(summary(rows))
    return 0
