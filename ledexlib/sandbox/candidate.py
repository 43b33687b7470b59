"""What happens in the forked child: the program is executed, its tests are run, and results go down a pipe.

The child reports; it does not judge. Values of calls leave it as plain data and are compared elsewhere. Every message
carries no authority of its own: a pass counts only if each test reported and the end marker, a number drawn for this
job, closes the report. So leaving early by any door (sys.exit, os._exit, a signal, an exec) passes nothing, and what is
printed goes nowhere near the report.

Not yet: assertions run in this process, so a program that searches the interpreter's frames or objects can find
the recorder, the marker and the expected values in the test code.
Standard library only.
"""

from __future__ import annotations

import atexit
import builtins
import io
import json
import marshal
import operator
import os
import random
import sys
import threading
import types
from functools import partial

from frames import END, ERROR, FAIL, FRAME, LOAD, OPAQUE, PASS, READY, SETUP, VALUE
from plain import encode
from show import MESSAGE, cut, show

PROGRAM = "<program>"

_OPERATORS = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    "is": operator.is_, "is not": operator.is_not,
    "in": lambda item, items: item in items, "not in": lambda item, items: item not in items,
}  # fmt: skip


class Channel:
    """The result pipe. Keeps its own references to what it needs, for the program may patch modules."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._write = os.write
        self._dumps = json.dumps

    def send(self, kind: bytes, index: int, payload: bytes = b"") -> None:
        rest = memoryview(FRAME.pack(kind, index, len(payload)) + payload)
        while rest:
            rest = rest[self._write(self._descriptor, rest) :]

    def send_text(self, kind: bytes, index: int, *texts: object) -> None:
        self.send(kind, index, self._dumps(texts).encode("utf-8", "backslashreplace"))


def describe(error: BaseException) -> tuple[str, str, int, str, bool]:
    """Type, message, line and function of the program's innermost frame (0, ''), and whether the test itself raised."""
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
        except Exception:  # the exception's own __str__ failed: its type is what can be said
            message = ""
    return type(error).__name__, cut(message, MESSAGE), line, function, filename == "<test>"


class Recorder:
    """What instrumented asserts call (see ``instrument``); one for all tests of a job."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._range = range(0)
        self._deferred: frozenset[int] = frozenset()
        self._passed: set[int] = set()
        self._failed: set[int] = set()
        self._current = 0

    def run(self, first: int, count: int, deferred: list[int], body) -> None:
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
        self._passed.add(index)
        self._channel.send(PASS, index)

    def _fail(self, index: int, got: str, expected: str) -> None:
        self._failed.add(index)
        self._channel.send_text(FAIL, index, got, expected)

    def _error(self, index: int, error: BaseException) -> None:
        *what, by_test = describe(error)
        if by_test and isinstance(error, AssertionError):
            self._fail(index, "", what[1])
        else:
            self._failed.add(index)
            self._channel.send_text(ERROR, index, *what)

    def open(self, index: int) -> bool:
        return index not in self._failed

    def at(self, index: int) -> None:
        self._current = index

    def ok(self, index: int) -> None:
        if index not in self._deferred and index not in self._passed:
            self._pass(index)

    def raised(self, index: int) -> None:
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


def new_main(name: str) -> dict[str, object]:
    """The namespace of a fresh module, known under ``name`` so that dataclasses and the like find it."""
    module = types.ModuleType(name)
    module.__builtins__ = builtins
    sys.modules[name] = module
    return module.__dict__


def load(job: dict, name: str, channel: Channel) -> dict[str, object] | None:
    """Run the setup, then the program; None if either raised, after reporting it."""
    namespace = new_main(name)
    stage = SETUP
    try:
        if job["setup"] is not None:
            exec(marshal.loads(job["setup"]), namespace)
        stage = LOAD
        exec(compile(job["program"], PROGRAM, "exec", dont_inherit=True, optimize=0), namespace)
    except BaseException as error:
        if name == "__main__" and stage == LOAD and isinstance(error, SystemExit):
            return finish_main(error.code)
        channel.send_text(stage, 0, *describe(error)[:4])
        return None
    return namespace


def run_tests(job: dict, descriptor: int) -> None:
    """Run assertions, checks and calls against the program; the whole of a child's life, but for its exit."""
    channel = Channel(descriptor)
    # Marker and tests are taken before the program runs and changes anything.
    marker, items, loads = job["marker"], marshal.loads(job["suite"]), marshal.loads
    recorder = Recorder(channel)
    namespace = load(job, "program", channel)
    if namespace is None:
        return
    channel.send(READY, 0)
    namespace["__ledex__"] = recorder
    entry, missing = None, None
    try:
        entry = eval(job["entry_point"], namespace) if job["entry_point"] else None
    except BaseException as error:
        missing = error
    for item in items:
        if item[0] == "call":
            run_call(channel, item, entry, missing, loads)
            continue
        kind, code, first, count, deferred = item
        recorder.run(first, count, deferred, partial(run_code, kind, loads(code), namespace, entry, missing))
    channel.send(END, 0, marker)


def run_code(kind: str, code, namespace: dict, entry: object, missing: BaseException | None) -> None:
    """A statement, or a ``check`` function with its argument."""
    if kind == "check" and missing is not None:
        raise missing
    exec(code, namespace)
    if kind == "check":
        namespace["check"](entry)


def run_call(channel: Channel, item: tuple, entry, missing: BaseException | None, loads) -> None:
    """One call with fresh arguments; its result as plain data, else its description."""
    _, index, arguments, comparison = item
    try:
        if missing is not None:
            raise missing
        value = entry(*loads(arguments))
        data = encode(value)
        if data is None and comparison == "set":  # compared as a set, so any iterable will do
            data = encode(list(value))
    except BaseException as error:
        channel.send_text(ERROR, index, *describe(error)[:4])
        return
    if data is None:
        channel.send_text(OPAQUE, index, type(value).__name__, show(value))
    else:
        channel.send(VALUE, index, data)


def run_main(job: dict, descriptor: int) -> int:
    """Run a whole program as ``__main__`` on its standard input; the exit status."""
    stream = partial(open, encoding="utf-8", errors="surrogateescape", closefd=False)
    sys.stdin = sys.__stdin__ = stream(0)
    sys.stdout = sys.__stdout__ = stream(1, "w")
    sys.argv = ["program.py"]
    loaded = load(job, "__main__", Channel(descriptor))
    if isinstance(loaded, int):
        return loaded
    status = finish_main(None)
    return 1 if loaded is None else status


def finish_main(code: object) -> int:
    """End as the interpreter does: wait for threads, run exit functions, flush; the status for this SystemExit code.

    Programs rely on it: buffered output that an exit function writes, work in a thread with a larger stack.
    """
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in {id(s): s for s in (sys.stdout, sys.__stdout__)}.values():
        if isinstance(stream, io.TextIOBase):
            stream.flush()
    return 0 if code is None else code & 0xFF if isinstance(code, int) else 1


def start(job: dict, descriptor: int) -> None:
    """Enter the child's work; never returns."""
    status = 70  # the child's own failure
    leave = os._exit
    try:
        random.seed(0)
        if job["main"]:
            status = run_main(job, descriptor)
        else:
            run_tests(job, descriptor)
            status = 0
    finally:
        leave(status)
