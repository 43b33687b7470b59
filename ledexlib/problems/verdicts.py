"""Verdicts on programs: whole programs against their problems' tests, in the sandbox."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator

from ledexlib.records import Problem, Verdict
from ledexlib.sandbox import Job, Limits, run


def sandbox_job(problem: Problem, code: str, name: Hashable = None) -> Job:
    """The sandbox's job for a whole program that answers a problem; ``name`` (default: the task's id) identifies it."""
    return Job(
        id=problem.task_id if name is None else name,
        program=code,
        tests=problem.tests,
        entry_point=problem.entry_point,
        setup=problem.setup,
        reference=problem.reference,
    )


def verify_programs(
    items: Iterable[tuple[Hashable, Problem, str]], workers: int = 2, limits: Limits | None = None
) -> Iterator[tuple[Hashable, Verdict]]:
    """Run programs (id, problem, whole program) against their problems' tests; yields verdicts as they finish."""
    return run((sandbox_job(problem, code, name) for name, problem, code in items), workers, limits)
