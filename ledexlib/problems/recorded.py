"""Recorded attempts of real models, read as solutions and refinements.

Two kinds of JSON lines are known. A sequence of attempts has ``task_id``, ``model`` and ``attempts``: the first
program and its repairs in order. A repaired bug has ``task_id``, ``model``, ``wrong``, ``explanation`` and
``refinement``. What a file says of itself about success is not used: the programs are run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ledexlib.problems.registry import ProblemError, read_rows
from ledexlib.records import Refinement, Sampling, Solution, content_id


def read_recorded(paths: Iterable[Path], task_ids: Iterable[str]) -> tuple[list[Solution], list[Refinement]]:
    """The solutions and refinements in these files; raises ProblemError naming file and line for a row of another kind.

    ``sampling.index`` counts a task's records of one model; for refinements of a sequence it is the round, from 0.
    """
    known = set(task_ids)
    solutions: dict[str, Solution] = {}
    refinements: dict[str, Refinement] = {}
    for path in paths:
        for place, row in read_rows(path):
            task_id, programs = _programs(row, place)
            if task_id not in known:
                raise ProblemError(f"{place}: task '{task_id}' is not among the problems loaded (benchmark and split?)")
            solution = _solution(row, task_id, programs[0])
            solutions.setdefault(solution.id, solution)
            for round_, program in enumerate(programs[1:]):
                refinement = _refinement(row, solution, program, round_)
                refinements.setdefault(refinement.id, refinement)
    return list(solutions.values()), list(refinements.values())


def _programs(row: Mapping[str, Any], place: str) -> tuple[str, list[str]]:
    """Task and programs of a row, the first wrong or not, the others its repairs."""
    missing = [name for name in ("task_id", "model") if name not in row]
    if missing:
        raise ProblemError(f"{place}: a recorded attempt needs '{missing[0]}'")
    if row.get("attempts"):
        return str(row["task_id"]), list(row["attempts"])
    if "wrong" in row and "refinement" in row:
        return str(row["task_id"]), [row["wrong"], row["refinement"]]
    raise ProblemError(f"{place}: neither 'attempts' nor 'wrong' and 'refinement'; see ledexlib/recorded.py")


def _solution(row: Mapping[str, Any], task_id: str, code: str) -> Solution:
    name = content_id("recorded solution", task_id, row["model"], row.get("id"), code)
    return Solution(id=name, task_id=task_id, code=code, completion=code, model=row["model"], sampling=Sampling())


def _refinement(row: Mapping[str, Any], solution: Solution, code: str, round_: int) -> Refinement:
    return Refinement(
        id=content_id("recorded refinement", solution.id, round_, code), solution_id=solution.id,
        task_id=solution.task_id, explanation=row.get("explanation") or None, code=code, completion=code,
        teacher=row["model"], sampling=Sampling(index=round_),
    )  # fmt: skip
