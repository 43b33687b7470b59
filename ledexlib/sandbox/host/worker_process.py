"""A worker process as the host sees it, and the tasks assigned to it.

The socket never blocks: ``flush`` sends what the worker takes, ``replies`` returns what has come. A long report arrives
as the descriptor of an unnamed file, so that it takes no memory here and is gone when it is closed.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import select
import shutil
import signal
import site
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..wire.protocol import LENGTH
from .jobs import LAYERS, Job, Limits
from .outcomes import Outcome
from .preparation import PreparedTests
from .reports import Report, ReportFile

START_SCRIPT = Path(__file__).resolve().parents[1] / "worker" / "start.py"
WALL_FACTOR = 30  # the wall time allowed is at most so many times the timeout, on a busy machine
MAX_SILENCE = 30.0  # seconds beyond that before a worker is given up
REFERENCE_SECONDS = 120.0  # of a reference's own time for all its calls
REFERENCE_MEMORY_MB = 4096
REFERENCE_FACTOR = 4  # a program may take so many times its reference's time, as in EvalPlus
LOG_BYTES = 2000  # of a worker's stderr that are kept


@dataclass
class Task:
    """A job on its way, or a run of its reference, for what it returns or as a trial of the tests."""

    job: Job
    tests: PreparedTests
    limits: Limits
    is_reference: bool = False
    is_trial: bool = False  # runs the reference as a program, to find where the tests can run
    alone: bool = False  # runs while no other task does
    attempts: int = 0
    nonce: bytes = b""

    @property
    def timeout(self) -> float:
        """Seconds of the program's own time."""
        if self.is_reference:
            return max(REFERENCE_SECONDS, self.limits.timeout)
        reference = self.tests.reference_results
        return max(self.limits.timeout, REFERENCE_FACTOR * (reference.seconds if reference else 0.0))

    @property
    def longest(self) -> float:
        """Seconds after which a worker that has not answered will not do so."""
        runs = len(self.tests.cases) if self.tests.is_main else 1
        return runs * self.timeout * WALL_FACTOR + MAX_SILENCE

    def message(self, ticket: int, with_tests: bool) -> bytes:
        """The task as a worker reads it; without the tests if it has them from its last job."""
        memory = max(REFERENCE_MEMORY_MB, self.limits.memory_mb) if self.is_reference else self.limits.memory_mb
        body = marshal.dumps(
            {
                "ticket": ticket,
                "program": self.job.reference if self.is_reference or self.is_trial else self.job.program,
                "entry_point": self.job.entry_point,
                "strategy": self.tests.strategy,
                "names": self.tests.names,
                "classes": self.tests.classes,
                "modules": self.tests.modules,
                "expects_stop": "StopIteration" in self.tests.names_read,
                "setup": self.tests.setup if with_tests else None,
                "tests": self.tests.payload if with_tests else None,
                "nonce": self.nonce,
                "limits": {
                    "timeout": self.timeout,
                    "wall": self.timeout * WALL_FACTOR,
                    "memory": memory << 20,
                    "processes": self.limits.processes,
                    "open_files": self.limits.open_files,
                    "output_bytes": self.limits.output_bytes,
                },
            }
        )
        return LENGTH.pack(len(body)) + body


