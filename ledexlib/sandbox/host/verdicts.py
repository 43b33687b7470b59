"""Verdicts from reports.

A report is the program's word, and nothing in it is believed: parsing stops at the first malformed frame, a pass needs
a frame for every test and the END frame with the job's nonce, and the values of calls are compared here.
"""

from __future__ import annotations

import re
from array import array
from dataclasses import dataclass
from typing import Any

from ..types import Status, Verdict
from ..wire import plain
from ..wire.graph_decoder import GraphDecoder
from ..wire.protocol import END, ERROR, FAIL, FRAME, GRAPH, LOAD, OPAQUE, PASS, READY, SETUP, VALUE, read_frames
from ..wire.text import MESSAGE_CHARS, VALUE_CHARS, clean, mask_addresses, short_repr, truncate
from .comparison import same, same_output
from .outcomes import Outcome
from .preparation import PreparedTests, ReferenceResults
from .reports import Report, equal

VALUE_BYTES = 64 << 20  # a larger result is wrong without a comparison
REPETITIONS = 20  # of each item, in a value that is compared as a set
TEXT_BYTES = 64 << 10  # a longer payload of texts is read as empty


@dataclass(frozen=True)
class CaseResult:
    """One test's result; ``note`` explains a failure."""

    status: Status
    note: str = ""


PASSED = CaseResult("passed")
_OBJECT = object()  # stands for a value that is not plain data


def infra_verdict(tests: PreparedTests, why: str) -> Verdict:
    """The verdict when the harness or the problem, not the program, is at fault."""
    n_tests = len(tests.cases)
    return Verdict(status="infra", n_passed=0, n_tests=n_tests, feedback=why, seconds=0.0, mode=tests.mode)


def timeout_in_test_code(tests: PreparedTests) -> Verdict:
    """The verdict when test code could not be interrupted and a limit on processor time ended the worker."""
    text, n_tests = "timed out in the tests' own code, on a value of the program's", len(tests.cases)
    return Verdict(status="timeout", n_passed=0, n_tests=n_tests, feedback=text, seconds=0.0, mode=tests.mode)


def verdict_of(
    tests: PreparedTests, program: str, outcomes: list[Outcome], report: Report, nonce: bytes, scratch: str
) -> Verdict:
    """The verdict on a program from its runs: one, or one for each stdin test.

    ``scratch`` is the worker's scratch directory, which feedback does not name.
    """
    reader = _ReportReader(tests, program, report, nonce)
    (reader.read_main if tests.is_main else reader.read_tests)(outcomes)
    seconds = round(sum(outcome.seconds for outcome in outcomes), 3)
    results = [reader.results.get(index) for index in range(len(tests.cases))]
    n_passed = results.count(PASSED)
    if reader.fault:
        return infra_verdict(tests, reader.fault)
    status, text = "passed", ""
    if n_passed == len(results) and reader.complete:
        if tests.strategy == "proxy":
            tests.passing_report = report
    else:
        status, text = reader.first_failure(results, outcomes[-1])
        text = clean(mask_addresses(text.replace(scratch, ".")))
    return Verdict(
        status=status, n_passed=n_passed, n_tests=len(results), feedback=text, seconds=seconds, mode=tests.mode
    )


