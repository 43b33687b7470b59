"""Workers and their jobs: who runs what, what happens when a worker dies, and in which order verdicts come.

Workers are started by exec, never by forking the caller, who may have loaded torch and threads. Each has at most two
jobs, one running and one waiting, so that none is idle while a verdict is formed. All input and output here is
non-blocking: no worker can hold up the others or the caller. A worker that dies, or is silent for longer than its job
can take, is replaced, and its job tried once more, then given up as ``infra``.
"""

from __future__ import annotations

import contextlib
import io
import marshal
import os
import selectors
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ledexlib.records import Verdict
from ledexlib.sandbox import judge
from ledexlib.sandbox.jobs import Job, Limits
from ledexlib.sandbox.judge import Outcome
from ledexlib.sandbox.suite import Suite, suite_of

SCRIPT = Path(__file__).with_name("worker.py")
LENGTH = struct.Struct("<Q")
QUEUED = 2  # jobs a worker has at most
WAITING = 256  # jobs that may wait for a reference to run, and verdicts for the consumer
PATIENCE = 60  # as in the worker: wall time allowed is so many times the timeout, if the machine is that busy
GRACE = 30.0  # seconds of silence beyond that before a worker is given up
LOOK = 2.0  # seconds without news after which the workers are looked at
TRIES = 2
REFERENCE_SECONDS = 120.0  # of a reference's own time for all its calls
REFERENCE_MEMORY_MB = 4096
SLOWER = 4  # a program may take so many times its reference's time, as in EvalPlus
BELIEVED = 0.9  # a time-out that used this share of its time on a processor needs no second run


@dataclass
class Task:
    """A job on its way, or the run of a reference (``is_reference``)."""

    job: Job
    suite: Suite
    limits: Limits
    is_reference: bool = False
    alone: bool = False
    tries: int = 0
    marker: bytes = b""

    @property
    def timeout(self) -> float:
        if self.is_reference:
            return max(REFERENCE_SECONDS, self.limits.timeout)
        reference = self.suite.expected.seconds if self.suite.expected else 0.0
        return max(self.limits.timeout, SLOWER * reference)

    @property
    def longest(self) -> float:
        """Seconds after which a worker that has not answered is not going to."""
        executions = len(self.suite.cases) if self.suite.is_main else 1
        return executions * self.timeout * PATIENCE + GRACE

    def message(self, ticket: int, with_suite: bool) -> bytes:
        """The task as a worker reads it; tests that it still has from its last job are left out."""
        memory = max(REFERENCE_MEMORY_MB, self.limits.memory_mb) if self.is_reference else self.limits.memory_mb
        body = marshal.dumps(
            {
                "ticket": ticket,
                "program": self.job.reference if self.is_reference else self.job.program,
                "entry_point": self.job.entry_point,
                "setup": self.suite.setup if with_suite else None,
                "suite": self.suite.payload if with_suite else None,
                "main": self.suite.is_main,
                "marker": self.marker,
                "limits": {
                    "timeout": self.timeout,
                    "memory": memory << 20,
                    "processes": self.limits.processes,
                    "open_files": self.limits.open_files,
                    "output_bytes": self.limits.output_bytes,
                },
            }
        )
        return LENGTH.pack(len(body)) + body


