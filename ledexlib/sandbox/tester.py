"""The tests of a program, run in the trusted process against proxies for what the program defines.

Standard library only: the worker loads this file.
"""

from __future__ import annotations

import marshal
import random
import resource
import signal
import sys
import time
from functools import partial

from channels import Gone
from frames import END, ERROR, OPAQUE, READY, SETUP, VALUE
from plain import encode
from recorder import Recorder, Report, describe
from remote import NONSENSE, SLOW, Link, Remote
from show import show
from system import new_main

RECURSION = sys.getrecursionlimit()
SLACK = 3  # seconds
DEVIATIONS = 3  # from scripts, after which tests are known to depend on the answers
MODULE = "program"  # of the namespace that tests run in, as in the program's own process


class Suite:
    """A problem's tests as the worker keeps them from one program to the next, with their code ready to run."""

    def __init__(self, setup: bytes | None, payload: bytes) -> None:
        self.setup = None if setup is None else marshal.loads(setup)
        self.items = [
            (kind, code if kind == "call" else marshal.loads(code), *rest)
            for kind, code, *rest in marshal.loads(payload)
        ]
        self.script: list[bytes] | None = None  # what the tests asked of the last program: see ``channels``
        self.payload = b""  # the same, to be sent
        self.known: tuple[bytes, bytes] | None = None  # the last program's answers to it, and the report on them
        self.deviations = 0

    def keep(self, script: tuple[list[bytes], bytes] | None, report: bytes) -> None:
        """Keep what the tests asked in a conversation, what the program answered, and what came of it."""
        if script is not None and self.deviations < DEVIATIONS:
            self.script, answers = script
            self.payload, self.known = marshal.dumps(self.script), (answers, report)

    def deviated(self) -> None:
        """Forget a script that the tests did not keep to."""
        self.script = self.known = None
        self.deviations += 1


class Deadline:
    """Ends a job's tests when they have taken too much processor time.

    Their code is interrupted by a signal; code that cannot be, such as a sum over a huge range, ends this process a
    little later, by a resource limit that is moved on now and then.
    """

    def __init__(self) -> None:
        self.link: Link | None = None
        self.most = 0.0  # seconds of processor time at which this process ends
        signal.signal(signal.SIGPROF, self._too_slow)

    def _too_slow(self, *_: object) -> None:
        if self.link is not None:
            self.link.end(SLOW)

    def start(self, seconds: float, link: Link) -> None:
        self.link = link
        signal.setitimer(signal.ITIMER_PROF, seconds, 1.0)
        self.allow(seconds)

    def stop(self) -> None:
        self.link = None
        signal.setitimer(signal.ITIMER_PROF, 0.0)

    def allow(self, seconds: float) -> None:
        """Let this process have at least so many seconds of processor time more, and not many more than that."""
        used = time.process_time()
        if not seconds + 1 < self.most - used < seconds + 2 * SLACK:
            self.most = int(used + seconds) + SLACK
            hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
            resource.setrlimit(resource.RLIMIT_CPU, (self.most, hard))


DEADLINE = Deadline()


def run(suite: Suite, job: dict, link: Link, report: Report) -> bool:
    """Run a job's tests and write the frames of its report; whether they ran to their end."""
    try:
        kind, payload = link.start()
        if kind != READY:
            report.send(kind, 0, payload)
            return False
        DEADLINE.start(job["limits"]["timeout"], link)
        namespace = prepare(suite, job, link, report)
        if namespace is not None:
            found, missing = link.names(payload)
            for name in job["names"]:
                if name in found and (name not in namespace or name == job["entry_point"]):
                    namespace[name] = trusted(found[name], link)
            run_items(suite, namespace, link, report, missing)
            if not link.channel.gone:
                report.send(END, 0, job["marker"])
                return True
    except Gone:
        pass  # what is missing in the report says it
    finally:
        DEADLINE.stop()
        sys.setrecursionlimit(RECURSION)
    return False


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
        case ("module", str(name)) if name in sys.modules and name.partition(".")[0] in sys.stdlib_module_names:
            return sys.modules[name]  # one that we have already: importing some modules does things
        case ("h", int(number), str(kind)):
            return link.proxy(number, kind)
        case ("=", value):
            return value
    link.end(NONSENSE)


def run_items(suite: Suite, namespace: dict, link: Link, report: Report, missing: tuple | None) -> None:
    """Run the statements, checks and calls one after the other."""
    recorder = namespace["__ledex__"] = Recorder(report, lambda: link.channel.gone)
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
        if link.channel.gone:
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