class WorkerProcess:
    """A worker process, its socket and its queue."""

    def __init__(self, layers: Iterable[str] = LAYERS) -> None:
        self.folder = tempfile.mkdtemp(prefix="sandbox-")
        os.chmod(self.folder, 0o711)  # programs may run as a user of their own
        self.layers: dict[str, str] = {}  # state of each, once the worker has started: '' or why it is not active
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the worker)
        self.sock, theirs = socket.socketpair()
        command = [sys.executable, "-S", "-s", "-P", "-W", "ignore", str(START_SCRIPT)]
        command += [str(theirs.fileno()), self.folder, ",".join(layers), os.pathsep.join(site.getsitepackages())]
        with theirs:
            self.process = subprocess.Popen(
                command,
                env=environment(self.scratch),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self.log,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        self.sock.setblocking(False)
        self.tasks: deque[tuple[int, Task]] = deque()  # with their tickets
        self.outbox = bytearray()
        self.inbox = bytearray()
        self.files: deque[int] = deque()
        self.last: tuple[PreparedTests, str] | None = None  # tests and strategy of the last task
        self.tickets = 0
        self.since = 0.0  # when the first task began, as ``time.monotonic`` tells

    @property
    def scratch(self) -> str:
        return os.path.join(self.folder, "box", "scratch")

    def assign(self, task: Task) -> None:
        """Queue a task and send what the socket takes of it."""
        self.tickets += 1
        task.nonce = os.urandom(16) if task.tests.strategy == "in_process" else b""
        if not self.tasks:
            self.since = time.monotonic()
        self.tasks.append((self.tickets, task))
        current = task.tests, task.tests.strategy
        self.outbox += task.message(self.tickets, with_tests=current != self.last)
        self.last = current
        with contextlib.suppress(OSError):  # a worker that has gone is noticed when its socket is read
            self.flush()

    def flush(self) -> None:
        """Send what the socket takes now; raises OSError if the worker has gone."""
        while self.outbox:
            try:
                sent = self.sock.send(self.outbox[: 1 << 20])
            except BlockingIOError:
                return
            del self.outbox[:sent]

    def replies(self) -> list[tuple[Task, list[Outcome], Report]]:
        """What has arrived, task by task; raises OSError or EOFError if the worker has gone."""
        while True:
            try:
                data, files, _, _ = socket.recv_fds(self.sock, 1 << 20, 8)
            except BlockingIOError:
                break
            self.files.extend(files)
            if not data:
                raise EOFError("the worker closed its socket")
            self.inbox += data
        found = []
        while len(self.inbox) >= LENGTH.size:
            (length,) = LENGTH.unpack_from(self.inbox)
            if len(self.inbox) < LENGTH.size + length:
                break
            body = bytes(self.inbox[LENGTH.size : LENGTH.size + length])
            del self.inbox[: LENGTH.size + length]
            ticket, outcomes, report = marshal.loads(body)  # written by the worker, which is trusted
            if ticket:
                found.append(self._reply(ticket, outcomes, report))
            else:
                (self.layers,) = outcomes
        return found

    def _reply(self, ticket: int, outcomes: list[dict], report: bytes | None) -> tuple[Task, list[Outcome], Report]:
        expected, task = self.tasks.popleft()
        if ticket != expected:
            raise EOFError(f"the worker answered {ticket} when {expected} was due")
        self.since = time.monotonic()
        if report is None:
            report = ReportFile(self.files.popleft())
        return task, [Outcome(**outcome) for outcome in outcomes], report

    def wake(self) -> None:
        """Continue the worker if a program, or anyone else, has stopped it."""
        if os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOHANG) is not None:
            self.process.send_signal(signal.SIGCONT)

    def is_overdue(self) -> bool:
        """Whether the time for any answer to its first task is over."""
        return bool(self.tasks) and time.monotonic() > self.since + self.tasks[0][1].longest

    def close(self) -> str:
        """End the process and remove its folder; return the end of its stderr."""
        self.sock.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(0.2)  # it cleans up its children and exits when its socket closes
        self.process.kill()
        self.process.wait()
        for descriptor in self.files:
            os.close(descriptor)
        shutil.rmtree(self.folder, ignore_errors=True)
        with self.log:
            self.log.seek(max(0, self.log.seek(0, os.SEEK_END) - LOG_BYTES))
            return self.log.read().decode("utf-8", "replace")


def layers_here() -> dict[str, str]:
    """The state of each layer of isolation on this machine: '' if it is active, else why it is not."""
    worker = WorkerProcess()
    try:
        while not worker.layers:
            select.select([worker.sock], [], [], MAX_SILENCE)
            worker.replies()
    finally:
        log = worker.close()
        if log:
            sys.stderr.write(log)
    return worker.layers


def environment(scratch: str) -> dict[str, str]:
    """The environment of programs: nothing of the caller's but the search path.

    Hashing has a fixed seed, so that a program which depends on the order of a set has one verdict.
    """
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": "/nonexistent",
        "TMPDIR": scratch,
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "1",
        "PYTHONUTF8": "1",
        "LD_BIND_NOW": "1",  # or each program's process resolves the C functions that it is the first to call
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }
