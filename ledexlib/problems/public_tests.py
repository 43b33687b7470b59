"""The tests that a prompt itself shows: its assertions and the examples in its docstring.

Feedback from these alone is what a model could have at hand when nobody has the hidden tests."""

import ast
import doctest
import re
from collections.abc import Sequence

from ledexlib.problems.programs import defined_name, parse_python, verify_programs
from ledexlib.records import Assertion, Problem
from ledexlib.sandbox import Limits

# How prompts write 'this call gives that value' without being Python: count(3) => 2, count(3) -> 2, count(3) = 2.
_GIVES = r"\s*(?:==+>?|[-=]>|=|➞|→|➔|returns?|should return)\s*"


def _examples(prompt: str) -> list[tuple[str, str]]:
    """Expression and value of every doctest; none from a prompt whose examples are not laid out as doctests."""
    prompt = re.sub(r"(\"\"\"|''')[ \t]*$", "", prompt, flags=re.MULTILINE)  # the docstring's end is no value
    try:
        found = doctest.DocTestParser().get_examples(prompt)
    except ValueError:
        return []
    pairs = ((example.source.strip(), example.want.strip()) for example in found)
    return [(call, value) for call, value in pairs if value]


def _expressions(*texts: str) -> bool:
    try:
        return all(ast.parse(text.strip(), mode="eval") for text in texts)
    except (SyntaxError, ValueError):
        return False


def prompt_tests(problem: Problem) -> tuple[Assertion, ...]:
    """The tests in a problem's prompt, as assertions; they may be wrong: see ``with_public_tests``."""
    lines = [line.strip() for line in problem.prompt.splitlines()]
    asserts = [line for line in lines if line.startswith("assert ") and parse_python(line) is not None]
    pairs = _examples(problem.prompt)
    name = defined_name(problem)
    for line in lines if name else ():
        match = re.match(rf"({re.escape(name)}\(.*\)){_GIVES}(.+?)\.?$", line)
        pairs += [match.groups()] if match else []
    statements = [f"assert {call} == {value}" for call, value in pairs if _expressions(call, value)]
    return tuple(Assertion(statement=statement) for statement in dict.fromkeys([*asserts, *statements]))


def with_public_tests(problems: Sequence[Problem], workers: int = 2, limits: Limits | None = None) -> list[Problem]:
    """The problems with the tests that their prompts show in place of their own; none where the prompt shows none.

    An example that the problem's own reference fails was misread, or is wrong, and is left out."""
    shown = [(problem, prompt_tests(problem)) for problem in problems]
    items = {(p.task_id, test): p.model_copy(update={"tests": (test,)}) for p, tests in shown for test in tests}
    jobs = ((name, problem, problem.reference) for name, problem in items.items())
    sound = {name for name, verdict in verify_programs(jobs, workers, limits) if verdict.passed}
    kept = ((p, tuple(test for test in tests if (p.task_id, test) in sound)) for p, tests in shown)
    return [problem.model_copy(update={"tests": tests}) for problem, tests in kept]
