"""The problems of the mini world: which compositions belong to which split, how a problem is worded and tested.

A problem asks for a composition of two or three operations. Splits hold out combinations of operations: the
unordered set of a problem's operations decides its split by a hash, and outside the test split a composition that
contains a test pair is not used at all, so that no combination of the test split, in any order and with any
constants, occurs in a training text.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import combinations, cycle
from typing import Any

from ledexlib.mini.examples import an_input, compiled, results
from ledexlib.mini.operations import TYPES
from ledexlib.mini.programs import ALL_STYLES, OPERATIONS, Composition, chains, render, with_constant
from ledexlib.records import Assertion, Call, Check, Problem

# Shares of all combinations, in percent; `pretrain` is what the backbone reads.
SPLITS = {"test": 12, "validation": 4, "prompt": 2, "train": 14, "pretrain": 68}
FIRST_IDS = {"prompt": 1, "test": 11, "validation": 301, "train": 401}
SIZES = {
    "mini-mbpp": {"prompt": 10, "test": 200, "validation": 80, "train": 1000},
    "mini-humaneval": {"prompt": 10, "test": 164},
    "mini-mixed": {"prompt": 10, "train": 1000},
}
PLUS_TESTS = 36

ARGUMENTS = {
    "ints": ("numbers", "nums", "values", "data"),
    "int": ("number", "num", "value"),
    "str": ("text", "string", "s"),
    "strs": ("words", "strings", "items"),
    "dict": ("table", "scores", "mapping"),
    "grid": ("rows", "grid", "matrix"),
}
ANNOTATIONS = {
    "ints": "list[int]",
    "int": "int",
    "str": "str",
    "strs": "list[str]",
    "dict": "dict",
    "grid": "list[list[int]]",
    "bool": "bool",
}
GENERIC_NAMES = ("solve", "process", "compute", "transform", "run_steps", "get_result")
OPENINGS = (
    "Write a function to take {given}, {steps}.",
    "Write a python function that gets {given} and must {steps}.",
    "Given {given}, {steps}. Write a function that gives back the result.",
    "Write a function which receives {given}. It should {steps}.",
)
JOINS = ((", ", ", and "), (", then ", ", and finally "), (", ", " and then "), (", ", " and "))


@dataclass(frozen=True, eq=False)  # compared by identity: the examples' values cannot be hashed
class MiniProblem:
    """A composition with its names, its wording and its examples (inputs with the results of the reference)."""

    steps: Composition
    name: str
    argument: str
    sentence: str
    reference: str
    examples: tuple[tuple[Any, Any], ...]

    @property
    def takes(self) -> str:
        return self.steps[0].operation.takes


def combination(steps: Composition) -> tuple[str, ...]:
    """What the splits hold out: the operations, regardless of order and constants."""
    return tuple(sorted(step.operation.name for step in steps))


@cache
def split_of(names: tuple[str, ...]) -> str:
    """The split to which a combination of operations belongs."""
    ticket = int(hashlib.sha256("+".join(sorted(names)).encode()).hexdigest(), 16) % 100
    for split, share in SPLITS.items():
        ticket -= share
        if ticket < 0:
            return split
    raise AssertionError("the shares of the splits do not add up to 100")


def _holds_test_pair(names: tuple[str, ...]) -> bool:
    """Whether a test problem of two operations hides in this composition; no other split may have such a one."""
    return any(split_of(pair) == "test" for pair in combinations(names, 2))


@cache
def compositions(split: str, depth: int) -> tuple[tuple[str, ...], ...]:
    """All sequences of ``depth`` different operations of a split whose types fit, in a random but fixed order."""
    after: dict[str, list[str]] = {}
    for op in OPERATIONS.values():
        if not op.first_only:
            after.setdefault(op.takes, []).append(op.name)
    found: list[tuple[str, ...]] = [(name,) for name in OPERATIONS]
    for _ in range(depth - 1):
        found = [(*c, name) for c in found for name in after.get(OPERATIONS[c[-1]].gives, ()) if name not in c]
    found = [c for c in found if split_of(c) == split and (split == "test" or not _holds_test_pair(c))]
    random.Random(f"order of {split} {depth}").shuffle(found)
    return tuple(found)


def draw(split: str, rng: random.Random) -> Iterator[tuple[str, ...]]:
    """Endless compositions of a split, a third of them of two operations and the rest of three."""
    sources = {depth: cycle(compositions(split, depth)) for depth in (2, 3)}
    while True:
        yield next(sources[rng.choice((2, 3, 3))])


def _well_posed(steps: Composition, examples: list[tuple[Any, Any]]) -> bool:
    """Whether the examples tell apart the composition and each shorter one that leaves a step out."""
    outputs = [result for _, result in examples]
    if (
        len({repr(output) for output in outputs}) < 2
        or any(len(repr(output)) > 60 for output in outputs)
        or sum(not output for output in outputs) > 1
    ):
        return False
    for i in range(len(steps)):
        rest = steps[:i] + steps[i + 1 :]
        if chains(rest) and rest[0].operation.takes == steps[0].operation.takes:
            shorter = compiled(render(rest, ALL_STYLES[0], "f", "value"), "f")
            if results(shorter, [value for value, _ in examples]) == outputs:
                return False
    return True


def _sentence(steps: Composition, rng: random.Random) -> str:
    phrases = [step.phrase for step in steps]
    comma, last = rng.choice(JOINS)
    return rng.choice(OPENINGS).format(
        given=TYPES[steps[0].operation.takes], steps=comma.join(phrases[:-1]) + last + phrases[-1]
    )


def _name(steps: Composition, rng: random.Random) -> str:
    names = [step.operation.name for step in steps]
    draw = rng.random()
    if draw < 0.3:
        return rng.choice(GENERIC_NAMES)
    return names[-1] if draw < 0.5 else "_".join(names[-2:])


def make(names: tuple[str, ...], rng: random.Random, n_examples: int = 3) -> MiniProblem | None:
    """A problem for this composition with random constants and wording; None if its examples cannot pin it down."""
    steps: Composition = tuple(with_constant(OPERATIONS[name], rng) for name in names)
    takes = steps[0].operation.takes
    name, argument = _name(steps, rng), rng.choice(ARGUMENTS[takes])
    reference = render(steps, rng.choice(ALL_STYLES), name, argument)
    function = compiled(reference, name)
    for _ in range(4):
        inputs = [an_input(takes, rng) for _ in range(n_examples)]
        examples = [(v, r) for v, r in zip(inputs, results(function, inputs), strict=True) if r is not None]
        if len(examples) == n_examples and _well_posed(steps, examples):
            return MiniProblem(steps, name, argument, _sentence(steps, rng), reference, tuple(examples))
    return None


def stream(split: str, seed: int | str = 0, n_examples: int = 3) -> Iterator[MiniProblem]:
    """Endless problems of a split, in an order and with constants and wordings that depend on the seed alone."""
    rng = random.Random(f"{split} {seed}")
    made = (make(names, rng, n_examples) for names in draw(split, rng))
    return (problem for problem in made if problem is not None)


def assertions(problem: MiniProblem) -> list[str]:
    return [f"assert {problem.name}({value!r}) == {result!r}" for value, result in problem.examples]


def stub(problem: MiniProblem, shown: int = 2) -> str:
    """The HumanEval form: a signature and a docstring with examples."""
    last = problem.steps[-1].operation.gives
    lines = [
        f"def {problem.name}({problem.argument}: {ANNOTATIONS[problem.takes]}) -> {ANNOTATIONS[last]}:",
        f'    """{problem.sentence}',
        *(line for v, r in problem.examples[:shown] for line in (f"    >>> {problem.name}({v!r})", f"    {r!r}")),
        '    """',
    ]
    return "\n".join(lines) + "\n"


