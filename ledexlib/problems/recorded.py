"""Recorded attempts of real models, read as solutions and refinements.

Two kinds of JSON lines are known. A sequence of attempts has ``task_id``, ``model`` and ``attempts``: the first
program and its repairs in order. A repaired bug has ``task_id``, ``model``, ``wrong``, ``explanation`` and
``refinement``. What a file says of itself about success is not used: the programs are run."""

from collections.abc import Iterable
from pathlib import Path

from ledexlib.problems.files import ProblemError, read_rows
from ledexlib.records import Refinement, Sampling, Solution, content_id


def read_recorded(paths: Iterable[Path], task_ids: Iterable[str]) -> tuple[list[Solution], list[Refinement]]:
    """The solutions and refinements in these files; raises ProblemError naming file and line for a row of another kind.

    ``sampling.index`` counts a task's records of one model; for refinements of a sequence it is the round, from 0."""
    known = set(task_ids)
    solutions: dict[str, Solution] = {}
    refinements: dict[str, Refinement] = {}
    for place, row in (placed for path in paths for placed in read_rows(path)):
        if missing := [f"'{name}'" for name in ("task_id", "model") if name not in row]:
            raise ProblemError(f"{place}: a recorded attempt needs {missing[0]}")
        task_id, model = str(row["task_id"]), row["model"]
        first, *repairs = row.get("attempts") or [row.get("wrong"), row.get("refinement")]
        if first is None or None in repairs:
            advice = "neither 'attempts' nor 'wrong' and 'refinement'; see ledexlib/problems/recorded.py"
            raise ProblemError(f"{place}: {advice}")
        if task_id not in known:
            raise ProblemError(f"{place}: task '{task_id}' is not among the problems loaded (benchmark and split?)")
        wrong = content_id("recorded solution", task_id, model, row.get("id"), first)
        solutions.setdefault(wrong, Solution(
            id=wrong, task_id=task_id, code=first, completion=first, model=model, sampling=Sampling()))
        for round_, code in enumerate(repairs):
            name = content_id("recorded refinement", wrong, round_, code)
            refinements.setdefault(name, Refinement(
                id=name, solution_id=wrong, task_id=task_id, explanation=row.get("explanation") or None, code=code,
                completion=code, teacher=model, sampling=Sampling(index=round_)))
    return list(solutions.values()), list(refinements.values())
