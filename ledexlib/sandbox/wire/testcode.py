"""What test code needs where it runs: a namespace, and the recorder that its instrumented asserts call.

That is the worker in ``proxy`` mode, the program's process in ``in_process`` mode.
"""

from __future__ import annotations

import builtins
import operator
import sys
import types
from collections.abc import Callable

from .exceptions import describe_exception
from .protocol import ERROR, FAIL, PASS, FrameWriter
from .text import short_repr

MODULE = "program"  # name of the namespace in which a program and its tests run
RECORDER = "__recorder__"  # name of the recorder in the tests' namespace

_OPERATORS = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    "is": operator.is_, "is not": operator.is_not,
    "in": lambda item, items: item in items, "not in": lambda item, items: item not in items,
}  # fmt: skip


def fresh_namespace(name: str) -> dict[str, object]:
    """The namespace of a new module; it is in ``sys.modules``, where dataclasses and the like look for it."""
    module = types.ModuleType(name)
    module.__builtins__ = builtins
    sys.modules[name] = module
    return module.__dict__


class AssertionRecorder:
    """Writes a frame for each test as its asserts report; one for all tests of a job.

    ``halted`` tells whether the tests were ended early: from then on nothing passes and nothing fails.
    """

    def __init__(self, report: FrameWriter, halted: Callable[[], bool] = lambda: False) -> None:
        self.report = report
        self._halted = halted
        self._range = range(0)
        self._deferred: frozenset[int] = frozenset()
        self._passed: set[int] = set()
        self._failed: set[int] = set()
        self._current = 0

    def run(self, first: int, count: int, deferred: list[int], body: Callable[[], object]) -> None:
        """Run the code of one statement or check, which holds ``count`` tests from index ``first``."""
        self._range, self._deferred, self._current = range(first, first + count), frozenset(deferred), first
        try:
            body()
        except BaseException as error:
            self._cut_short(error)
        else:
            for index in self._range:
                if index not in self._passed and index not in self._failed:
                    self._pass(index)

    def _cut_short(self, error: BaseException) -> None:
        """Attribute an exception that left the test code: to the current assert, else to the first without result."""
        unfinished = [i for i in self._range if i not in self._passed and i not in self._failed]
        places = [self._current] if self._current in unfinished else unfinished or [self._range[-1]]
        self._error(places[0], error)

    def _pass(self, index: int) -> None:
        if not self._halted():
            self._passed.add(index)
            self.report.send(PASS, index)

    def _fail(self, index: int, actual: str, expected: str) -> None:
        if not self._halted():
            self._failed.add(index)
            self.report.send_texts(FAIL, index, actual, expected)

    def _error(self, index: int, error: BaseException) -> None:
        if self._halted():
            return
        *description, by_test = describe_exception(error)
        if by_test and isinstance(error, AssertionError):
            self._fail(index, "", description[1])
        else:
            self._failed.add(index)
            self.report.send_texts(ERROR, index, *description)

    # What ``host.instrumentation`` puts into test code calls the following.

    def open(self, index: int) -> bool:
        return index not in self._failed

    def at(self, index: int) -> None:
        self._current = index

    def ok(self, index: int) -> None:
        if index not in self._deferred and index not in self._passed:
            self._pass(index)

    def raised(self, index: int) -> None:
        if self._halted():
            raise
        self._error(index, sys.exc_info()[1])

    def compare(self, index: int, name: str, left: object, right: object, swapped: bool) -> None:
        if _OPERATORS[name](left, right):
            self.ok(index)
        else:
            actual, expected = (right, left) if swapped else (left, right)
            prefix = "" if name == "==" else f"{name} "
            self._fail(index, short_repr(actual), prefix + short_repr(expected))

    def truth(self, index: int, value: object, expected: bool) -> None:
        if bool(value) is expected:
            self.ok(index)
        else:
            self._fail(index, short_repr(value), "a true value" if expected else "a false value")

    def close(self, index: int, function, actual: object, expected: object, *rest: object, **options: object) -> None:
        if function(actual, expected, *rest, **options):
            self.ok(index)
        else:
            self._fail(index, short_repr(actual), f"close to {short_repr(expected)}")
