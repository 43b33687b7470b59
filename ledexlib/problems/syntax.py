"""The syntax of programs; nothing here runs one."""

from __future__ import annotations

import ast
import re
import warnings
from functools import lru_cache

from ledexlib.records import Problem


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
    match = re.match(r"\w+", problem.entry_point or "")
    return match.group() if match else ""
