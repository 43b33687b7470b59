"""A problem's tests, prepared once for all of its programs.

What depends on the tests alone is done here and kept: assertions are instrumented and compiled, arguments parsed, the
number of tests known, whether or not a program ever compiles. What the reference returns is added after it has run.
"""

from __future__ import annotations

import ast
import builtins
import marshal
import math
import re
import threading
from array import array
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ledexlib.records import Assertion, Call, Check, InputOutput, Mode
from ledexlib.sandbox import plain
from ledexlib.sandbox.frames import FRAME
from ledexlib.sandbox.instrument import TestCodeError, instrument
from ledexlib.sandbox.jobs import Job
from ledexlib.sandbox.reports import Report
from ledexlib.sandbox.show import SOURCE, VALUE, cut, show

KEPT = 1024  # suites


@dataclass(frozen=True, slots=True)
class TestCase:
    """One test that counts: an assert's text or, for calls and stdin tests, how the result is judged."""

    __test__ = False  # not a test of the project's own

    source: str = ""
    call: Call | None = None
    io: InputOutput | None = None
    value: bytes | None = None  # the expected result, if the call names it


@dataclass
class Expected:
    """What the reference returned: its report, where each test's frame starts there or -1, and its processor time.

    Benchmarks have a hundred thousand tests: a number is all that is kept for each.
    """

    report: Report
    starts: array[int]
    seconds: float
    fault: str = ""
    is_whole: bool = False  # whether a program that reports the same, byte for byte, passes

    def frame(self, index: int) -> tuple[bytes, bytes]:
        """Kind and payload of a test's frame; both empty if there is none."""
        start = self.starts[index]
        if start < 0:
            return b"", b""
        kind, _, length = FRAME.unpack(self.report[start : start + FRAME.size])
        return kind, self.report[start + FRAME.size : start + FRAME.size + length]


@dataclass
class Suite:
    """Prepared tests. ``fault`` says why they cannot be used, if they cannot."""

    job: Job
    cases: list[TestCase] = field(default_factory=list)
    items: list[tuple] = field(default_factory=list)
    used: set[str] = field(default_factory=set)  # names in test code
    fault: str = ""
    expected: Expected | None = None
    passing: Report | None = None  # the worker's report on the last program that passed
    in_process: bool = False  # the tests cannot run through proxies

    @property
    def run(self) -> str:
        """How programs are run: whole, called with the inputs, through proxies, or together with their tests."""
        if self.is_main:
            return "main"
        if all(case.call is not None for case in self.cases):
            return "calls"
        return "in_process" if self.in_process else "proxy"

    @property
    def mode(self) -> Mode:
        return "in_process" if self.run == "in_process" else "proxy"

    @cached_property
    def names(self) -> list[str]:
        """The program's names that test code uses, but for builtins that are not the entry point."""
        return sorted(name for name in self.used if name == self.job.entry_point or not hasattr(builtins, name))

    @property
    def exact(self) -> bool:
        """Whether test code may pass values that look like bytes and are not."""
        return not self.used.isdisjoint(("array", "bytearray", "memoryview", "numpy", "np"))

    @cached_property
    def classes(self) -> list[str]:
        """The classes that the setup defines, whose objects may go from the program to its tests and back."""
        body = ast.parse(self.job.setup).body
        return [node.name for node in body if isinstance(node, ast.ClassDef)]

    @property
    def is_main(self) -> bool:
        """Whether programs are run whole, on standard input."""
        return bool(self.cases) and self.cases[0].io is not None

    @property
    def needs_reference(self) -> bool:
        return any(case.call is not None and case.value is None for case in self.cases)

    @cached_property
    def payload(self) -> bytes:
        """The tests as the worker takes them, without any expected value of a call or a stdin test."""
        if self.is_main:
            return marshal.dumps([case.io.stdin.encode("utf-8", "surrogatepass") for case in self.cases])
        items, self.items = self.items, []  # may be large, and are not needed twice
        return marshal.dumps(items)

    @cached_property
    def setup(self) -> bytes | None:
        """The compiled setup."""
        if not self.job.setup:
            return None
        return marshal.dumps(compile(self.job.setup, "<setup>", "exec", dont_inherit=True, optimize=0))

    def text(self, index: int) -> str:
        """A test as a model is shown it: an assert, a call, or the input of a program; ``candidate`` by its name."""
        case, name = self.cases[index], self.job.entry_point
        if case.io is not None:
            return f"input:\n{cut(case.io.stdin.rstrip(), VALUE)}"
        if case.call is not None:
            return f"{name}({cut(', '.join(show(argument) for argument in literal(case.call.arguments)), SOURCE)})"
        return re.sub(r"\bcandidate\b", lambda _: name, case.source) if name else case.source

    def add(self, test: Assertion | Check | Call | InputOutput) -> None:
        """Prepare one more test; raises TestCodeError."""
        first = len(self.cases)
        if isinstance(test, InputOutput):
            self.cases.append(TestCase(io=test))
        elif isinstance(test, Call):
            arguments = literal(test.arguments)
            if not isinstance(arguments, tuple):
                raise TestCodeError(f"a call's arguments must be a tuple, not {show(arguments)}")
            value = None if test.expected is None else plain.encode(literal(test.expected))
            self.cases.append(TestCase(call=test, value=value))
            self.items.append(("call", marshal.dumps(arguments), first, test.comparison))
        else:
            is_check = isinstance(test, Check)
            code = instrument(test.source if is_check else test.statement, first, is_check)
            self.cases.extend(TestCase(cut(source, SOURCE)) for source in code.sources)
            self.used |= code.names
            kind = "check" if is_check else "assertion"
            self.items.append((kind, marshal.dumps(code.code), first, len(code.sources), code.deferred))