class Worker:
    """The caller's end of a worker process."""

    def __init__(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="ledex-")
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the worker)
        self.sock, theirs = socket.socketpair()
        command = [sys.executable, "-s", "-P", "-B", "-W", "ignore", str(SCRIPT), str(theirs.fileno()), self.folder]
        with theirs:
            self.process = subprocess.Popen(
                command,
                env=environment(),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self.log,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        self.sock.setblocking(False)
        self.tasks: deque[tuple[int, Task]] = deque()
        self.outbox = bytearray()
        self.inbox = bytearray()
        self.files: deque[int] = deque()
        self.suite: Suite | None = None
        self.tickets = 0
        self.since = 0.0  # when its first task's turn came

    @property
    def scratch(self) -> str:
        return os.path.join(self.folder, "scratch")

    def assign(self, task: Task) -> None:
        self.tickets += 1
        task.marker = os.urandom(16)
        if not self.tasks:
            self.since = time.monotonic()
        self.tasks.append((self.tickets, task))
        self.outbox += task.message(self.tickets, task.suite is not self.suite)
        self.suite = task.suite

    def flush(self) -> None:
        """Send what the socket takes now; raises OSError if the worker has gone."""
        while self.outbox:
            try:
                sent = self.sock.send(self.outbox[: 1 << 20])
            except BlockingIOError:
                return
            del self.outbox[:sent]

    def replies(self) -> list[tuple[Task, list[Outcome], BinaryIO]]:
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
            found.append(self._reply(body))
        return found

    def _reply(self, body: bytes) -> tuple[Task, list[Outcome], BinaryIO]:
        ticket, outcomes, report = marshal.loads(body)  # the worker's own word, which is trusted
        expected, task = self.tasks.popleft()
        if ticket != expected:
            raise EOFError(f"the worker answered {ticket} when {expected} was due")
        self.since = time.monotonic()
        stream = io.BytesIO(report) if report is not None else os.fdopen(self.files.popleft(), "rb")
        return task, [Outcome(**outcome) for outcome in outcomes], stream

    def is_stuck(self) -> bool:
        """Whether it has a task and will not answer: someone stopped it, or the time for any answer is over."""
        if not self.tasks:
            return False
        stopped = os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT)
        return stopped is not None or time.monotonic() > self.since + self.tasks[0][1].longest

    def close(self) -> str:
        """End the process and remove its folder; the end of what it wrote to stderr."""
        self.sock.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(0.2)  # it leaves by itself, clearing up its children, when its socket closes
        self.process.kill()
        self.process.wait()
        for descriptor in self.files:
            os.close(descriptor)
        shutil.rmtree(self.folder, ignore_errors=True)
        with self.log:
            self.log.seek(max(0, self.log.seek(0, os.SEEK_END) - 2000))
            return self.log.read().decode("utf-8", "replace")


def environment() -> dict[str, str]:
    """The environment of programs: nothing of the caller's but the search path.

    Hashing has a fixed seed, so that a program which depends on the order of a set has one verdict.
    """
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": "/nonexistent",
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "1",
        "PYTHONUTF8": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }


