"""From what a program's execution left behind to its verdict.

Runs in the trusted process and believes nothing in a report: frames that are no frames end it, a pass needs every
test's word and the end marker, and the values of calls are compared here.
"""

from __future__ import annotations

import re
import signal
from array import array
from dataclasses import dataclass
from typing import Any

from ledexlib.records import Status, Verdict
from ledexlib.sandbox import plain, show
from ledexlib.sandbox.compare import same, same_output
from ledexlib.sandbox.frames import END, ERROR, FAIL, FRAME, LOAD, OPAQUE, PASS, READY, SETUP, VALUE, frames
from ledexlib.sandbox.reports import Report, equal
from ledexlib.sandbox.suite import Expected, Suite

VALUE_BYTES = 64 << 20  # a larger result is not compared but wrong
TEXT_BYTES = 64 << 10


@dataclass(frozen=True)
class Outcome:
    """How one process ended; it left ``output`` bytes of output, then ``report`` bytes of frames, in the report."""

    timed_out: bool
    cpu: float
    seconds: float
    exit: int  # negative: the signal that killed it
    report: int
    output: int
    dropped: int
    fault: str  # why the conversation with the program was ended before its end: see ``remote``

    @property
    def untransportable(self) -> bool:
        """Whether a test passes what cannot be sent to another process."""
        return self.fault == "untransportable"

    @property
    def late(self) -> bool:
        """Whether it ran out of time; a limit on processor time ends it with a signal of its own."""
        return self.timed_out or self.exit == -signal.SIGXCPU

    @property
    def ending(self) -> str:
        """How it ended when it should have gone on."""
        if self.fault:
            return self.fault
        if self.dropped:
            return "the results were more data than allowed"
        if self.exit < 0:
            return f"the process was killed by {_signal_name(-self.exit)}"
        return f"the process exited with status {self.exit}"


@dataclass(frozen=True)
class Result:
    """One test's result; ``note`` explains a failure."""

    status: Status
    note: str = ""


PASSED = Result("passed")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def infra(suite: Suite, why: str) -> Verdict:
    """The verdict when the harness, or the problem itself, and not the program is at fault."""
    n_tests = len(suite.cases)
    return Verdict(status="infra", n_passed=0, n_tests=n_tests, feedback=why, seconds=0.0, mode=suite.mode)


def overdue(suite: Suite) -> Verdict:
    """The verdict when the tests' own code could not be interrupted, and a limit on processor time ended the worker."""
    text = "timed out in the tests' own code, on a value of the program's"
    return Verdict(status="timeout", n_passed=0, n_tests=len(suite.cases), feedback=text, seconds=0.0, mode=suite.mode)


def verdict(
    suite: Suite, program: str, outcomes: list[Outcome], report: Report, marker: bytes, scratch: str
) -> Verdict:
    """The verdict on a program from its executions: one, or for stdin tests one each."""
    reading = _Reading(suite, program, report, marker)
    (reading.main if suite.is_main else reading.tests)(outcomes)
    seconds = round(sum(outcome.seconds for outcome in outcomes), 3)
    results = [reading.results.get(index) for index in range(len(suite.cases))]
    n_passed = results.count(PASSED)
    if reading.fault:
        return infra(suite, reading.fault)
    status, text = "passed", ""
    if n_passed == len(results) and reading.closed:
        if suite.run == "proxy":
            suite.passing = report
    else:
        status, text = reading.first_failure(results, outcomes[-1])
        text = show.masked(text.replace(scratch, "."))
    return Verdict(
        status=status, n_passed=n_passed, n_tests=len(results), feedback=text, seconds=seconds, mode=suite.mode
    )