def fill(head: str, code: str) -> str:
    """A program that begins with a stub: the body of ``code`` under it, its imports moved inside."""
    lines = code.split("\n")
    start = next(i for i, line in enumerate(lines) if line.startswith("def "))
    imports = [f"    {line}" for line in lines[:start] if line]
    return head + "\n".join([*imports, *lines[start + 1 :]])


def _plus_calls(problem: MiniProblem) -> tuple[Call, ...]:
    """Further tests of a problem: fewer than ``PLUS_TESTS`` where too few distinct inputs have a result."""
    rng = random.Random(f"plus {problem.sentence}")
    function = compiled(problem.reference, problem.name)
    found: dict[str, str] = {}
    for i in range(4 * PLUS_TESTS):
        value = an_input(problem.takes, rng, wide=i % 3 != 0)
        (result,) = results(function, [value])
        if result is not None:
            found[repr((value,))] = repr(result)
        if len(found) == PLUS_TESTS:
            break
    return tuple(Call(arguments=arguments, expected=expected) for arguments, expected in found.items())


def _records(benchmark: str, split: str) -> Iterator[tuple[MiniProblem, Problem]]:
    """The problems of a benchmark's split; a plus benchmark has its base's problems with further tests."""
    base = benchmark.removesuffix("plus")
    rng = random.Random(f"{base} {split}")
    # The two benchmarks that models are tested on never share a combination.
    seen = {combination(p.steps) for p, _ in _loaded("mini-mbpp", split)} if base == "mini-humaneval" else set()
    found = 0
    for names in draw(split, random.Random(f"compositions of {split}")):
        if tuple(sorted(names)) in seen:
            continue
        form = FORMS[found % 2] if base == "mini-mixed" else base
        problem = make(names, rng, 5 if form == "mini-humaneval" else 3)
        if problem is None:
            continue
        calls = _plus_calls(problem)
        if len(calls) < 30:
            continue
        task_id = f"{benchmark}/{FIRST_IDS[split] + found}"
        asked = record(problem, form, task_id, split, calls if benchmark.endswith("plus") else ())
        yield problem, asked.model_copy(update={"benchmark": benchmark})
        seen.add(combination(problem.steps))
        found += 1
        if found == SIZES[base][split]:
            return


