"""The tests of a program, run in the trusted process against proxies for what the program defines.

Standard library only: the worker loads this file.
"""

from __future__ import annotations

import importlib
import marshal
import random
import resource
import signal
import sys
from functools import partial

from frames import END, ERROR, OPAQUE, READY, SETUP, VALUE
from plain import encode
from recorder import Recorder, Report, describe
from remote import NONSENSE, SLOW, Gone, Link, Remote
from show import show
from system import new_main

RECURSION = sys.getrecursionlimit()
MODULE = "program"  # of the namespace that tests run in, as in the program's own process


class Suite:
    """A problem's tests as the worker keeps them from one program to the next, with their code ready to run."""

    def __init__(self, setup: bytes | None, payload: bytes) -> None:
        self.setup = None if setup is None else marshal.loads(setup)
        self.items = [
            (kind, code if kind == "call" else marshal.loads(code), *rest)
            for kind, code, *rest in marshal.loads(payload)
        ]


def limit(seconds: float, link: Link | None = None) -> None:
    """Let this process have so many seconds of processor time more (0: no end).

    Then the tests' code is interrupted; code that cannot be, such as a huge power, ends the process a little later.
    """

    def too_slow(*_: object) -> None:
        link.end(SLOW)

    if seconds:
        signal.signal(signal.SIGPROF, too_slow)
    signal.setitimer(signal.ITIMER_PROF, seconds, 1.0 if seconds else 0.0)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    resource.setrlimit(resource.RLIMIT_CPU, (int(used + seconds) + 2 if seconds else hard, hard))


def run(suite: Suite, job: dict, link: Link, report: Report) -> None:
    """Run a job's tests and write the frames of its report."""
    try:
        kind, payload = link.start()
        if kind != READY:
            report.send(kind, 0, payload)
            return
        limit(job["limits"]["timeout"], link)
        namespace = prepare(suite, job, link, report)
        if namespace is not None:
            found, missing = link.names(payload)
            for name in job["names"]:
                if name in found and (name not in namespace or name == job["entry_point"]):
                    namespace[name] = trusted(found[name], link)
            run_items(suite, namespace, link, report, missing)
            if not link.gone:
                report.send(END, 0, job["marker"])
    except Gone:
        pass  # what is missing in the report says it
    finally:
        limit(0)
        sys.setrecursionlimit(RECURSION)


def prepare(suite: Suite, job: dict, link: Link, report: Report) -> dict | None:
    """The tests' namespace after the problem's setup; None if that failed."""
    random.seed(0)
    namespace = new_main(MODULE)
    try:
        if suite.setup is not None:
            exec(suite.setup, namespace)
    except Exception as error:
        report.send_texts(SETUP, 0, *describe(error)[:4])
        return None
    link.classes = {name: namespace[name] for name in job["classes"] if isinstance(namespace.get(name), type)}
    return namespace


def trusted(found: object, link: Link) -> object:
    """The value of a program's name; of a standard module that the program has imported, our own."""
    match found:
        case ("module", str(name)) if name.partition(".")[0] in sys.stdlib_module_names:
            return importlib.import_module(name)
        case ("h", int(number), str(kind)):
            return link.proxy(number, kind)
        case ("=", value):
            return value
    link.end(NONSENSE)


def run_items(suite: Suite, namespace: dict, link: Link, report: Report, missing: tuple | None) -> None:
    """Run the statements, checks and calls one after the other."""
    recorder = namespace["__ledex__"] = Recorder(report, lambda: link.gone)
    report.send(READY, 0)

    def code(kind: str, compiled) -> None:
        if kind == "check" and missing is not None:
            raise link.exception(missing)
        exec(compiled, namespace)
        if kind == "check":
            namespace["check"](link.proxy(0, "function"))

    for kind, item, first, *rest in suite.items:
        if kind == "call":
            call(item, first, *rest, link, report)
        else:
            recorder.run(first, *rest, partial(code, kind, item))
        if link.gone:
            return


def call(arguments: bytes, index: int, comparison: str, link: Link, report: Report) -> None:
    """A test that is a call, beside others that are code: its result is compared by the caller."""
    try:
        value = link.ask("call", 0, *marshal.loads(arguments))
        if isinstance(value, Remote) and comparison == "set":  # compared as a set, so any iterable will do
            value = list(value)
    except Exception as error:
        report.send_texts(ERROR, index, *describe(error)[:4])
        return
    data = None if isinstance(value, Remote) else encode(value)
    if data is None:
        report.send_texts(OPAQUE, index, type(value).__name__, show(value))
    else:
        report.send(VALUE, index, data)