class _Reading:
    """Collects the results of a program's tests from its report."""

    def __init__(self, suite: Suite, program: str, report: Report, marker: bytes) -> None:
        self.suite = suite
        self.program = program
        self.report = report
        self.marker = marker
        self.results: dict[int, Result] = {}
        self.ready = False
        self.closed = False
        self.load_error = ""
        self.fault = ""

    def tests(self, outcomes: list[Outcome]) -> None:
        """Read the report of assertions, checks and calls."""
        (outcome,) = outcomes
        expected = self.suite.expected
        whole = expected is not None and expected.is_whole and equal(self.report, expected.report)
        if whole or (self.suite.run == "proxy" and self.report == self.suite.passing):  # else it may be forged
            self.results = dict.fromkeys(range(len(self.suite.cases)), PASSED)
            self.closed = True
            return
        for kind, index, place, length in frames(self.report, 0, outcome.report):
            if kind == END:
                self.closed = self._payload(place, length) == self.marker
            elif kind == READY:
                self.ready = True
            elif kind == LOAD:
                self.load_error = self._error(place, length)
            elif kind == SETUP:
                self.fault = f"the problem's setup failed: {self._error(place, length)}"
            elif index < len(self.suite.cases):
                self._take(kind, index, place, length)

    def _take(self, kind: bytes, index: int, place: int, length: int) -> None:
        case = self.suite.cases[index]
        if kind == ERROR:
            self.results[index] = Result("error", self._error(place, length))
        elif kind == FAIL:
            got, expected = self._texts(place, length, 2)
            note = f"got {got}, expected {expected}" if got else f"the assertion failed: {expected}".rstrip(": ")
            self.results[index] = Result("failed", note)
        elif kind == PASS and case.call is None:
            self.results.setdefault(index, PASSED)
        elif kind in (VALUE, OPAQUE) and case.call is not None and index not in self.results:
            self.results[index] = self._called(kind, index, place, length)

    def _called(self, kind: bytes, index: int, place: int, length: int) -> Result:
        """The result of a call's test: the value that came out against the value expected."""
        case = self.suite.cases[index]
        wanted, fault = wanted_value(self.suite, index)
        if fault:
            self.fault = fault
            return Result("infra")
        if length > VALUE_BYTES or (case.call.comparison != "set" and length > self._most(wanted)):
            return Result("failed", f"got a value that is far too large ({length} bytes)")
        if kind == OPAQUE:
            _, text = self._texts(place, length, 2)
            got: Any = _OBJECT
        else:
            data = self._payload(place, length)
            if data == wanted:
                return PASSED
            try:
                got = plain.decode(data)
                text = show.show(got)
            except plain.NotPlain:
                got, text = _OBJECT, "a value that is not plain data"
        expected = _OBJECT if wanted is None else plain.decode(wanted)
        if same(got, expected, case.call.comparison, case.call.tolerance):
            return PASSED
        return Result("failed", f"got {text}, expected {'an object' if wanted is None else show.show(expected)}")

    @staticmethod
    def _most(wanted: bytes | None) -> int:
        """Bytes beyond which no value equals the expected one, so that decoding a hostile one costs little.

        Numbers that are equal take from 1 byte (True) to 17 (a complex number); all else is encoded alike.
        """
        return VALUE_BYTES if wanted is None else max(TEXT_BYTES, 17 * len(wanted))

    def main(self, outcomes: list[Outcome]) -> None:
        """Read the executions of a whole program on its stdin tests."""
        place = 0
        for index, outcome in enumerate(outcomes):
            output, place = self._payload(place, outcome.output), place + outcome.output
            errors = [f for f in frames(self.report, place, place + outcome.report) if f[0] in (LOAD, SETUP)]
            place += outcome.report
            test = self.suite.cases[index].io
            printed = output.decode("utf-8", "replace")
            if outcome.late:
                continue
            if errors:
                self.results[index] = Result("error", self._error(*errors[0][2:]))
            elif outcome.exit:
                self.results[index] = Result("error", outcome.ending)
            elif outcome.dropped:
                self.results[index] = Result("failed", f"the output was cut after {outcome.output} bytes")
            elif same_output(printed, test.stdout):
                self.results[index] = PASSED
            else:
                note = f"output:\n{_block(printed)}\nexpected output:\n{_block(test.stdout)}"
                self.results[index] = Result("failed", note)
        self.ready = self.closed = True

    def first_failure(self, results: list[Result | None], outcome: Outcome) -> tuple[Status, str]:
        """Status and feedback of a program that did not pass."""
        if self.load_error:
            return "error", self.load_error
        index = next((i for i, result in enumerate(results) if result != PASSED), len(results))
        result = results[index] if index < len(results) else None
        source = self.suite.text(index) if self.ready and index < len(results) else ""
        if result is not None:
            return result.status, f"{source}\n{result.note}"
        if outcome.late:
            if not self.ready:
                return "timeout", "timed out while the program was loading, before the first test"
            where = f"after test {index} of {len(results)}" if index else "in the first test"
            return "timeout", f"{source}\ntimed out {where}".lstrip()
        where = f"before the end of test {index + 1} of {len(results)}" if source else "before its tests had ended"
        return "error", f"{source}\n{outcome.ending} {where}".lstrip()

    def _payload(self, place: int, length: int) -> bytes:
        return self.report[place : place + length]

    def _texts(self, place: int, length: int, count: int) -> list[Any]:
        """The texts of a frame, always ``count`` of them: a report is the program's word, its form is checked."""
        try:
            texts = plain.decode(self._payload(place, length)) if length <= TEXT_BYTES else ()
        except plain.NotPlain:
            texts = ()
        texts = texts if isinstance(texts, tuple) else ()
        cleaned = [t if isinstance(t, int) else show.cut(str(t), show.MESSAGE) for t in texts[:count]]
        return cleaned + [""] * (count - len(cleaned))

    def _error(self, place: int, length: int) -> str:
        """An exception with the program's own line: ``TypeError: message`` and ``line 3, in f: return x``."""
        kind, message, line, function = self._texts(place, length, 4)
        text = f"{kind}: {message}".rstrip(": ")
        lines = re.split(r"\r\n|\r|\n", self.program)
        if isinstance(line, int) and 0 < line <= len(lines):
            inside = f", in {function}" if function and function != "<module>" else ""
            text += f"\nline {line}{inside}: {show.cut(lines[line - 1].strip(), show.VALUE)}"
        return text


