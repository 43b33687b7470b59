"""Whether tests must share a process with the program: what proxies cannot carry faithfully, found in the tests' code.

Only the tests are looked at, never a program. A doubt is not a verdict: where the problem has a reference, that it
passes through proxies settles it (``pool``).
"""

from __future__ import annotations

import ast
import builtins
import sys
from collections.abc import Callable, Collection, Iterable

from ..wire.standard import standard_module

VALUE_MODULES = frozenset((  # whose objects are values, or are used on values alone
    "abc", "array", "base64", "bisect", "calendar", "cmath", "collections", "copy", "dataclasses", "datetime",
    "decimal", "enum", "fractions", "functools", "hashlib", "heapq", "ipaddress", "itertools", "json", "math",
    "numbers", "numpy", "operator", "pathlib", "pytest", "random", "re", "statistics", "string", "struct", "sys",
    "textwrap", "typing", "unittest", "uuid", "zoneinfo",
))  # fmt: skip
SHARED = frozenset((  # names for what a program and its tests share in one process: streams, files, builtins
    "StringIO", "capsys", "exec", "globals", "locals", "mock", "monkeypatch", "open", "patch", "read_text",
    "redirect_stderr", "redirect_stdout", "seed", "write_text",
))  # fmt: skip


def bound_names(nodes: Iterable[ast.AST]) -> set[str]:
    """The names that code binds anywhere: assigned, imported, defined, or parameters."""
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            found.add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
            found.update(dir(standard_module(node.module or "")))
        elif isinstance(node, ast.alias):
            found.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            found.add(node.name)
    return found


def module_names(nodes: Iterable[ast.AST]) -> set[str]:
    """The names of modules of the standard library that code uses as modules: ``math`` in ``math.isclose``."""
    return {
        node.value.id for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        and node.value.id in sys.stdlib_module_names
    }  # fmt: skip


def doubt(nodes: list[ast.AST], bound: Collection[str], entry_point: str | None = None) -> str:
    """Why the test code may need the program's process; '' if proxies are enough.

    ``bound`` has the names that are not the program's. An ``entry_point`` with a class's name may be a function, unless
    the tests look into what it returns, or compare two of that.
    """
    looks_inside = any(
        (isinstance(node, ast.Attribute) and not _is_module(node.value))
        or (isinstance(node, ast.Compare) and all(_calls(entry_point, side) for side in (node.left, *node.comparators)))
        for node in nodes
    )  # fmt: skip
    known = bound if looks_inside else {*bound, entry_point}

    def is_programs(node: ast.AST) -> bool:
        return any(
            isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load) and part.id not in bound
            and part.id not in sys.stdlib_module_names and not hasattr(builtins, part.id)
            for part in ast.walk(node)
        )  # fmt: skip

    for node in nodes:
        match node:
            case ast.Import(names=names) if roots := {name.name.partition(".")[0] for name in names} - VALUE_MODULES:
                return f"they import {min(roots)}"
            case ast.ImportFrom(module=str(module)) if module.partition(".")[0] not in VALUE_MODULES:
                return f"they import {module}"
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name) if name in SHARED:
                return f"they use {name}"
            case ast.Name(id=name, ctx=ast.Load()) if name not in known and _is_class_name(name) and is_programs(node):
                return f"they use the program's class {name}"
            case ast.AsyncFunctionDef() | ast.Await():
                return "they await the program's coroutines"
            case ast.Attribute(ctx=ast.Store() | ast.Del(), value=value) if _is_module(value) or is_programs(value):
                return "they change an attribute of a module or of an object of the program's"
            case ast.With(items=items) if any(is_programs(item.context_expr) for item in items) and not all(
                _is_assertion(item.context_expr) for item in items
            ):
                return "they use a context manager of the program's"
            case ast.Compare(left=left, ops=[ast.Is() | ast.IsNot()], comparators=[right]) if (
                _is_call_of(is_programs, left) and _is_call_of(is_programs, right)
            ):
                return "they compare the identity of the program's values"
            case ast.Expr(value=ast.Call(func=ast.Attribute(value=value))) if _is_call_of(is_programs, value):
                return "they change a value that the program has returned"
    return ""


def _is_class_name(name: str) -> bool:
    return name[0].isupper() and (len(name) == 1 or not name.isupper())


def _is_module(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and (node.id in sys.stdlib_module_names or node.id == "builtins")


def _is_assertion(node: ast.AST) -> bool:
    """Whether a context manager is unittest's or pytest's own, such as ``t.assertRaises(ValueError)``."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and (
        node.func.attr.startswith("assert") or node.func.attr in ("raises", "approx", "warns")
    )


def _is_call_of(is_programs: Callable[[ast.AST], bool], node: ast.AST) -> bool:
    return any(isinstance(part, ast.Call) and is_programs(part.func) for part in ast.walk(node))


def _calls(name: str | None, node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
