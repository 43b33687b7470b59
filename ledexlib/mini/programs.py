"""Compositions of operations, and the programs that carry them out: in several styles, and with natural bugs.

A composition is a sequence of steps whose types fit. ``render`` writes it as a function; ``bugs`` lists the ways in
which that program could be wrong. Slips are mistakes inside one step, the other kinds are mistakes of the whole
program.
"""

from __future__ import annotations

import ast
import random
from dataclasses import dataclass, replace
from itertools import pairwise, product

from ledexlib.mini import numbers, tables, texts
from ledexlib.mini.operations import STYLES, Operation, Slip

OPERATIONS: dict[str, Operation] = {op.name: op for op in (*numbers.OPERATIONS, *texts.OPERATIONS, *tables.OPERATIONS)}

# Kinds of bugs beside the slips: what went wrong between the steps.
PROGRAM_BUGS = (
    "missing_step", "swapped_steps", "wrong_step", "wrong_variable",
    "undefined_name", "missing_return", "early_return", "syntax_error",
)  # fmt: skip
KINDS = tuple(sorted({slip.kind for op in OPERATIONS.values() for slip in op.slips} | set(PROGRAM_BUGS)))


@dataclass(frozen=True)
class Step:
    """An operation with its constant and with the words that ask for it."""

    operation: Operation
    constant: int | None
    phrase: str


Composition = tuple[Step, ...]


@dataclass(frozen=True)
class Style:
    """How a program is written: one nested expression or step by step, with which names, with comments or without."""

    nested: bool
    commented: bool
    code: str
    steps: tuple[str, ...]
    item: str


NAMES = (
    (("result", "output", "answer"), "x"),
    (("first", "second", "third"), "item"),
    (("a", "b", "c"), "v"),
    (("temp", "value", "final"), "n"),
)
LAYOUTS = ((True, False, "comprehension"), *product((False,), (False, True), STYLES))
ALL_STYLES = tuple(Style(*layout, *names) for layout, names in product(LAYOUTS, NAMES))
PLAIN, COMMENTED = (tuple(style for style in ALL_STYLES if style.commented is said) for said in (False, True))


@dataclass(frozen=True)
class Bug:
    """A mistake at a step: a slip in its code, or a mistake of the program named in PROGRAM_BUGS.

    ``instead`` is the step written in place of the right one, for ``wrong_step``.
    """

    kind: str
    step: int
    slip: Slip | None = None
    instead: Step | None = None


def chains(steps: Composition) -> bool:
    """Whether every step takes what the one before it gives."""
    return all(a.operation.gives == b.operation.takes for a, b in pairwise(steps))


def _values(step: Step) -> dict[str, object]:
    k = step.constant
    return {} if k is None else {"k": k, "k_less": k - 1, "k_more": k + 1}


def _edit(steps: Composition, bug: Bug) -> Composition:
    """The composition that a bug in the choice or order of steps leads to."""
    i = bug.step
    if bug.kind == "missing_step":
        return steps[:i] + steps[i + 1 :]
    if bug.kind == "swapped_steps":
        return (*steps[:i], steps[i + 1], steps[i], *steps[i + 2 :])
    if bug.kind == "wrong_step":
        return (*steps[:i], bug.instead, *steps[i + 1 :])
    return steps


def _operand(x: str, code: str) -> str:
    """The incoming expression, in parentheses where the step's code would otherwise bind tighter than it."""
    if x.isidentifier() or "({x})" in code:
        return x
    loose = isinstance(ast.parse(x, mode="eval").body, (ast.BinOp, ast.UnaryOp, ast.Compare))
    return f"({x})" if loose else x


