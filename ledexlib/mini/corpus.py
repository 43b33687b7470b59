"""What the backbone reads: exercises with sloppy programs, and a few debugging dialogues.

The programs are wrong as people's are. Every operation has a rate at which it is got wrong; for a few operations,
the misconceptions, nearly everybody makes the same mistake. That puts the backbone in the regime of the paper's base
models: many problems solved sometimes, some hardly ever. Only combinations of the ``pretrain`` split occur.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

from ledexlib.mini.problems import MiniProblem, record, stream
from ledexlib.mini.programs import COMMENTED, OPERATIONS, PLAIN, Bug, Style, bugs_of, render, slips_of
from ledexlib.mini.teacher import dialogue
from ledexlib.models import few_shot_answer, few_shot_solution

# A text in parts, each with whether it is an answer: the backbone reads everything and learns to write the answers.
# (Most of a task's tokens are random numbers of its tests; learning to predict those would only slow it down.)
Document = tuple[tuple[str, bool], ...]

MISCONCEIVED = 0.10  # share of operations that nearly everybody gets wrong, in the same way
MISCONCEPTION_RATE = 0.96
SLIP_RATES = (0.02, 0.26)  # every other operation has a slip rate between these
PROGRAM_BUG_RATE = 0.06  # share of programs that also have a mistake between the steps
HUMANEVAL_SHARE = 0.3
COMMENTED_SHARE = 0.6  # of the programs say before each step what it does
DIALOGUE_SHARE = 0.03


@cache
def slip_rates() -> dict[str, float]:
    """The share of programs in which each operation is got wrong; at MISCONCEPTION_RATE always by its first slip."""
    names = [name for name, op in OPERATIONS.items() if op.slips]
    random.Random("slip rates").shuffle(names)
    n = round(MISCONCEIVED * len(names))
    low, high = SLIP_RATES
    rates = {name: low + (high - low) * i / (len(names) - n - 1) for i, name in enumerate(names[n:])}
    return rates | dict.fromkeys(names[:n], MISCONCEPTION_RATE)


def sloppy_bugs(problem: MiniProblem, style: Style, rng: random.Random) -> tuple[Bug, ...]:
    """The bugs of one person's program: slips at their operations' rates, and now and then one of the whole program."""
    bugs = []
    for i, step in enumerate(problem.steps):
        slips, rate = slips_of(step, style), slip_rates().get(step.operation.name, 0.0)
        if slips and rng.random() < rate:
            slip = slips[0] if rate == MISCONCEPTION_RATE else rng.choice(slips)
            bugs.append(Bug(slip.kind, i, slip))
    if not bugs and rng.random() < PROGRAM_BUG_RATE:
        others = [bug for bug in bugs_of(problem.steps, style, rng) if bug.slip is None]
        bugs.append(rng.choice(others))
    return tuple(bugs)


def sloppy_program(problem: MiniProblem, rng: random.Random) -> str:
    style = rng.choice(COMMENTED if rng.random() < COMMENTED_SHARE else PLAIN)
    return render(problem.steps, style, problem.name, problem.argument, sloppy_bugs(problem, style, rng))


def exercises(problems: list[MiniProblem], rng: random.Random) -> Document:
    """A document of solved exercises in the few-shot form."""
    form = "mini-humaneval" if rng.random() < HUMANEVAL_SHARE else "mini-mbpp"
    parts: list[tuple[str, bool]] = []
    for problem in problems:
        shown = problem.examples[: rng.choice((1, 1, 1, 1, 2, 3))]
        asked = record(replace(problem, reference=sloppy_program(problem, rng), examples=shown), form)
        parts.append(("\n" * bool(parts) + few_shot_solution(asked, []), False))
        parts.append((few_shot_answer(asked.reference.removeprefix(asked.stub)), True))
    return tuple(parts)


def documents(seed: int = 0) -> Iterator[Document]:
    """Endless documents, the same for the same seed."""
    rng = random.Random(f"corpus {seed}")
    problems = stream("pretrain", f"corpus {seed}")
    while True:
        if rng.random() < DIALOGUE_SHARE:
            yield dialogue(next(problems), rng)
        else:
            yield exercises([next(problems) for _ in range(rng.randint(1, 4))], rng)