_OBJECT = object()  # stands for a value that is not plain data


def _block(text: str) -> str:
    return show.cut(text.rstrip("\n"), show.VALUE)


def wanted_value(suite: Suite, index: int) -> tuple[bytes | None, str]:
    """The encoded value expected of a call (None: any object), and why there is none, if so."""
    case = suite.cases[index]
    if case.value is not None:
        return case.value, ""
    expected = suite.expected
    kind, value = expected.frame(index)
    if kind == VALUE:
        return value, ""
    if kind == OPAQUE and case.call.comparison == "same_none":
        return None, ""
    why = "returned what is not plain data" if kind == OPAQUE else expected.fault or "raised an exception"
    return None, f"the reference gives no expected value: it {why} for {suite.text(index)}"


def expectation(suite: Suite, outcomes: list[Outcome], report: Report, marker: bytes) -> Expected:
    """What the reference returned for each call, from the report of its execution."""
    (outcome,) = outcomes
    starts, n_values = array("q", [-1]) * len(suite.cases), 0
    reading = _Reading(suite, suite.job.reference, report, marker)
    fault = "timed out" if outcome.late else f"ended early ({outcome.ending})"
    for kind, index, place, length in frames(report, 0, outcome.report):
        if kind in (VALUE, OPAQUE, ERROR):
            if index < len(starts) and starts[index] < 0:
                starts[index] = place - FRAME.size
                n_values += kind == VALUE
        elif kind in (LOAD, SETUP):
            fault = f"failed with {reading._error(place, length)}"
        elif kind == END:
            fault = ""
    of_calls = all(case.call is not None and case.value is None for case in suite.cases)
    is_whole = of_calls and n_values == len(starts) and not fault
    return Expected(report, starts, outcome.cpu, fault, is_whole)
