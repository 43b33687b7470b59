"""What happens in the forked child: the program is executed, and what is asked of it is answered down a socket.

The child reports; it does not judge. In proxy mode it holds no test: it does what the worker's proxies ask. For calls
it has the inputs, and the values leave it as plain data, to be compared elsewhere. Only in the weaker mode, for tests
that cannot run through proxies, does it run assertions itself: then a program that searches the interpreter's frames or
objects can find the recorder, the marker and the expected values in the test code.

Messages carry no authority of their own, and what is printed goes nowhere near them, so leaving early by any door
(sys.exit, os._exit, a signal, an exec) passes nothing. Standard library only.
"""

from __future__ import annotations

import atexit
import io
import marshal
import os
import pickle
import socket
import sys
import threading
from functools import partial

from frames import END, ERROR, LOAD, MARSHALLED, OPAQUE, PICKLED, READY, SETUP, VALUE
from plain import encode
from recorder import PROGRAM, Recorder, Report, describe
from servant import Servant, reader, writer
from show import show
from system import new_main
from tail import Tail


def load(job: dict, name: str, report: Report) -> dict[str, object] | None:
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
        report.send_texts(stage, 0, *describe(error)[:4])
        return None
    return namespace


def entry_point(job: dict, namespace: dict) -> tuple[object, BaseException | None]:
    """The value of the entry point's expression, or why it has none."""
    try:
        return (eval(job["entry_point"], namespace) if job["entry_point"] else None), None
    except BaseException as error:
        return None, error


def run_tests(job: dict, descriptor: int, tail: Tail) -> None:
    """The weaker mode: run assertions, checks and calls here. They come down the socket, once, before the program."""
    report, read = Report(tail.writer(writer(descriptor))), reader(descriptor)
    # Marker and tests are taken before the program runs and changes anything.
    marker, items = marshal.loads(read())
    items, loads = marshal.loads(items), marshal.loads
    recorder = Recorder(report)
    namespace = load(job, "program", report)
    if namespace is None:
        return
    report.send(READY, 0)
    namespace["__ledex__"] = recorder
    entry, missing = entry_point(job, namespace)
    for item in items:
        if item[0] == "call":
            run_call(report, item, entry, missing, loads)
            continue
        kind, code, first, count, deferred = item
        recorder.run(first, count, deferred, partial(run_code, kind, loads(code), namespace, entry, missing))
    report.send(END, 0, marker)


def run_code(kind: str, code, namespace: dict, entry: object, missing: BaseException | None) -> None:
    """A statement, or a ``check`` function with its argument."""
    if kind == "check" and missing is not None:
        raise missing
    exec(code, namespace)
    if kind == "check":
        namespace["check"](entry)


def run_calls(job: dict, descriptor: int, tail: Tail) -> None:
    """Call the entry point with each input."""
    report, loads = Report(tail.writer(writer(descriptor))), marshal.loads
    namespace = load(job, "program", report)
    if namespace is None:
        return
    report.send(READY, 0)
    entry, missing = entry_point(job, namespace)
    for item in job["inputs"]:
        run_call(report, item, entry, missing, loads)
    report.send(END, 0)


def run_call(report: Report, item: tuple, entry, missing: BaseException | None, loads) -> None:
    """One call with fresh arguments; its result as plain data, else its description."""
    _, arguments, index, comparison = item
    try:
        if missing is not None:
            raise missing
        value = entry(*loads(arguments))
        data = encode(value)
        if data is None and comparison == "set":  # compared as a set, so any iterable will do
            data = encode(list(value))
    except BaseException as error:
        report.send_texts(ERROR, index, *describe(error)[:4])
        return
    if data is None:
        report.send_texts(OPAQUE, index, type(value).__name__, show(value))
    else:
        report.send(VALUE, index, data)


def run_main(job: dict, descriptor: int, _: Tail) -> int:
    """Run a whole program as ``__main__`` on its standard input; the exit status."""
    stream = partial(open, encoding="utf-8", errors="surrogateescape", closefd=False)
    sys.stdin = sys.__stdin__ = stream(0)
    sys.stdout = sys.__stdout__ = stream(1, "w")
    sys.argv = ["program.py"]
    loaded = load(job, "__main__", Report(writer(descriptor)))
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


def run_proxy(job: dict, descriptor: int, _: Tail) -> None:
    """Load the program and answer what the worker's proxies ask."""
    servant, read = Servant(job, writer(descriptor)), reader(descriptor)
    namespace = load(job, "program", servant.report)
    if namespace is not None:
        servant.ready(job, namespace, *entry_point(job, namespace))
        while True:  # the reader ends the process
            servant.answer(read())


def run_script(job: dict, descriptor: int, tail: Tail) -> None:
    """Load the program and answer what the worker's proxies are going to ask."""
    servant = Servant(job, tail.writer(writer(descriptor)))
    namespace = load(job, "program", servant.report)
    if namespace is not None:
        servant.ready(job, namespace, *entry_point(job, namespace))
        for request in job["inputs"]:
            servant.answer(request)


def warm_up() -> None:
    """Do in the parent what every program's process does, which inherits what the interpreter prepares meanwhile."""
    program = "from typing import List\ndef f(x: List[int]) -> int:\n    return x[0]\n"
    job = {"program": program, "entry_point": "f", "setup": None, "names": ["f", "List"], "classes": []}
    here, there = socket.socketpair()
    with here, there:
        for _ in range(20):
            servant = Servant(job, writer(there.fileno()))
            namespace = load(job, "program", servant.report)
            servant.ready(job, namespace, *entry_point(job, namespace))
            for arguments in ([1], [], [[2, 3]]):
                request = ("call", 0, (arguments,), {})
                servant.answer(MARSHALLED + marshal.dumps(request))
                servant.answer(PICKLED + pickle.dumps(request))
            run_call(servant.report, (None, marshal.dumps(([1],)), 0, "equal"), namespace["f"], None, marshal.loads)
            here.recv(1 << 16)
    del sys.modules["program"]


RUNS = {"proxy": run_proxy, "script": run_script, "in_process": run_tests, "calls": run_calls, "main": run_main}


def start(job: dict, descriptor: int, tail: Tail) -> None:
    """Enter the child's work; never returns."""
    status = 70  # the child's own failure
    leave = os._exit
    try:
        status = RUNS[job["run"]](job, descriptor, tail) or 0
    finally:
        leave(status)
