"""What is wrong with a program for a mini problem: the nearest correct program, the kind of bug, and words for it.

A diagnosis compares a wrong program, whoever wrote it, with the problem's reference in every style, takes the
nearest, and asks which single bug of that reference explains the program best.
"""

from __future__ import annotations

import ast
import random
import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache

from ledexlib.mini.examples import compiled
from ledexlib.mini.problems import MiniProblem, assertions
from ledexlib.mini.programs import COMMENTED, PLAIN, Bug, Style, bugs_of, render

WHAT = {
    "early_return": ("it returns inside the loop, after the first round", "the return statement is indented too far"),
    "inverted_condition": ("the condition is the wrong way round", "it keeps exactly what should go"),
    "missing_case": ("a part of the computation is left out", "it skips something that the step needs"),
    "missing_return": ("the result is never returned", "the function ends without a return statement"),
    "missing_step": ("this step is missing altogether", "the program forgets this step"),
    "off_by_one": ("it is off by one", "a bound is shifted by one place"),
    "swapped_operands": ("two operands are exchanged", "the operands stand in the wrong order"),
    "swapped_steps": ("the steps are done in the wrong order", "this step comes at the wrong time"),
    "syntax_error": ("the program is not valid Python", "a character is missing, so Python cannot read the program"),
    "undefined_name": ("a name is misspelled and so undefined", "it uses a variable that does not exist"),
    "wrong_comparison": ("it treats the boundary value wrongly", "the comparison is wrong at the limit itself"),
    "wrong_constant": ("a constant is wrong", "it uses the wrong value"),
    "wrong_direction": ("it works from the wrong end", "the direction is wrong"),
    "wrong_function": ("it calls the wrong function", "a different function is needed"),
    "wrong_initial_value": ("the starting value is wrong", "it starts counting from the wrong value"),
    "wrong_name": ("the function has another name than the task calls", "the tests look for another name"),
    "wrong_operator": ("the wrong operator is used", "it computes with a different operator than the task asks for"),
    "wrong_step": ("it does something else instead", "the code carries out a different operation"),
    "wrong_type": ("the value gets the wrong type", "it produces another type than the task asks for"),
    "wrong_variable": ("it reads the wrong variable", "it works on a different value than the step should"),
}  # fmt: skip

CHANGED = (
    "In the step to {phrase}, {what}: `{wrong}` should be `{right}`. {why}.",
    "The bug is in `{wrong}`: {what}. The task says to {phrase}, which needs `{right}`. {why}.",
    "{why}, because when the program should {phrase}, {what}. Write `{right}` instead of `{wrong}`.",
)
ADDED = (
    "In the step to {phrase}, {what}: the code needs `{right}`. {why}.",
    "{why}, because when the program should {phrase}, {what}. Add `{right}`.",
)
REMOVED = (
    "In the step to {phrase}, {what}: `{wrong}` should not be there. {why}.",
    "{why}, because when the program should {phrase}, {what}. Take out `{wrong}`.",
)
SAME = ("When the program should {phrase}, {what}. {why}.",)


@dataclass(frozen=True)
class Diagnosis:
    """The kind of bug and its step, the nearest correct program, and the fragments that differ ('' if none)."""

    kind: str
    step: int
    style: Style
    argument: str
    correct: str
    wrong: str
    right: str


def tokens(code: str) -> list[str]:
    return re.findall(r"\w+|\n *|[^\w\s]", code)


def bare(code: str) -> str:
    """The program without its docstring and annotations."""
    code = re.sub(r'\n    """.*?"""', "", code, count=1, flags=re.DOTALL)
    return re.sub(
        r"def (\w+)\((\w+)[^\n]*\):|def (\w+)\((\w+)[^\n]*->[^\n]*:", r"def \1\3(\2\4):", code, count=1
    ).strip()


def similarity(a: list[str], b: list[str]) -> float:
    return SequenceMatcher(None, a, b, autojunk=False).ratio()


def fragments(wrong: str, right: str) -> tuple[str, str]:
    """The first place where two programs differ: a line of each, or a few tokens where lines are long."""
    a, b = ([line for line in text.split("\n") if "# " not in line] for text in (wrong, right))
    for op, i, j, k, m in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if op == "equal":
            continue
        left, new = (lines[0].strip() if lines else "" for lines in (a[i:j], b[k:m]))
        if max(len(left), len(new)) <= 48 or not left or not new:
            return left[:60], new[:60]
        return _middle(left, new)
    return "", ""