class _ReportReader:
    """Reads the results of a program's tests from its report."""

    def __init__(self, tests: PreparedTests, program: str, report: Report, nonce: bytes) -> None:
        self.tests = tests
        self.program = program
        self.report = report
        self.nonce = nonce
        self.results: dict[int, CaseResult] = {}
        self.ready = False  # the program has loaded
        self.complete = False  # the tests have run to their end
        self.load_error = ""
        self.fault = ""  # of the problem

    def read_tests(self, outcomes: list[Outcome]) -> None:
        """Read the report of assertions, checks and calls."""
        (outcome,) = outcomes
        reference = self.tests.reference_results
        as_reference = reference is not None and reference.is_complete and equal(self.report, reference.report)
        # In ``in_process`` mode, a copy of a passing report may be forged.
        if as_reference or (self.tests.strategy == "proxy" and self.report == self.tests.passing_report):
            self.results = dict.fromkeys(range(len(self.tests.cases)), PASSED)
            self.complete = True
            return
        for kind, index, place, length in read_frames(self.report, 0, outcome.report):
            if kind == END:
                self.complete = self._payload(place, length) == self.nonce
            elif kind == READY:
                self.ready = True
            elif kind == LOAD:
                self.load_error = self.error(place, length)
            elif kind == SETUP and (outcome.setup_failed or self.tests.strategy == "proxy"):
                self.fault = f"the problem's setup failed: {self.error(place, length)}"
            elif kind == SETUP:  # only a program says so
                self.load_error = self.error(place, length)
            elif index < len(self.tests.cases):
                self._read_result(kind, index, place, length)

    def _read_result(self, kind: bytes, index: int, place: int, length: int) -> None:
        case = self.tests.cases[index]
        if kind == ERROR:
            self.results[index] = CaseResult("error", self.error(place, length))
        elif kind == FAIL:
            actual, expected = (text if isinstance(text, str) else "" for text in self._texts(place, length, 2))
            note = f"got {actual}, expected {expected}" if actual else f"the assertion failed: {expected}".rstrip(": ")
            self.results[index] = CaseResult("failed", note)
        elif kind == PASS and case.call is None:
            self.results.setdefault(index, PASSED)
        elif kind in (VALUE, GRAPH, OPAQUE) and case.call is not None and index not in self.results:
            self.results[index] = self._call_result(kind, index, place, length)

    def _call_result(self, kind: bytes, index: int, place: int, length: int) -> CaseResult:
        """The result of a call's test: its value against the expected one."""
        call = self.tests.cases[index].call
        wanted, fault = expected_value(self.tests, index)
        if fault:
            self.fault = fault
            return CaseResult("infra")
        if length > self._longest_equal(wanted, call.comparison):
            return CaseResult("failed", f"got a value that is far too large ({length} bytes)")
        data = self._payload(place, length)
        if kind == VALUE and (kind, data) == wanted:
            return PASSED
        actual, text = self._actual(kind, data, place, length)
        expected = _OBJECT if wanted is None else value_of(*wanted)
        if same(actual, expected, call.comparison, call.tolerance):
            return PASSED
        return CaseResult("failed", f"got {text}, expected {'an object' if wanted is None else short_repr(expected)}")

    def _actual(self, kind: bytes, data: bytes, place: int, length: int) -> tuple[Any, str]:
        """A call's result and its text; what did not cross is an object that equals nothing."""
        if kind == OPAQUE:
            type_name, text = self._texts(place, length, 2)
            return _OBJECT, text or f"a value of type {type_name}"
        try:
            value = value_of(kind, data)
        except plain.NotPlain:
            return _OBJECT, "a value that cannot be read"
        return value, short_repr(value)

    @staticmethod
    def _longest_equal(wanted: tuple[bytes, bytes] | None, comparison: str) -> int:
        """Bytes beyond which no value is right, so that decoding a hostile one costs little.

        Numbers that are equal take from 1 byte (True) to 17 (a complex number); all else is encoded alike, but for
        the names of types in a graph. Compared as a set, a value may repeat its items.
        """
        if wanted is None:
            return VALUE_BYTES
        return max(TEXT_BYTES, 17 * len(wanted[1])) * (REPETITIONS if comparison == "set" else 1)

    def read_main(self, outcomes: list[Outcome]) -> None:
        """Read the runs of a whole program on its stdin tests."""
        place = 0
        for index, outcome in enumerate(outcomes):
            output, place = self._payload(place, outcome.output), place + outcome.output
            errors = [f for f in read_frames(self.report, place, place + outcome.report) if f[0] in (LOAD, SETUP)]
            place += outcome.report
            test = self.tests.cases[index].io
            printed = output.decode("utf-8", "replace").removeprefix("\ufeff")
            if outcome.late:
                continue
            if outcome.setup_failed and errors:
                self.fault = "the problem's setup failed: " + self.error(*errors[0][2:])
            if errors:
                self.results[index] = CaseResult("error", self.error(*errors[0][2:]))
            elif outcome.exit:
                self.results[index] = CaseResult("error", outcome.ending)
            elif outcome.dropped:
                self.results[index] = CaseResult("failed", f"the output was cut after {outcome.output} bytes")
            elif same_output(printed, test.stdout, test.comparison):
                self.results[index] = PASSED
            else:
                note = f"output:\n{_output_text(printed)}\nexpected output:\n{_output_text(test.stdout)}"
                self.results[index] = CaseResult("failed", note)
        self.ready = self.complete = True

    def first_failure(self, results: list[CaseResult | None], outcome: Outcome) -> tuple[Status, str]:
        """Status and feedback for a program that did not pass."""
        if self.load_error:
            return "error", self.load_error
        index = next((i for i, result in enumerate(results) if result != PASSED), len(results))
        result = results[index] if index < len(results) else None
        source = self.tests.text(index) if self.ready and index < len(results) else ""
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
        """The texts of a frame, always ``count`` of them, whatever the payload is."""
        try:
            texts = plain.decode(self._payload(place, length)) if length <= TEXT_BYTES else ()
        except plain.NotPlain:
            texts = ()
        texts = texts if isinstance(texts, tuple) else ()
        cleaned = [clean(truncate(text, MESSAGE_CHARS)) if isinstance(text, str) else text for text in texts[:count]]
        return cleaned + [""] * (count - len(cleaned))

    def error(self, place: int, length: int) -> str:
        """An exception with the program's own line: ``TypeError: message`` and ``line 3, in f: return x``."""
        kind, message, line, function = self._texts(place, length, 4)
        if not (isinstance(kind, str) and isinstance(message, str) and isinstance(function, str)):
            return "an exception that cannot be read"
        text = f"{kind}: {message}".rstrip(": ")
        lines = re.split(r"\r\n|\r|\n", self.program)
        if isinstance(line, int) and 0 < line <= len(lines):
            inside = f", in {function}" if function and function != "<module>" else ""
            text += f"\nline {line}{inside}: {truncate(lines[line - 1].strip(), VALUE_CHARS)}"
        return text


