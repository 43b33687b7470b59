"""The mini benchmarks as they are registered, and worked repairs in the mini world's own words.

A base model that knows nothing but the mini world is prompted with these instead of repairs of ordinary programs.
"""

from __future__ import annotations

import random
from functools import cache, partial

from ledexlib.mini.corpus import sloppy_program
from ledexlib.mini.diagnosis import feedback_of
from ledexlib.mini.problems import SIZES, fill, find, load_mini
from ledexlib.mini.teacher import right_answer
from ledexlib.problems import Benchmark, WorkedRepair


@cache
def worked_repairs(benchmark: str) -> tuple[WorkedRepair, ...]:
    """A sound repair of a sloppy program for each problem of a mini benchmark's ``prompt`` split, in its order."""
    shots = []
    for problem in load_mini(benchmark, "prompt"):
        mini = find(problem.prompt)
        rng = random.Random(f"worked repair {mini.sentence}")
        drafts = (sloppy_program(mini, rng) for _ in range(1000))
        wrong, feedback = next((code, said) for code in drafts if (said := feedback_of(code, mini)) is not None)
        explanation, code = right_answer(mini, wrong, feedback, rng)
        if problem.stub:
            wrong, code = fill(problem.stub, wrong), fill(problem.stub, code)
        shots.append(WorkedRepair(problem, wrong, feedback, explanation, code))
    return tuple(shots)


def _benchmark(name: str) -> Benchmark:
    return Benchmark(
        splits=tuple(SIZES[name.removesuffix("plus")]),
        generate=partial(load_mini, name),
        worked_repairs=partial(worked_repairs, name),
    )


MBPP, HUMANEVAL, MIXED = (_benchmark(f"mini-{kind}") for kind in ("mbpp", "humaneval", "mixed"))
MBPP_PLUS, HUMANEVAL_PLUS = _benchmark("mini-mbppplus"), _benchmark("mini-humanevalplus")
