"""Programs as answers to problems: their syntax, and their verdicts in the sandbox."""

import ast
import re
import warnings
from collections.abc import Hashable, Iterable, Iterator
from functools import lru_cache

from ledexlib.records import Problem, Verdict
from ledexlib.sandbox import Job, Limits, run


def unify_lines(text: str) -> str:
    """The text with every line ended by a line feed."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


@lru_cache(maxsize=256)
def parse_python(code: str) -> ast.Module | None:
    """The syntax tree, or None for what is no Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as an invalid escape sequence in a model's string
            return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def defined_name(problem: Problem) -> str:
    """The name that a program must define: the root of the entry point, such as Solution in ``Solution().solve``."""
    return re.match(r"\w*", problem.entry_point or "").group()


def verify_programs(
    items: Iterable[tuple[Hashable, Problem, str]], workers: int = 2, limits: Limits | None = None
) -> Iterator[tuple[Hashable, Verdict]]:
    """Run programs (id, problem, whole program) against their problems' tests; yields verdicts as they finish."""
    return run((job_of(*item) for item in items), workers, limits)


def job_of(name: Hashable, it: Problem, code: str) -> Job:
    """A program on its way to the sandbox."""
    return Job(name, code, it.tests, it.entry_point, it.setup, it.reference, it.isolation)
