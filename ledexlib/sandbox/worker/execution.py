"""Runs test code in the worker, against proxies for what the program defines."""

from __future__ import annotations

import importlib
import marshal
import random
import resource
import signal
import sys
import time
from functools import partial
from types import CodeType, ModuleType

from ..wire.exceptions import describe_exception
from ..wire.graph import send_result
from ..wire.protocol import END, ERROR, LOAD, READY, SETUP, SLOW, FrameWriter
from ..wire.standard import standard_module
from ..wire.testcode import MODULE, RECORDER, AssertionRecorder, fresh_namespace
from .channels import ChannelClosed
from .client import INVALID_ANSWER, ProgramClient
from .script import LenientRecorder, ScriptClient

RECURSION_LIMIT = sys.getrecursionlimit()
SLACK = 3  # seconds of processor time
SCRIPT_SECONDS = 3.0  # of processor time at most, for tests that wait for an answer that never comes
MAX_DIVERGENCES = 3  # from a script, after which the tests' requests are known to depend on the answers
ALIASES = {"np": "numpy"}  # under which tests expect a module without importing it
OTHER_MODULES = ("numpy",)  # beside the standard library's, of which the tests' process has its own


class LoadedTests:
    """A problem's tests with their code ready to run, kept from one program to the next."""

    def __init__(self, setup: bytes | None, payload: bytes) -> None:
        self.setup = None if setup is None else marshal.loads(setup)
        self.items = [
            (kind, code if kind == "call" else marshal.loads(code), *rest)
            for kind, code, *rest in marshal.loads(payload)
        ]
        self.requests: list[bytes] | None = None  # the script, once it is known
        self.requests_payload = b""  # the same, to be sent
        self.untransportable = ""  # what these tests pass that cannot be sent to another process, if they do
        self.known: tuple[bytes, bytes] | None = None  # the last program's answers, and the report on them
        self.divergences = 0

    @property
    def follows_script(self) -> bool:
        return bool(self.requests) and self.divergences < MAX_DIVERGENCES

    def write_script(self, job: dict) -> None:
        """Find what the tests request of every program; no program takes part in it."""
        client = ScriptClient()
        report = FrameWriter(lambda _: None)
        DEADLINE.start(min(SCRIPT_SECONDS, job["limits"]["timeout"]), client)
        try:
            namespace = prepare_namespace(self, job, client, report)
            if namespace is not None:
                for name in job["names"]:
                    if name == job["entry_point"]:
                        namespace[name] = client.proxy(0, "function", True)
                    elif name not in namespace and (module := own_module(name)) is not None:
                        namespace[name] = module
                run_items(self, namespace, client, LenientRecorder(report, lambda: client.channel.closed), None)
        except ChannelClosed:
            pass  # what was requested until then is the script
        finally:
            DEADLINE.stop()
            sys.setrecursionlimit(RECURSION_LIMIT)
        self.requests, self.untransportable = client.channel.requests, client.untransportable
        self.requests_payload = marshal.dumps(self.requests)


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
        DEADLINE.start(job["limits"]["timeout"], client)
        namespace = prepare_namespace(tests, job, client, report)
        if namespace is None:
            return False
        if kind != READY:
            report.send(LOAD, 0, payload)  # whatever the program says: the setup has just worked here
            return False
        found, missing = client.read_names(payload)
        for name in job["names"]:
            if name in found and (name not in namespace or name == job["entry_point"]):
                namespace[name] = global_value(name, found[name], job, client)
        report.send(READY, 0)
        run_items(tests, namespace, client, AssertionRecorder(report, lambda: client.channel.closed), missing)
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
    error = setup_error(tests.setup, namespace)
    if error is not None:
        report.send_texts(SETUP, 0, *describe_exception(error)[:4])
        return None
    client.classes = {name: namespace[name] for name in job["classes"] if isinstance(namespace.get(name), type)}
    return namespace


def setup_error(setup: CodeType | None, namespace: dict) -> BaseException | None:
    """Run a problem's setup in the namespace; the exception if it fails."""
    try:
        if setup is not None:
            exec(setup, namespace)
    except ChannelClosed:
        raise
    except BaseException as error:
        return error
    return None


def own_module(name: str, alias_of: str = "") -> ModuleType | None:
    """This process's own module for a name that tests expect to be a module; None for any other name."""
    wanted = ALIASES.get(name, name)
    if alias_of and wanted != alias_of:
        return None
    if wanted.partition(".")[0] in OTHER_MODULES:
        try:
            return importlib.import_module(wanted)
        except ImportError:
            return None
    return standard_module(wanted)


def global_value(name: str, node: object, job: dict, client: ProgramClient) -> object:
    """The value of a program's global name.

    A module that goes by its usual name is our own. So is what the tests use as a module of the standard library,
    whatever the program has under that name.
    """
    if name in job["modules"] and name != job["entry_point"] and (module := own_module(name)) is not None:
        return module
    match node:
        case ("module", str(full_name), int(handle)):
            return own_module(name, full_name) or client.proxy(handle, "module", True)
        case ("graph", bytes(data)):
            return client.built(data, [])
    client.close(INVALID_ANSWER)


def run_items(
    tests: LoadedTests, namespace: dict, client: ProgramClient, recorder: AssertionRecorder, missing: tuple | None
) -> None:
    """Run the statements, checks and calls one after the other."""
    namespace[RECORDER] = recorder

    def run_code(kind: str, code: CodeType) -> None:
        if kind == "check" and missing is not None:
            raise client.exception(missing)
        exec(code, namespace)
        if kind == "check":
            namespace["check"](client.proxy(0, "function", True))

    for kind, item, first, *rest in tests.items:
        if kind == "call":
            run_call(item, first, *rest, client, recorder.report)
        else:
            recorder.run(first, *rest, partial(run_code, kind, item))
        if client.channel.closed:
            return


def run_call(arguments: bytes, index: int, comparison: str, client: ProgramClient, report: FrameWriter) -> None:
    """Run a test that is a call, among others that are code; the host compares its result."""
    try:
        send_result(report, index, client.request("call", 0, *marshal.loads(arguments)), comparison)
    except ChannelClosed:
        raise
    except BaseException as error:
        report.send_texts(ERROR, index, *describe_exception(error)[:4])