def _middle(a: str, b: str, around: int = 3) -> tuple[str, str]:
    """What differs between two long lines, with some tokens around it."""
    left, right = (re.findall(r"\w+|\s+|[^\w\s]", text) for text in (a, b))
    changes = [c for c in SequenceMatcher(None, left, right, autojunk=False).get_opcodes() if c[0] != "equal"]
    (_, i, _, k, _), (_, _, j, _, m) = changes[0], changes[-1]
    return tuple("".join(t[max(0, x - around) : y + around]).strip()[:60] for t, x, y in ((left, i, j), (right, k, m)))


@lru_cache(maxsize=4096)
def diagnose(problem: MiniProblem, code: str) -> Diagnosis:
    """The most plausible account of what is wrong with ``code``."""
    wrong = bare(code)
    match = re.search(r"def (\w+)\((\w+)", wrong)
    name, argument = match.groups() if match else (problem.name, problem.argument)
    seen = tokens(wrong)

    def written(style: Style, *bugs: Bug) -> str:
        return render(problem.steps, style, problem.name, argument, bugs)

    style = max(COMMENTED if "# " in wrong else PLAIN, key=lambda s: similarity(seen, tokens(written(s))))
    correct = written(style)
    bugs = bugs_of(problem.steps, style, random.Random(code))
    best = max(bugs, key=lambda bug: similarity(seen, tokens(written(style, bug))))
    if similarity(seen, tokens(written(style, best))) <= similarity(seen, tokens(correct)):
        best = Bug("wrong_step", _differing_step(problem, style, argument, wrong))
    kind = "syntax_error" if not _parses(wrong) else "wrong_name" if name != problem.name else best.kind
    return Diagnosis(kind, best.step, style, argument, correct, *fragments(wrong, correct))


def _parses(code: str) -> bool:
    try:
        ast.parse(code)
    except (SyntaxError, ValueError):
        return False
    return True


def _differing_step(problem: MiniProblem, style: Style, argument: str, wrong: str) -> int:
    """The first step whose code does not stand in the program, or the last."""
    for i in range(len(problem.steps)):
        part = render(problem.steps[: i + 1], style, problem.name, argument).split("return ", 1)[-1].split("\n")[-1]
        if part not in wrong:
            return i
    return len(problem.steps) - 1


def feedback_of(code: str, problem: MiniProblem) -> str | None:
    """What testing a program of this package's own making says, as the verifier words it; None if it passes."""
    try:
        function = compiled(code, problem.name)
    except SyntaxError as error:
        return f"SyntaxError: {error.msg}\nline {error.lineno}: {(error.text or '').strip()}"
    for (value, result), line in zip(problem.examples, assertions(problem), strict=True):
        try:
            got = function(value)
        except Exception as error:  # a buggy program may raise anything; what it raised is the feedback
            return f"{line}\n{type(error).__name__}: {error}"
        if got != result:
            return f"{line}\ngot {got!r}, expected {result!r}"
    return None


def consequence(feedback: str) -> str:
    """Why the test fails, read from the feedback."""
    if found := re.search(r"got (.+), expected (.+)", feedback):
        got, expected = (text if len(text) <= 40 else text[:36] + " ..." for text in found.groups())
        return f"The test gets {got} instead of {expected}"
    if found := re.search(r"^(\w+(?:Error|Exception|Iteration))\b", feedback, flags=re.MULTILINE):
        return f"The test stops with a {found.group(1)}"
    if "timed out" in feedback:
        return "The test never ends"
    return "The test fails"


def explain(
    problem: MiniProblem, kind: str, step: int, wrong: str, right: str, feedback: str, rng: random.Random
) -> str:
    """A short explanation: what is wrong, where, and why the test fails."""
    part = problem.steps[min(step, len(problem.steps) - 1)]
    text = rng.choice(CHANGED if wrong and right else ADDED if right else REMOVED if wrong else SAME)
    what, why = rng.choice(WHAT[kind]), consequence(feedback)
    return text.format(phrase=part.phrase, what=what, wrong=wrong, right=right, why=why)