def _output_text(text: str) -> str:
    return truncate(text.rstrip("\n"), VALUE_CHARS)


def value_of(kind: bytes, data: bytes) -> Any:
    """The value in a frame; raises NotPlain."""
    return plain.decode(data) if kind == VALUE else GraphDecoder().value(data, [])


def expected_value(tests: PreparedTests, index: int) -> tuple[tuple[bytes, bytes] | None, str]:
    """The frame of the value expected of a call (None: any object), and why there is none, if so."""
    case = tests.cases[index]
    if case.value is not None:
        return (VALUE, case.value), ""
    reference = tests.reference_results
    kind, value = reference.frame(index)
    if kind in (VALUE, GRAPH):
        return (kind, value), ""
    if kind == OPAQUE and case.call.comparison == "same_none":
        return None, ""
    why = "returned what cannot cross" if kind == OPAQUE else reference.fault or "raised an exception"
    return None, f"the reference gives no expected value: it {why} for {tests.text(index)}"


def results_of_reference(tests: PreparedTests, outcomes: list[Outcome], report: Report) -> ReferenceResults:
    """What the reference returned for each call, from the report of its run."""
    (outcome,) = outcomes
    starts, n_values = array("q", [-1]) * len(tests.cases), 0
    reader = _ReportReader(tests, tests.job.reference, report, b"")
    fault = "timed out" if outcome.late else f"ended early ({outcome.ending})"
    for kind, index, place, length in read_frames(report, 0, outcome.report):
        if kind in (VALUE, GRAPH, OPAQUE, ERROR):
            if index < len(starts) and starts[index] < 0:
                starts[index] = place - FRAME.size
                n_values += kind in (VALUE, GRAPH)
        elif kind in (LOAD, SETUP):
            fault = f"failed with {reader.error(place, length)}"
        elif kind == END:
            fault = ""
    all_calls = all(case.call is not None and case.value is None for case in tests.cases)
    is_complete = all_calls and n_values == len(starts) and not fault
    return ReferenceResults(report, starts, outcome.cpu, fault, is_complete)