class _Literals(ast.NodeTransformer):
    """Replaces the names inf and nan, which are how ``repr`` writes these floats, by their values."""

    def visit_Name(self, node: ast.Name) -> ast.AST:
        values = {"inf": math.inf, "nan": math.nan}
        return ast.Constant(values[node.id]) if node.id in values else node


def literal(text: str) -> Any:
    """The value of a Python literal in which ``inf`` and ``nan`` may occur; raises TestCodeError."""
    try:
        try:
            return ast.literal_eval(text)
        except ValueError:
            return ast.literal_eval(_Literals().visit(ast.parse(text.strip(), mode="eval")))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise TestCodeError(f"not a Python literal: {cut(text, SOURCE)} ({error})") from None


def build(job: Job) -> Suite:
    """The prepared tests of a job; a fault in them is kept in the suite, for it concerns this problem alone."""
    suite = Suite(job)
    try:
        for test in job.tests:
            suite.add(test)
        if not suite.cases:
            raise TestCodeError("the problem has no tests")
        if len({case.io is not None for case in suite.cases}) > 1:
            raise TestCodeError("stdin tests and tests of a function cannot be mixed in one problem")
        if not job.entry_point and any(isinstance(test, (Call, Check)) for test in job.tests):
            raise TestCodeError("calls and checks need an entry point")
        if suite.needs_reference and not job.reference.strip():
            raise TestCodeError("a call has no expected value, and the problem no reference to compute it")
        _ = suite.setup, suite.classes
    except (TestCodeError, SyntaxError) as error:
        suite.fault = str(error)
    return suite


_suites: OrderedDict[tuple, Suite] = OrderedDict()
_lock = threading.Lock()


def suite_of(job: Job) -> Suite:
    """The suite of a job, made at its first use. Jobs of one problem share it as they share the ``tests`` object."""
    # The suite keeps its job, hence its tests: their identity stays theirs as long as the key is here.
    key = (id(job.tests), job.setup, job.entry_point, job.reference)
    with _lock:
        if key in _suites:
            _suites.move_to_end(key)
            return _suites[key]
    suite = build(job)
    with _lock:
        _suites[key] = suite
        while len(_suites) > KEPT:
            _suites.popitem(last=False)
    return suite
