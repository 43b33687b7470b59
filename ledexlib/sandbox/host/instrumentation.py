"""Instruments test code: every ``assert`` reports its own result, and a failing one does not stop the rest.

``assert f(2) == 5`` becomes, in effect::

    try:
        __recorder__.compare(0, "==", f(2), 5)
    except BaseException:
        __recorder__.raised(0)

The operands keep their scope and order, and the recorder (``wire.testcode.AssertionRecorder``) sees both values. Three
kinds differ:

- In a loop, an assert passes if all its executions do; once failed, it is skipped, so that it cannot fail forever.
- Inside ``with``, inside ``try`` with handlers and inside a nested function, the test's own code relies on the
  exception: there the assert stays, and the recorder is told its index before and its success after.
- An assert that the test's own control flow skips (a branch not taken) passes when the test runs to its end, as it does
  in plain Python; when the test is cut short, it has not passed.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ..wire.exceptions import TEST_FILENAME
from ..wire.testcode import RECORDER
from .isolation import bound_names, doubt, module_names

CLOSE = ("isclose", "allclose")
_LOAD = ast.Load()
_OPERATORS = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
    ast.Is: "is", ast.IsNot: "is not", ast.In: "in", ast.NotIn: "not in",
}  # fmt: skip


class TestCodeError(ValueError):
    """Test code that cannot be used: it does not compile, or has no function ``check``."""


@dataclass
class Instrumented:
    """Compiled test code: its asserts' ``sources``, the indices of those that pass only at its end (``deferred``).

    ``names`` are the names that it reads, ``modules`` those of them that it uses as standard modules, ``bound`` those
    that it binds; ``doubt`` is why it may need the program's process.
    """

    code: object
    sources: list[str]
    deferred: list[int] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    modules: set[str] = field(default_factory=set)
    bound: set[str] = field(default_factory=set)
    doubt: str = ""


def instrument(
    source: str, first: int, is_check: bool, known: Iterable[str] = (), entry_point: str | None = None
) -> Instrumented:
    """Compile an assertion statement or a ``check`` function; its asserts have indices from ``first``.

    Code without any assert is one test, which passes if nothing is raised. ``known`` has names that earlier code binds.
    Raises TestCodeError, also for code that tests nothing.
    """
    try:
        tree = ast.parse(source.removeprefix("\ufeff"))
        check = next((node for node in tree.body if _is_check(node)), None) if is_check else None
        if is_check and check is None:
            raise TestCodeError("the test defines no function 'check'")
        candidate = check.args.args[0].arg if check is not None and check.args.args else ""
        nodes = list(ast.walk(tree))
        names = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
        _refuse_nothing(tree, names, candidate, entry_point)
        bound = bound_names(nodes)
        why = doubt(nodes, {*known, *bound} - {candidate}, entry_point)
        facts = names, module_names(nodes), bound, why
        rewriter = _Rewriter(source, first, is_check)
        code = compile(rewriter.visit(tree), TEST_FILENAME, "exec", dont_inherit=True, optimize=0)
    except TestCodeError:
        raise
    except (SyntaxError, ValueError, RecursionError) as error:
        raise TestCodeError(f"the test does not compile: {error}") from None
    return Instrumented(code, rewriter.sources or [source.strip()], rewriter.deferred, *facts)


def _refuse_nothing(tree: ast.Module, names: set[str], candidate: str, entry_point: str | None) -> None:
    """Raise TestCodeError for code that does nothing, that asserts constants, or that never uses its candidate."""
    if all(isinstance(node, ast.Pass) or _is_constant(node) for node in tree.body):
        raise TestCodeError("the test is empty")
    asserts = any(isinstance(node, ast.Assert) for node in ast.walk(tree))
    uses = any(name == entry_point or not hasattr(builtins, name) for name in names)
    if (candidate and candidate not in names) or (asserts and not uses):
        raise TestCodeError("the test asserts nothing about the program")


def _is_constant(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_check(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name == "check"


class _Rewriter(ast.NodeTransformer):
    def __init__(self, source: str, first: int, is_check: bool) -> None:
        text = source.removeprefix("\ufeff").encode("utf-8", "surrogatepass")
        self.lines = text.splitlines(keepends=True)  # in bytes, as positions are
        self.first = first
        self.is_check = is_check
        self.sources: list[str] = []
        self.deferred: list[int] = []
        self.depth = {"function": 0, "loop": 0, "guard": 0}

    def _within(self, what: str, node: ast.AST) -> ast.AST:
        self.depth[what] += 1
        self.generic_visit(node)
        self.depth[what] -= 1
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        if self.is_check and _is_check(node) and not any(self.depth.values()):
            return self.generic_visit(node)
        return self._within("function", node)

    def visit_AsyncFunctionDef(self, node: ast.AST) -> ast.AST:
        return self._within("function", node)

    def visit_For(self, node: ast.AST) -> ast.AST:
        return self._within("loop", node)

    visit_While = visit_AsyncFor = visit_For

    def visit_With(self, node: ast.AST) -> ast.AST:
        return self._within("guard", node)

    visit_AsyncWith = visit_With

    def visit_Try(self, node: ast.Try) -> ast.AST:
        return self._within("guard", node) if node.handlers else self.generic_visit(node)

    visit_TryStar = visit_Try

    def _text(self, node: ast.stmt) -> str:
        """A statement's source on one line; ``ast.get_source_segment`` would split the whole source each time."""
        lines = self.lines[node.lineno - 1 : node.end_lineno]
        lines[-1] = lines[-1][: node.end_col_offset]
        lines[0] = lines[0][node.col_offset :]
        return re.sub(r"\r?\n\s*", " ", b"".join(lines).decode("utf-8", "replace"))

    def visit_Assert(self, node: ast.Assert) -> list[ast.stmt]:
        index = self.first + len(self.sources)
        self.sources.append(self._text(node))
        if any(self.depth.values()):
            self.deferred.append(index)
        calls = _Calls(node, index)
        if self.depth["function"] or self.depth["guard"]:
            return [calls.statement("at"), node, calls.statement("ok")]
        handler = ast.ExceptHandler(calls.name("BaseException"), None, [calls.statement("raised")], **calls.position)
        evaluation = ast.Expr(calls.evaluation(node.test), **calls.position)
        guarded = ast.Try([evaluation], [handler], [], [], **calls.position)
        if self.depth["loop"]:
            return [ast.If(calls.call("open"), [guarded], [], **calls.position)]
        return [guarded]