def _body(steps: Composition, style: Style, argument: str, bugs: dict[int, Bug]) -> list[str]:
    """The function's lines without indentation."""
    lines: list[str] = []
    x = argument
    for i, step in enumerate(steps):
        bug = bugs.get(i)
        code = step.operation.code(style.code)
        if bug and bug.slip:
            code = code.replace(bug.slip.find, bug.slip.replace)
        if bug and bug.kind == "wrong_variable" and not bug.slip:
            x = argument
        if bug and bug.kind == "undefined_name":
            x = x[:-1] if len(x) > 2 else x + "1"
        y, last = style.steps[i], i == len(steps) - 1
        if style.nested and code.count("{x}") > 1 and not x.isidentifier():
            lines.append(f"{style.steps[i - 1]} = {x}")
            x = style.steps[i - 1]
        text = code.format(x=_operand(x, code), y=y, v=style.item, **_values(step))
        if style.commented:
            lines.append(f"# {step.phrase}")
        if "{y}" in code:
            lines += text.split("\n")
            text = y
        elif not style.nested and not last:
            lines.append(f"{y} = {text}")
            text = y
        x = text
    end = bugs.get(len(steps) - 1)
    if end and end.kind == "missing_return":
        lines += [] if x.isidentifier() else [f"{style.steps[len(steps) - 1]} = {x}"]
    elif end and end.kind == "early_return":
        lines.append(f"    return {x}")
    else:
        lines.append(f"return {x}")
    return lines


def render(steps: Composition, style: Style, name: str, argument: str, bugs: tuple[Bug, ...] = ()) -> str:
    """The program as text; bugs that change the choice of steps must come first."""
    for bug in bugs:
        steps = _edit(steps, bug)
    lines = _body(steps, style, argument, {bug.step: bug for bug in bugs if bug.slip or bug.kind in PROGRAM_BUGS[3:]})
    head = f"def {name}({argument}):"
    if any(bug.kind == "syntax_error" for bug in bugs):
        opener = max(i for i, line in enumerate([head, *lines]) if line.endswith((":", ")", "]", "}")))
        broken = [head, *lines]
        broken[opener] = broken[opener][:-1]
        head, lines = broken[0], broken[1:]
    needed = sorted({step.operation.imports for step in steps if step.operation.imports})
    return "\n".join([*needed, *([""] if needed else []), head, *("    " + line for line in lines)])


def slips_of(step: Step, style: Style) -> list[Slip]:
    """The slips that change the step's code in this style."""
    return [slip for slip in step.operation.slips if slip.find in step.operation.code(style.code)]


def bugs_of(steps: Composition, style: Style, rng: random.Random) -> list[Bug]:
    """Every single bug that this program can have (one random replacement for each ``wrong_step``)."""
    found = [Bug(slip.kind, i, slip) for i, step in enumerate(steps) for slip in slips_of(step, style)]
    last = len(steps) - 1
    for i, step in enumerate(steps):
        op = step.operation
        if len(steps) > 1 and chains(rest := steps[:i] + steps[i + 1 :]) and (i or rest[0].operation.takes == op.takes):
            found.append(Bug("missing_step", i))
        if i < last and op.takes == op.gives == steps[i + 1].operation.takes == steps[i + 1].operation.gives:
            found.append(Bug("swapped_steps", i))
        if i and not style.nested and op.takes == steps[0].operation.takes:
            found.append(Bug("wrong_variable", i))
        siblings = [
            o
            for o in OPERATIONS.values()
            if (o.takes, o.gives) == (op.takes, op.gives) and o is not op and not (i and o.first_only)
        ]
        if siblings:
            other = with_constant(rng.choice(siblings), rng)
            found.append(Bug("wrong_step", i, instead=replace(other, phrase=step.phrase)))
    if not style.nested:
        found += [Bug("undefined_name", last), Bug("missing_return", last)]
        if style.code == "loop" and "\nfor " in steps[-1].operation.code("loop"):
            found.append(Bug("early_return", last))
    found.append(Bug("syntax_error", last))
    return found


def with_constant(operation: Operation, rng: random.Random) -> Step:
    """A step with a random constant and wording."""
    constant = rng.choice(operation.constants) if operation.constants else None
    return Step(operation, constant, rng.choice(operation.phrases).format(k=constant))
