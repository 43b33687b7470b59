"""A problem's tests, prepared once for all of its programs, and cached.

What depends on the tests alone is done here: instrument and compile assertions, parse arguments, count the tests. The
results of the reference are added after it has run.
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

from ..types import Assertion, Call, Check, InputOutput, Mode
from ..wire import plain
from ..wire.protocol import FRAME
from ..wire.text import SOURCE_CHARS, VALUE_CHARS, short_repr, truncate
from .instrumentation import TestCodeError, instrument
from .isolation import bound_names
from .jobs import Job
from .reports import Report

CACHE_SIZE = 1024  # problems


@dataclass(frozen=True, slots=True)
class Case:
    """One test that counts: an assert's text or, for calls and stdin tests, how to judge the result."""

    source: str = ""
    call: Call | None = None
    io: InputOutput | None = None
    value: bytes | None = None  # the expected result, encoded, if the call gives it


@dataclass
class ReferenceResults:
    """The reference's report, the offset there of each test's frame (-1: none), and its processor time in seconds.

    Benchmarks have a hundred thousand tests: one number for each is all that is kept.
    """

    report: Report
    starts: array[int]
    seconds: float
    fault: str = ""
    is_complete: bool = False  # whether a program with the same report, byte for byte, passes

    def frame(self, index: int) -> tuple[bytes, bytes]:
        """Kind and payload of a test's frame; both empty if there is none."""
        start = self.starts[index]
        if start < 0:
            return b"", b""
        kind, _, length = FRAME.unpack(self.report[start : start + FRAME.size])
        return kind, self.report[start + FRAME.size : start + FRAME.size + length]


@dataclass
class PreparedTests:
    """Prepared tests. ``fault`` tells why they are unusable, if they are."""

    job: Job
    cases: list[Case] = field(default_factory=list)
    items: list[tuple] = field(default_factory=list)  # what the worker gets of each statement, check or call
    names_read: set[str] = field(default_factory=set)  # by test code
    fault: str = ""
    reference_results: ReferenceResults | None = None
    passing_report: Report | None = None  # of the last program that passed
    modules_read: set[str] = field(default_factory=set)  # names that test code uses as standard modules
    bound: set[str] = field(default_factory=set)  # names that the setup or test code binds
    doubt: str = ""  # why the tests may need the program's process
    is_undecided: bool = False  # until the reference has run: whether they do
    in_process: bool = False  # they do

    @property
    def strategy(self) -> str:
        """How programs run: whole, called with the inputs, through proxies, or in one process with their tests."""
        if self.is_main:
            return "main"
        if all(case.call is not None for case in self.cases):
            return "calls"
        return "in_process" if self.in_process else "proxy"

    @property
    def mode(self) -> Mode:
        return "in_process" if self.strategy == "in_process" else "proxy"

    @cached_property
    def names(self) -> list[str]:
        """The program's names that test code reads, except builtins that are not the entry point."""
        return sorted(name for name in self.names_read if name == self.job.entry_point or not hasattr(builtins, name))

    @cached_property
    def modules(self) -> list[str]:
        return sorted(self.modules_read)

    @cached_property
    def classes(self) -> list[str]:
        """The classes that the setup defines, whose objects may pass between a program and its tests."""
        body = ast.parse(self.job.setup).body
        return [node.name for node in body if isinstance(node, ast.ClassDef)]

    @property
    def is_main(self) -> bool:
        """Whether programs run whole, on standard input."""
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
        """A test as a model is shown it: an assert, a call, or a program's input; ``candidate`` by its real name."""
        case, name = self.cases[index], self.job.entry_point
        if case.io is not None:
            return f"input:\n{truncate(case.io.stdin.rstrip(), VALUE_CHARS)}"
        if case.call is not None:
            arguments = ", ".join(short_repr(argument) for argument in literal(case.call.arguments))
            return f"{name}({truncate(arguments, SOURCE_CHARS)})"
        return re.sub(r"\bcandidate\b", lambda _: name, case.source) if name else case.source

    def add(self, test: Assertion | Check | Call | InputOutput) -> None:
        """Prepare one more test; raises TestCodeError."""
        first = len(self.cases)
        if isinstance(test, InputOutput):
            self.cases.append(Case(io=test))
        elif isinstance(test, Call):
            arguments = literal(test.arguments)
            if not isinstance(arguments, tuple):
                raise TestCodeError(f"a call's arguments must be a tuple, not {short_repr(arguments)}")
            value = None if test.expected is None else plain.encode(literal(test.expected))
            if value is None and test.expected is not None:
                raise TestCodeError(f"not plain data: {truncate(test.expected, SOURCE_CHARS)}")
            self.cases.append(Case(call=test, value=value))
            self.items.append(("call", marshal.dumps(arguments), first, test.comparison))
        else:
            is_check = isinstance(test, Check)
            source = test.source if is_check else test.statement
            code = instrument(source, first, is_check, self.bound, self.job.entry_point)
            self.bound |= code.bound
            self.modules_read |= code.modules
            self.doubt = self.doubt or code.doubt
            self.cases.extend(Case(truncate(source, SOURCE_CHARS)) for source in code.sources)
            self.names_read |= code.names
            kind = "check" if is_check else "assertion"
            self.items.append((kind, marshal.dumps(code.code), first, len(code.sources), code.deferred))


