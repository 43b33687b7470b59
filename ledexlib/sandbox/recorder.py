"""What becomes of each assert: the recorder that instrumented test code calls, and exceptions as text.

In proxy mode it works in the trusted process, in the weaker mode in the program's own. Standard library only: the
worker loads this file.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable

from frames import ERROR, FAIL, FRAME, PASS
from plain import encode
from show import MESSAGE, cut, show

PROGRAM = "<program>"
TEST = "<test>"
TOLD = "__ledex_told__"  # of an exception that came from the program's process: its description

_OPERATORS = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    "is": operator.is_, "is not": operator.is_not,
    "in": lambda item, items: item in items, "not in": lambda item, items: item not in items,
}  # fmt: skip


class Report:
    """Frames on their way: ``write`` takes the bytes of a whole frame."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write

    def send(self, kind: bytes, index: int, payload: bytes = b"") -> None:
        self._write(FRAME.pack(kind, index, len(payload)) + payload)

    def send_texts(self, kind: bytes, index: int, *texts: object) -> None:
        self.send(kind, index, encode(texts))


def describe(error: BaseException) -> tuple[str, str, int, str, bool]:
    """Type, message, line and function of the program's innermost frame (0, ''), and whether the test itself raised."""
    told = getattr(error, "__dict__", {}).get(TOLD)
    if told is not None:
        return (*told, False)
    line, function = 0, ""
    filename = ""
    trace = error.__traceback__
    while trace is not None:
        filename = trace.tb_frame.f_code.co_filename
        if filename == PROGRAM:
            line, function = trace.tb_lineno, trace.tb_frame.f_code.co_name
        trace = trace.tb_next
    if isinstance(error, SyntaxError) and error.filename == PROGRAM:
        line, function = error.lineno or 0, ""
        message = error.msg
    else:
        try:
            message = str(error)
        except BaseException:  # the exception's own __str__ failed: its type is what can be said
            message = ""
    return type(error).__name__, cut(message, MESSAGE), line, function, filename == TEST


class Recorder:
    """What instrumented asserts call (see ``instrument``); one for all tests of a job.

    ``halted`` says whether the tests are over before their end: then nothing passes any more, and nothing fails.
    """

    def __init__(self, report: Report, halted: Callable[[], bool] = lambda: False) -> None:
        self._report = report
        self._halted = halted
        self._range = range(0)
        self._deferred: frozenset[int] = frozenset()
        self._passed: set[int] = set()
        self._failed: set[int] = set()
        self._current = 0

    def run(self, first: int, count: int, deferred: list[int], body: Callable[[], object]) -> None:
        """Run the code of one statement or check, whose tests are ``first`` and the following."""
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
        """An exception left the test's code: it belongs to the assert under way, else to the first without result."""
        open_ones = [i for i in self._range if i not in self._passed and i not in self._failed]
        candidates = [self._current] if self._current in open_ones else open_ones or [self._range[-1]]
        self._error(candidates[0], error)

    def _pass(self, index: int) -> None:
        if not self._halted():
            self._passed.add(index)
            self._report.send(PASS, index)

    def _fail(self, index: int, got: str, expected: str) -> None:
        if not self._halted():
            self._failed.add(index)
            self._report.send_texts(FAIL, index, got, expected)

    def _error(self, index: int, error: BaseException) -> None:
        if self._halted():
            return
        *what, by_test = describe(error)
        if by_test and isinstance(error, AssertionError):
            self._fail(index, "", what[1])
        else:
            self._failed.add(index)
            self._report.send_texts(ERROR, index, *what)

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
            got, wanted = (right, left) if swapped else (left, right)
            self._fail(index, show(got), show(wanted) if name == "==" else f"{name} {show(wanted)}")

    def truth(self, index: int, value: object, wanted: bool) -> None:
        if bool(value) is wanted:
            self.ok(index)
        else:
            self._fail(index, show(value), "a true value" if wanted else "a false value")

    def close(self, index: int, function, got: object, expected: object, *rest: object, **options: object) -> None:
        if function(got, expected, *rest, **options):
            self.ok(index)
        else:
            self._fail(index, show(got), f"close to {show(expected)}")
