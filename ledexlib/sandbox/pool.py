"""Workers and their jobs: who runs what, what happens when a worker dies, and in which order verdicts come.

Workers are started by exec, never by forking the caller, who may have loaded torch and threads. Each has at most two
jobs, one running and one waiting, so that none is idle while a verdict is formed. A worker gets jobs of the same
problem one after the other, as far as they are near, for what it learns from one serves the next. All input and output
here is non-blocking: no worker can hold up the others or the caller. A worker that dies, or is silent for longer than
its job can take, is replaced, and its job tried once more, then given up as ``infra``.
"""

from __future__ import annotations

import selectors
import signal
import time
from collections import deque
from collections.abc import Hashable, Iterable, Iterator
from typing import Any

from ledexlib.records import Verdict
from ledexlib.sandbox import judge
from ledexlib.sandbox.handle import Handle, Task
from ledexlib.sandbox.jobs import LAYERS, Job, Limits
from ledexlib.sandbox.judge import Outcome
from ledexlib.sandbox.reports import Report
from ledexlib.sandbox.suite import suite_of

QUEUED = 2  # jobs a worker has at most
WAITING = 256  # jobs that may wait for a reference to run, and verdicts for the consumer
AHEAD = 12  # jobs among which a worker that is busy looks for its next
LOOK = 2.0  # seconds without news after which the workers are looked at
TRIES = 2
BELIEVED = 0.9  # a time-out that used this share of its time on a processor needs no second run


class Pool:
    """Runs jobs on workers; see ``run``."""

    def __init__(self, workers: int, limits: Limits, layers: Iterable[str] = LAYERS) -> None:
        if workers < 1:
            raise ValueError(f"workers is {workers}: there must be at least 1")
        self.limits = limits
        self.layers = tuple(layers)
        self.ready: deque[Task] = deque()
        self.alone: deque[Task] = deque()
        self.parked: dict[int, list[Task]] = {}  # by the identity of the suite whose reference is running
        self.done: deque[tuple[Hashable, Verdict]] = deque()
        self.selector = selectors.DefaultSelector()
        self.workers: list[Handle] = []
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
            wanted = AHEAD if worker.tasks else 1
            if len(self.ready) < wanted and more and sum(map(len, self.parked.values())) < WAITING:
                job = next(source, None)
                more = job is not None
                if more:
                    self._admit(job)
                    continue
            if self.ready:
                worker.assign(self._next_of(worker))
            elif self.alone and not any(w.tasks for w in self.workers):
                worker.assign(self.alone.popleft())
                return more
            else:
                return more
        return more

    def _next_of(self, worker: Handle) -> Task:
        """The waiting task that is best for a worker: of its last problem, or of one that no other worker has."""
        suites = [other.suite[0] for other in self.workers if other is not worker and other.suite]
        own = worker.suite and worker.suite[0]
        near = range(min(AHEAD, len(self.ready)))
        place = next((i for i in near if self.ready[i].suite is own), None)
        if place is None:
            place = next((i for i in near if all(self.ready[i].suite is not suite for suite in suites)), 0)
        task = self.ready[place]
        del self.ready[place]
        return task

    def _free_worker(self) -> Handle | None:
        if len(self.workers) < self.size and all(worker.tasks for worker in self.workers):
            self.workers.append(self._start())
        least = min(self.workers, key=lambda worker: len(worker.tasks))
        running_alone = any(task.alone for worker in self.workers for _, task in worker.tasks)
        return least if len(least.tasks) < QUEUED and not running_alone else None

    def _start(self) -> Handle:
        worker = Handle(self.layers)
        self.selector.register(worker.sock, selectors.EVENT_READ, worker)
        return worker

    def _admit(self, job: Job) -> None:
        """Queue a job; if it needs its reference's results first, park it and queue the reference."""
        suite = suite_of(job)
        if suite.fault:
            self.done.append((job.id, judge.infra(suite, f"unusable tests: {suite.fault}")))
        elif suite.needs_reference and suite.expected is None:
            if id(suite) not in self.parked:
                self.parked[id(suite)] = []
                self.ready.appendleft(Task(job, suite, self.limits, is_reference=True))
            self.parked[id(suite)].append(Task(job, suite, self.limits))
        else:
            self.ready.append(Task(job, suite, self.limits))

    def _communicate(self) -> None:
        """Send and receive what can be; wake workers that were stopped, replace those that died or are overdue."""
        for worker in self.workers:
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if worker.outbox else 0)
            if wanted != self.selector.get_key(worker.sock).events:
                self.selector.modify(worker.sock, wanted, worker)
        events = self.selector.select(LOOK)
        for key, event in events:
            worker = key.data
            try:
                worker.flush()
                if event & selectors.EVENT_READ:
                    for reply in worker.replies():
                        self._settle(*reply, worker.scratch)
            except (OSError, EOFError) as error:
                self._replace(worker, f"{type(error).__name__}: {error}")
        for worker in () if events else list(self.workers):
            worker.wake()
            if worker.is_overdue():
                self._replace(worker, "no answer")

    def _settle(self, task: Task, outcomes: list[Outcome], report: Report, scratch: str) -> None:
        """Take a task's outcome: a verdict, a reference's results, or a run to be done again in another way."""
        last = outcomes[-1]
        if last.untransportable:
            task.suite.in_process = True
            self.ready.appendleft(task)
            return
        if last.timed_out and last.cpu < BELIEVED * task.timeout and not task.alone:
            task.alone = True
            self.alone.append(task)
            return
        if task.is_reference:
            task.suite.expected = judge.expectation(task.suite, outcomes, report, task.marker)
            self.ready.extend(self.parked.pop(id(task.suite)))
            return
        verdict = judge.verdict(task.suite, task.job.program, outcomes, report, task.marker, scratch)
        self.done.append((task.job.id, verdict))

    def _replace(self, worker: Handle, why: str) -> None:
        """Put a new worker in the place of one that died; its tasks are tried again, the first one not for ever."""
        self.selector.unregister(worker.sock)
        log = worker.close()
        tasks = [task for _, task in worker.tasks]
        self.workers[self.workers.index(worker)] = self._start()
        if not tasks:
            return
        first = tasks[0]
        first.tries += 1
        if worker.process.returncode == -signal.SIGXCPU and not first.is_reference:
            self.done.append((tasks.pop(0).job.id, judge.overdue(first.suite)))
        elif first.tries >= TRIES:
            self._give_up(tasks.pop(0), f"its worker died {TRIES} times ({why})\n{log}".rstrip())
        self.ready.extendleft(reversed(tasks))

    def _give_up(self, task: Task, why: str) -> None:
        if task.is_reference:
            waiting = self.parked.pop(id(task.suite))
            why = f"the reference could not be run: {why}"
        else:
            waiting = [task]
        for each in waiting:
            self.done.append((each.job.id, judge.infra(task.suite, why)))


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
