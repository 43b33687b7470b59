"""Runs test code in the worker, against proxies for what the program defines."""

from __future__ import annotations

import marshal
import random
import resource
import signal
import sys
import time
from functools import partial

from ..wire.exceptions import describe_exception
from ..wire.plain import encode
from ..wire.protocol import END, ERROR, OPAQUE, READY, SETUP, SLOW, VALUE, FrameWriter
from ..wire.testcode import MODULE, RECORDER, AssertionRecorder, fresh_namespace
from ..wire.text import short_repr
from .channels import ChannelClosed
from .proxies import INVALID_ANSWER, ProgramClient, Proxy

RECURSION_LIMIT = sys.getrecursionlimit()
SLACK = 3  # seconds of processor time
MAX_DIVERGENCES = 3  # from recordings, after which the tests' requests are known to depend on the answers


class LoadedTests:
    """A problem's tests with their code ready to run, kept from one program to the next."""

    def __init__(self, setup: bytes | None, payload: bytes) -> None:
        self.setup = None if setup is None else marshal.loads(setup)
        self.items = [
            (kind, code if kind == "call" else marshal.loads(code), *rest)
            for kind, code, *rest in marshal.loads(payload)
        ]
        self.requests: list[bytes] | None = None  # a recording: what the tests requested of the last program
        self.requests_payload = b""  # the same, to be sent
        self.known: tuple[bytes, bytes] | None = None  # the last program's answers to it, and the report on them
        self.divergences = 0

    def keep(self, recording: tuple[list[bytes], bytes] | None, report: bytes) -> None:
        """Keep a conversation's requests and answers, and the report on it."""
        if recording is not None and self.divergences < MAX_DIVERGENCES:
            self.requests, answers = recording
            self.requests_payload, self.known = marshal.dumps(self.requests), (answers, report)

    def diverge(self) -> None:
        """Forget a recording from which the tests diverged."""
        self.requests = self.known = None
        self.divergences += 1


class Deadline:
    """Ends a job's tests when they have taken too much processor time.

    A signal interrupts their code. Code that cannot be interrupted, such as a sum over a huge range, ends this process
    a little later, by a resource limit that is raised now and then.
    """

    def __init__(self) -> None:
        self.client: ProgramClient | None = None
        self.most = 0.0  # seconds of processor time at which this process ends
        signal.signal(signal.SIGPROF, self._too_slow)

    def _too_slow(self, *_: object) -> None:
        if self.client is not None:
            self.client.close(SLOW)

    def start(self, seconds: float, client: ProgramClient) -> None:
        self.client = client
        signal.setitimer(signal.ITIMER_PROF, seconds, 1.0)
        self.allow(seconds)

    def stop(self) -> None:
        self.client = None
        signal.setitimer(signal.ITIMER_PROF, 0.0)

    def allow(self, seconds: float) -> None:
        """Allow this process at least ``seconds`` more of processor time, and not many more than that."""
        used = time.process_time()
        if not seconds + 1 < self.most - used < seconds + 2 * SLACK:
            self.most = int(used + seconds) + SLACK
            hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
            resource.setrlimit(resource.RLIMIT_CPU, (self.most, hard))


DEADLINE = Deadline()


def run_tests(tests: LoadedTests, job: dict, client: ProgramClient, report: FrameWriter) -> bool:
    """Run a job's tests and write the frames of its report; return whether they ran to their end."""
    try:
        kind, payload = client.start()
        if kind != READY:
            report.send(kind, 0, payload)
            return False
        DEADLINE.start(job["limits"]["timeout"], client)
        namespace = prepare_namespace(tests, job, client, report)
        if namespace is not None:
            found, missing = client.read_names(payload)
            for name in job["names"]:
                if name in found and (name not in namespace or name == job["entry_point"]):
                    namespace[name] = global_value(found[name], client)
            run_items(tests, namespace, client, report, missing)
            if not client.channel.closed:
                report.send(END, 0, job["nonce"])
                return True
    except ChannelClosed:
        pass  # the report lacks its end
    finally:
        DEADLINE.stop()
        sys.setrecursionlimit(RECURSION_LIMIT)
    return False


def prepare_namespace(tests: LoadedTests, job: dict, client: ProgramClient, report: FrameWriter) -> dict | None:
    """The tests' namespace after the problem's setup; None, after reporting it, if the setup failed."""
    random.seed(0)
    namespace = fresh_namespace(MODULE)
    try:
        if tests.setup is not None:
            exec(tests.setup, namespace)
    except Exception as error:
        report.send_texts(SETUP, 0, *describe_exception(error)[:4])
        return None
    client.classes = {name: namespace[name] for name in job["classes"] if isinstance(namespace.get(name), type)}
    return namespace


def global_value(node: object, client: ProgramClient) -> object:
    """The value of a program's global name; for a standard module that the program imported, our own."""
    match node:
        case ("module", str(name)) if name in sys.modules and name.partition(".")[0] in sys.stdlib_module_names:
            return sys.modules[name]  # only one that is loaded: importing some modules has effects
        case ("h", int(handle), str(kind)):
            return client.proxy(handle, kind)
        case ("=", value):
            return value
    client.close(INVALID_ANSWER)


def run_items(
    tests: LoadedTests, namespace: dict, client: ProgramClient, report: FrameWriter, missing: tuple | None
) -> None:
    """Run the statements, checks and calls one after the other."""
    recorder = namespace[RECORDER] = AssertionRecorder(report, lambda: client.channel.closed)
    report.send(READY, 0)

    def run_code(kind: str, code) -> None:
        if kind == "check" and missing is not None:
            raise client.exception(missing)
        exec(code, namespace)
        if kind == "check":
            namespace["check"](client.proxy(0, "function"))

    for kind, item, first, *rest in tests.items:
        if kind == "call":
            run_call(item, first, *rest, client, report)
        else:
            recorder.run(first, *rest, partial(run_code, kind, item))
        if client.channel.closed:
            return


def run_call(arguments: bytes, index: int, comparison: str, client: ProgramClient, report: FrameWriter) -> None:
    """Run a test that is a call, among others that are code; the host compares its result."""
    try:
        value = client.request("call", 0, *marshal.loads(arguments))
        if isinstance(value, Proxy) and comparison == "set":  # compared as a set, so any iterable will do
            value = list(value)
    except Exception as error:
        report.send_texts(ERROR, index, *describe_exception(error)[:4])
        return
    data = None if isinstance(value, Proxy) else encode(value)
    if data is None:
        report.send_texts(OPAQUE, index, type(value).__name__, short_repr(value))
    else:
        report.send(VALUE, index, data)
