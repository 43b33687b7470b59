"""Samples in HumanEval's and EvalPlus's format in, one verdict a line out, in their order.

Samples are a folder for each task, or JSON lines with ``task_id`` and ``solution`` (a whole program) or ``completion``
(what follows the problem's stub; a whole program where the problem has none)."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import pandas as pd
from tqdm import tqdm

from ledexlib.evaluation.cache import EvaluationError
from ledexlib.params import Params
from ledexlib.problems import read_rows
from ledexlib.records import Problem, Record, Status, Verdict, content_id
from ledexlib.repair import VerdictCache
from ledexlib.runs import write_records


def read_samples(path: Path, problems: Mapping[str, Problem]) -> list[tuple[str, str]]:
    """Task and whole program of each sample of a file; EvaluationError or ProblemError at the first unusable line."""
    rows = read_rows(path) if path.is_file() else _rows_of_folder(path, problems)
    samples = [_sample(row, problems, place) for place, row in rows]
    if not samples:
        raise EvaluationError(f"{path}: no samples in it")
    return samples


def _rows_of_folder(path: Path, problems: Mapping[str, Problem]) -> Iterator[tuple[str, dict[str, Any]]]:
    """EvalPlus's layout: a folder for each task, named with _ for /, of whole programs 0.py, 1.py and so on."""
    for task_id in problems:
        for file in sorted((path / task_id.replace("/", "_")).glob("*.py"), key=lambda file: (len(file.name), file)):
            yield str(file), {"task_id": task_id, "solution": file.read_text(encoding="utf-8-sig")}


def _sample(row: dict[str, Any], problems: Mapping[str, Problem], place: str) -> tuple[str, str]:
    task_id = row.get("task_id")
    if task_id not in problems:
        known = f"the benchmark has {len(problems)} tasks, such as '{next(iter(problems))}'"
        raise EvaluationError(f"{place}: unknown task_id {task_id!r}; {known}")
    given = [field for field in ("solution", "completion") if isinstance(row.get(field), str)]
    if not given:
        fields = ", ".join(row)
        raise EvaluationError(f"{place}: neither 'solution' nor 'completion' is there as text (fields: {fields})")
    return task_id, (problems[task_id].stub if given[0] == "completion" else "") + row[given[0]]


class Sample(Record):
    """A program for a task; ``index`` counts those of its task from 0."""
    task_id: str
    index: int


class SampleVerdict(Verdict, Sample):
    """A line of the command's output: which sample, then its verdict."""


class Bar(tqdm):
    """Progress on the terminal alone: a command leaves no file of it."""
    advance = tqdm.update


def write_verdicts(
    samples: Sequence[tuple[str, str]], problems: Mapping[str, Problem], out: Path, p: Params) -> list[SampleVerdict]:
    """Verify the samples and write a row for each, in order, to ``out``; the rows. Until then verdicts are kept in a
    hidden file beside it, from which the same command goes on after a kill."""
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.{content_id(p.timeout, p.memory_mb)}.partial")
    verdicts = VerdictCache(p, partial, lambda total, label, done: Bar(desc=label, total=total, initial=done))
    rows, counts = [], Counter()
    for (task_id, _), verdict in zip(samples, verdicts(problems.values(), samples, "programs"), strict=True):
        rows.append(SampleVerdict(task_id=task_id, index=counts[task_id], **verdict.model_dump()))
        counts[task_id] += 1
    write_records(out, rows)
    partial.unlink()
    return rows


def summary(rows: Sequence[SampleVerdict]) -> str:
    """Counts by status and pass@1: the share of samples that pass, averaged over tasks."""
    table = pd.DataFrame([(row.task_id, row.status) for row in rows], columns=["task", "status"])
    statuses = table["status"].value_counts()
    counts = ", ".join(f"{statuses[status]:,} {status}" for status in get_args(Status) if status in statuses)
    line = f"{len(table):,} samples of {table['task'].nunique():,} tasks: {counts}"
    for said, kind in (("tests cannot run, not scored", "infra"), ("tests in the program's process", "in_process")):
        if tasks := sorted({row.task_id for row in rows if kind in (row.status, row.status != "infra" and row.mode)}):
            line += f"\n{said}: {', '.join(tasks)}"
    scored = table[table["status"] != "infra"]  # the harness's own trouble is never scored
    if scored.empty:
        return line
    shares = (scored["status"] == "passed").groupby(scored["task"]).mean()
    return f"{line}\npass@1 {shares.mean():.4f} (mean over {len(shares):,} tasks of the share of samples that pass)"