class _FloatNames(ast.NodeTransformer):
    """Replaces the names inf and nan, as which ``repr`` writes these floats, by their values."""

    def visit_Name(self, node: ast.Name) -> ast.AST:
        values = {"inf": math.inf, "nan": math.nan}
        return ast.Constant(values[node.id]) if node.id in values else node


def literal(text: str) -> Any:
    """The value of a Python literal that may have ``inf`` and ``nan`` in it; raises TestCodeError."""
    try:
        try:
            return ast.literal_eval(text)
        except ValueError:
            return ast.literal_eval(_FloatNames().visit(ast.parse(text.strip(), mode="eval")))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise TestCodeError(f"not a Python literal: {truncate(text, SOURCE_CHARS)} ({error})") from None


def prepare(job: Job) -> PreparedTests:
    """Prepare the tests of a job; if they are unusable, they say so as ``fault``, for it concerns no other problem."""
    tests = PreparedTests(job)
    try:
        tests.bound = bound_names(ast.walk(ast.parse(job.setup))) - {job.entry_point}
        for test in job.tests:
            tests.add(test)
        if not tests.cases:
            raise TestCodeError("the problem has no tests")
        if len({case.io is not None for case in tests.cases}) > 1:
            raise TestCodeError("stdin tests and tests of a function cannot be mixed in one problem")
        if not job.entry_point and any(isinstance(test, (Call, Check)) for test in job.tests):
            raise TestCodeError("calls and checks need an entry point")
        if tests.needs_reference and not job.reference.strip():
            raise TestCodeError("a call has no expected value, and the problem no reference to compute it")
        _ = tests.setup, tests.classes
        tests.is_undecided = bool(job.isolation == "auto" and tests.doubt and job.reference.strip())
        tests.in_process = job.isolation == "in_process" or bool(
            job.isolation == "auto" and tests.doubt and not tests.is_undecided
        )
    except (TestCodeError, SyntaxError) as error:
        tests.fault = str(error)
    return tests


def unusable(job: Job) -> str:
    """Why the job's tests cannot be used; '' if they can."""
    return prepared_tests(job).fault


_cache: OrderedDict[tuple, PreparedTests] = OrderedDict()
_lock = threading.Lock()


def prepared_tests(job: Job) -> PreparedTests:
    """The job's tests from the cache, or prepared now. Jobs that share the ``tests`` object share the result."""
    # A cached entry holds its job, hence its tests, so their id stays theirs as long as the key is here.
    key = (id(job.tests), job.setup, job.entry_point, job.reference, job.isolation)
    with _lock:
        if key in _cache:
            _cache.move_to_end(key)
            return _cache[key]
    tests = prepare(job)
    with _lock:
        _cache[key] = tests
        while len(_cache) > CACHE_SIZE:
            _cache.popitem(last=False)
    return tests