def record(
    problem: MiniProblem, form: str, task_id: str = "", split: str = "pretrain", plus: tuple[Call, ...] = ()
) -> Problem:
    """The problem in one of the ``FORMS``: a sentence with assertions, or a signature with a docstring."""
    common = {"task_id": task_id, "entry_point": problem.name, "benchmark": form, "split": split}
    lines = assertions(problem)
    if form == "mini-humaneval":
        head = stub(problem)
        body = "\n".join(f"    {line.replace(problem.name, 'candidate', 1)}" for line in lines)
        check = Check(source=f"def check(candidate):\n{body}\n")
        return Problem(prompt=head, stub=head, tests=(check, *plus), reference=fill(head, problem.reference), **common)
    prompt = "\n".join([problem.sentence, *lines])
    tests = (*(Assertion(statement=line) for line in lines), *plus)
    return Problem(prompt=prompt, tests=tests, reference=problem.reference, **common)


FORMS = ("mini-mbpp", "mini-humaneval")


@cache
def _loaded(benchmark: str, split: str) -> tuple[tuple[MiniProblem, Problem], ...]:
    return tuple(_records(benchmark, split))


def load_mini(name: str, split: str) -> list[Problem]:
    """The problems of a mini benchmark's split."""
    return [problem for _, problem in _loaded(name, split)]


@cache
def find(prompt: str) -> MiniProblem:
    """The problem behind the prompt of a mini benchmark; raises KeyError for a text that is none."""
    for benchmark, splits in SIZES.items():
        for split in splits:
            for mini, problem in _loaded(benchmark, split):
                if problem.prompt.strip() == prompt.strip():
                    return mini
    raise KeyError(prompt)