class Pool:
    """Runs jobs on workers; see ``run``."""

    def __init__(self, workers: int, limits: Limits) -> None:
        if workers < 1:
            raise ValueError(f"workers is {workers}: there must be at least 1")
        self.limits = limits
        self.ready: deque[Task] = deque()
        self.alone: deque[Task] = deque()
        self.parked: dict[int, list[Task]] = {}  # by the identity of the suite whose reference is running
        self.done: deque[tuple[Hashable, Verdict]] = deque()
        self.selector = selectors.DefaultSelector()
        self.workers: list[Worker] = []
        self.size = workers

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: Any) -> None:
        for worker in self.workers:
            worker.close()
        self.selector.close()

    def verdicts(self, jobs: Iterable[Job]) -> Iterator[tuple[Hashable, Verdict]]:
        source = iter(jobs)
        more = True
        while True:
            more = self._feed(source, more)
            if not self.done:
                if not more and not self._busy():
                    return
                self._communicate()
            paused = time.monotonic()
            while self.done:
                yield self.done.popleft()
            for worker in self.workers:  # the time in which the consumer held us is not the workers'
                worker.since += time.monotonic() - paused

    def _busy(self) -> bool:
        return bool(self.ready or self.alone or self.parked or any(worker.tasks for worker in self.workers))

    def _feed(self, source: Iterator[Job], more: bool) -> bool:
        """Give every worker that has room a task; whether the source may have more jobs."""
        while len(self.done) < WAITING:
            worker = self._free_worker()
            if worker is None:
                return more
            if not self.ready and more and sum(map(len, self.parked.values())) < WAITING:
                job = next(source, None)
                more = job is not None
                if more:
                    self._admit(job)
                    continue
            if self.ready:
                worker.assign(self.ready.popleft())
            elif not more and self.alone and not self.parked and not any(w.tasks for w in self.workers):
                worker.assign(self.alone.popleft())
                return more
            else:
                return more
        return more

    def _free_worker(self) -> Worker | None:
        if len(self.workers) < self.size and all(worker.tasks for worker in self.workers):
            self.workers.append(self._start())
        least = min(self.workers, key=lambda worker: len(worker.tasks))
        running_alone = any(task.alone for worker in self.workers for _, task in worker.tasks)
        return least if len(least.tasks) < QUEUED and not running_alone else None

    def _start(self) -> Worker:
        worker = Worker()
        self.selector.register(worker.sock, selectors.EVENT_READ, worker)
        return worker

    def _admit(self, job: Job) -> None:
        """Queue a job; if it needs its reference's results first, park it and queue the reference."""
        suite = suite_of(job)
        if suite.fault:
            self.done.append((job.id, judge.infra(len(suite.cases), f"unusable tests: {suite.fault}")))
        elif suite.needs_reference and suite.expected is None:
            if id(suite) not in self.parked:
                self.parked[id(suite)] = []
                self.ready.appendleft(Task(job, suite, self.limits, is_reference=True))
            self.parked[id(suite)].append(Task(job, suite, self.limits))
        else:
            self.ready.append(Task(job, suite, self.limits))

    def _communicate(self) -> None:
        """Send and receive what can be; replace workers that have died, or stopped, or are overdue."""
        for worker in self.workers:
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if worker.outbox else 0)
            self.selector.modify(worker.sock, wanted, worker)
        events = self.selector.select(LOOK)
        for key, event in events:
            worker = key.data
            try:
                if event & selectors.EVENT_WRITE:
                    worker.flush()
                if event & selectors.EVENT_READ:
                    for reply in worker.replies():
                        self._settle(*reply, worker.scratch)
            except (OSError, EOFError) as error:
                self._replace(worker, f"{type(error).__name__}: {error}")
        for worker in () if events else list(self.workers):
            if worker.is_stuck():
                self._replace(worker, "it was stopped, or gave no answer")

    def _settle(self, task: Task, outcomes: list[Outcome], report: BinaryIO, scratch: str) -> None:
        """Take a task's outcome: a verdict, a reference's results, or a time-out to try again alone."""
        if task.is_reference:
            task.suite.expected = judge.expectation(task.suite, outcomes, report, task.marker)
            self.ready.extend(self.parked.pop(id(task.suite)))
            return
        with report:
            last = outcomes[-1]
            if last.timed_out and last.cpu < BELIEVED * task.timeout and not task.alone:
                task.alone = True
                self.alone.append(task)
                return
            verdict = judge.verdict(task.suite, task.job.program, outcomes, report, task.marker, scratch)
        self.done.append((task.job.id, verdict))

    def _replace(self, worker: Worker, why: str) -> None:
        """Put a new worker in the place of one that died; its tasks are tried again, the first one not for ever."""
        self.selector.unregister(worker.sock)
        log = worker.close()
        tasks = [task for _, task in worker.tasks]
        self.workers[self.workers.index(worker)] = self._start()
        if not tasks:
            return
        first = tasks[0]
        first.tries += 1
        if first.tries >= TRIES:
            self._give_up(tasks.pop(0), f"its worker died {TRIES} times ({why})\n{log}".rstrip())
        self.ready.extendleft(reversed(tasks))

    def _give_up(self, task: Task, why: str) -> None:
        if task.is_reference:
            waiting = self.parked.pop(id(task.suite))
            why = f"the reference could not be run: {why}"
        else:
            waiting = [task]
        for each in waiting:
            self.done.append((each.job.id, judge.infra(len(task.suite.cases), why)))


def run(jobs: Iterable[Job], workers: int = 2, limits: Limits | None = None) -> Iterator[tuple[Hashable, Verdict]]:
    """Run programs against their tests; yields each job's id with its verdict, as they finish.

    ``jobs`` is read as workers become free, so it may be long or lazy. Closing the iterator ends the workers. Raises
    ValueError for ``workers`` under 1; what is wrong with a program or a problem is said in its verdict.
    """
    with Pool(workers, limits or Limits()) as pool:
        yield from pool.verdicts(jobs)


def run_one(job: Job, limits: Limits | None = None) -> Verdict:
    """The verdict on one program. Starts a worker for it: use ``run`` for more than a few."""
    ((_, verdict),) = run([job], workers=1, limits=limits)
    return verdict
