"""The program's process: executes the program and sends down a socket what the worker asks for.

This process reports; it does not judge. In ``proxy`` mode it has no test: it does what the worker's proxies request.
For calls it has the inputs, and sends the values as plain data, to be compared elsewhere. Only in ``in_process`` mode
does it run assertions itself: there a program that searches frames or objects can find the recorder, the nonce and the
expected values.

No message is a verdict, and what is printed goes nowhere near them, so leaving early by any door (sys.exit, os._exit, a
signal, an exec) passes nothing.
"""

from __future__ import annotations

import marshal
import pickle
import socket
import sys
from functools import partial

from ..wire.exceptions import PROGRAM_FILENAME, describe_exception
from ..wire.graph import send_result
from ..wire.protocol import END, ERROR, LOAD, MARSHALLED, PICKLED, READY, SETUP, FrameWriter
from ..wire.report_buffer import ReportBuffer
from ..wire.testcode import MODULE, RECORDER, AssertionRecorder, fresh_namespace
from .request_handler import RequestHandler, reader, writer


def load(job: dict, name: str, report: FrameWriter) -> dict[str, object] | int | None:
    """Run the setup and the program; its namespace, None after reporting an exception, or a main program's status."""
    namespace = fresh_namespace(name)
    stage = SETUP
    try:
        if job["setup"] is not None:
            exec(marshal.loads(job["setup"]), namespace)
        stage = LOAD
        text = job["program"].removeprefix("\ufeff")
        exec(compile(text, PROGRAM_FILENAME, "exec", dont_inherit=True, optimize=0), namespace)
    except BaseException as error:
        if name == "__main__" and stage == LOAD and isinstance(error, SystemExit):
            return exit_status(error.code)
        report.send_texts(stage, 0, *describe_exception(error)[:4])
        return None
    return namespace


def entry_point(job: dict, namespace: dict) -> tuple[object, BaseException | None]:
    """The value of the entry point's expression, and the exception if it has none."""
    try:
        return (eval(job["entry_point"], namespace) if job["entry_point"] else None), None
    except BaseException as error:
        return None, error


def run_in_process(job: dict, descriptor: int, buffer: ReportBuffer) -> None:
    """Run assertions, checks and calls here. They come down the socket, once, before the program runs."""
    report, read = FrameWriter(buffer.writer(writer(descriptor))), reader(descriptor)
    # Read nonce and tests before the program runs and changes anything.
    nonce, items = marshal.loads(read())
    items, loads = marshal.loads(items), marshal.loads
    recorder = AssertionRecorder(report)
    namespace = load(job, MODULE, report)
    if namespace is None:
        return
    report.send(READY, 0)
    namespace[RECORDER] = recorder
    entry, missing = entry_point(job, namespace)
    for item in items:
        if item[0] == "call":
            run_call(report, item, entry, missing, loads)
            continue
        kind, code, first, count, deferred = item
        recorder.run(first, count, deferred, partial(run_code, kind, loads(code), namespace, entry, missing))
    report.send(END, 0, nonce)


def run_code(kind: str, code, namespace: dict, entry: object, missing: BaseException | None) -> None:
    """Run a statement, or a ``check`` function with its argument."""
    if kind == "check" and missing is not None:
        raise missing
    exec(code, namespace)
    if kind == "check":
        namespace["check"](entry)


def run_calls(job: dict, descriptor: int, buffer: ReportBuffer) -> None:
    """Call the entry point with each input."""
    report, loads = FrameWriter(buffer.writer(writer(descriptor))), marshal.loads
    namespace = load(job, MODULE, report)
    if namespace is None:
        return
    report.send(READY, 0)
    entry, missing = entry_point(job, namespace)
    for item in job["inputs"]:
        run_call(report, item, entry, missing, loads)
    report.send(END, 0)


def run_call(report: FrameWriter, item: tuple, entry, missing: BaseException | None, loads) -> None:
    """Make one call with fresh arguments; send its result as plain data, else as text."""
    _, arguments, index, comparison = item
    try:
        if missing is not None:
            raise missing
        send_result(report, index, entry(*loads(arguments)), comparison)
    except BaseException as error:
        report.send_texts(ERROR, index, *describe_exception(error)[:4])


def run_main(job: dict, descriptor: int, _: ReportBuffer) -> int:
    """Run a whole program as ``__main__`` on its standard input; return the exit status.

    The fork server then ends this process as an interpreter ends: programs rely on what happens there, such as the
    output that a stream of their own writes when it is deleted.
    """
    stream = partial(open, encoding="utf-8", errors="surrogateescape", closefd=False)
    sys.stdin = sys.__stdin__ = stream(0)
    sys.stdout = sys.__stdout__ = stream(1, "w")
    sys.argv = ["program.py"]
    sys.set_int_max_str_digits(0)  # contests, older than this limit, print longer numbers
    loaded = load(job, "__main__", FrameWriter(writer(descriptor)))
    if isinstance(loaded, int):
        return loaded
    return 1 if loaded is None else 0


def exit_status(code: object) -> int:
    return 0 if code is None else code & 0xFF if isinstance(code, int) else 1


def run_proxy(job: dict, descriptor: int, _: ReportBuffer) -> None:
    """Load the program and answer the requests of the worker's proxies."""
    handler, read = RequestHandler(job, writer(descriptor)), reader(descriptor)
    namespace = load(job, MODULE, handler.report)
    if namespace is not None:
        handler.ready(job, namespace, *entry_point(job, namespace))
        while True:  # the reader ends the process
            handler.answer(read())


def run_replay(job: dict, descriptor: int, buffer: ReportBuffer) -> None:
    """Load the program and answer recorded requests, all at once."""
    handler = RequestHandler(job, buffer.writer(writer(descriptor)))
    namespace = load(job, MODULE, handler.report)
    if namespace is not None:
        handler.ready(job, namespace, *entry_point(job, namespace))
        for request in job["inputs"]:
            handler.answer(request)


def warm_up() -> None:
    """Do in the fork server what every program's process does: these inherit what the interpreter sets up meanwhile."""
    program = "from typing import List\ndef f(x: List[int]) -> int:\n    return x[0]\n"
    job = {"program": program, "entry_point": "f", "setup": None, "names": ["f", "List"], "classes": []}
    here, there = socket.socketpair()
    with here, there:
        for _ in range(20):
            handler = RequestHandler(job, writer(there.fileno()))
            namespace = load(job, MODULE, handler.report)
            handler.ready(job, namespace, *entry_point(job, namespace))
            for arguments in ([1], [], [[2, 3]]):
                request = ("call", 0, (arguments,), {})
                handler.answer(MARSHALLED + marshal.dumps(request))
                handler.answer(PICKLED + pickle.dumps(request))
            run_call(handler.report, (None, marshal.dumps(([1],)), 0, "equal"), namespace["f"], None, marshal.loads)
            here.recv(1 << 16)
    del sys.modules[MODULE]


STRATEGIES = {  # each takes the job, the descriptor of its socket and the report buffer; its value is the exit status
    "proxy": run_proxy, "replay": run_replay, "in_process": run_in_process, "calls": run_calls, "main": run_main,
}  # fmt: skip