class _Calls:
    """Makes an assert's calls of the recorder, with its position: ``ast.fix_missing_locations`` is slow."""

    def __init__(self, node: ast.Assert, index: int) -> None:
        self.index = index
        self.position = {name: getattr(node, name) for name in node._attributes}

    def name(self, name: str) -> ast.Name:
        return ast.Name(name, _LOAD, **self.position)

    def constant(self, value: object) -> ast.Constant:
        return ast.Constant(value, **self.position)

    def call(self, method: str, *arguments: ast.expr, keywords: Sequence[ast.keyword] = ()) -> ast.Call:
        function = ast.Attribute(self.name(RECORDER), method, _LOAD, **self.position)
        return ast.Call(function, [self.constant(self.index), *arguments], list(keywords), **self.position)

    def statement(self, method: str) -> ast.stmt:
        return ast.Expr(self.call(method), **self.position)

    def evaluation(self, test: ast.expr) -> ast.Call:
        """The call that evaluates an assert's condition and reports it with the values that explain it."""
        match test:
            case ast.Compare(left=left, ops=[operator], comparators=[right]):
                swapped = isinstance(operator, ast.Eq) and _is_literal(left) and not _is_literal(right)
                sign = self.constant(_OPERATORS[type(operator)])
                return self.call("compare", sign, left, right, self.constant(swapped))
            case ast.Call(func=function, args=[_, _, *_], keywords=keywords) if _name(function) in CLOSE:
                return self.call("close", function, *test.args, keywords=keywords)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return self.call("truth", operand, self.constant(False))
        return self.call("truth", test, self.constant(True))


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _is_literal(node: ast.expr) -> bool:
    return not any(isinstance(part, (ast.Name, ast.Call)) for part in ast.walk(node))
