"""Worked repairs in the mini world's own words, to prompt a base model that knows nothing else."""

from __future__ import annotations

import random
from functools import cache

from ledexlib.mini.corpus import sloppy_program
from ledexlib.mini.diagnosis import feedback_of
from ledexlib.mini.problems import fill, find, load_mini
from ledexlib.mini.teacher import right_answer
from ledexlib.models.prompts import RepairShot


@cache
def worked_repairs(benchmark: str) -> tuple[RepairShot, ...]:
    """A sound repair of a sloppy program for each problem of a mini benchmark's ``prompt`` split, in its order.

    Raises ValueError for a name that is not a mini benchmark.
    """
    shots = []
    for problem in load_mini(benchmark, "prompt"):
        mini = find(problem.prompt)
        rng = random.Random(f"worked repair {mini.sentence}")
        drafts = (sloppy_program(mini, rng) for _ in range(1000))
        wrong, feedback = next((code, said) for code in drafts if (said := feedback_of(code, mini)) is not None)
        explanation, code = right_answer(mini, wrong, feedback, rng)
        if problem.stub:
            wrong, code = fill(problem.stub, wrong), fill(problem.stub, code)
        shots.append(RepairShot(problem, wrong, feedback, explanation, code))
    return tuple(shots)
