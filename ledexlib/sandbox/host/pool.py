"""The pool: assigns jobs to workers, replaces workers that die, and yields verdicts as they come.

Workers are started by exec, never by forking the caller, who may have loaded torch and threads. Each has at most two
tasks, one running and one queued, so that none is idle while a verdict is formed. A worker gets jobs of the same
problem in a row, as far as they are near, for what it learns from one serves the next. All input and output is
non-blocking: no worker can delay the others or the caller. A worker that dies, or is silent for longer than its task
can take, is replaced; its task is tried once more, then given up as ``infra``.
"""

from __future__ import annotations

import selectors
import signal
import time
from collections import deque
from collections.abc import Hashable, Iterable, Iterator
from typing import Any

from ..types import Verdict
from .jobs import LAYERS, Job, Limits
from .outcomes import Outcome
from .preparation import PreparedTests, prepared_tests
from .reports import Report
from .verdicts import infra_verdict, results_of_reference, timeout_in_test_code, verdict_of
from .worker_process import Task, WorkerProcess

TASKS_PER_WORKER = 2  # at most
MAX_WAITING = 256  # jobs that wait for a reference to run, and verdicts that wait for the consumer
LOOKAHEAD = 12  # jobs among which a busy worker's next is chosen
CHECK_SECONDS = 2.0  # without news, after which the workers are checked
MAX_ATTEMPTS = 2
BUSY_SHARE = 0.9  # a time-out that used this share of its time on a processor is not tried again


class Pool:
    """Runs jobs on workers; see ``run``."""

    def __init__(self, workers: int, limits: Limits, layers: Iterable[str] = LAYERS) -> None:
        if workers < 1:
            raise ValueError(f"workers is {workers}: there must be at least 1")
        self.limits = limits
        self.layers = tuple(layers)
        self.ready: deque[Task] = deque()
        self.alone: deque[Task] = deque()
        self.parked: dict[int, list[Task]] = {}  # by the id of the tests whose reference is running
        self.done: deque[tuple[Hashable, Verdict]] = deque()
        self.selector = selectors.DefaultSelector()
        self.workers: list[WorkerProcess] = []
        self.size = workers

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: Any) -> None:
        for worker in self.workers:
            worker.close()
        self.selector.close()

    def verdicts(self, jobs: Iterable[Job]) -> Iterator[tuple[Hashable, Verdict]]:
        """As ``run``, on this pool's workers, which stay for the next call."""
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
            for worker in self.workers:  # the time that the consumer took is not the workers'
                worker.since += time.monotonic() - paused

    def _busy(self) -> bool:
        return bool(self.ready or self.alone or self.parked or any(worker.tasks for worker in self.workers))

    def _feed(self, source: Iterator[Job], more: bool) -> bool:
        """Assign tasks while a worker has room; return whether the source may have more jobs."""
        while len(self.done) < MAX_WAITING:
            worker = self._free_worker()
            if worker is None:
                return more
            wanted = LOOKAHEAD if worker.tasks else 1
            if len(self.ready) < wanted and more and sum(map(len, self.parked.values())) < MAX_WAITING:
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

    def _next_of(self, worker: WorkerProcess) -> Task:
        """Choose a task for a worker: of its last problem, else of one that no other worker has."""
        others = [other.last[0] for other in self.workers if other is not worker and other.last]
        own = worker.last and worker.last[0]
        near = range(min(LOOKAHEAD, len(self.ready)))
        place = next((i for i in near if self.ready[i].tests is own), None)
        if place is None:
            place = next((i for i in near if all(self.ready[i].tests is not tests for tests in others)), 0)
        task = self.ready[place]
        del self.ready[place]
        return task

    def _free_worker(self) -> WorkerProcess | None:
        if len(self.workers) < self.size and all(worker.tasks for worker in self.workers):
            self.workers.append(self._start())
        least = min(self.workers, key=lambda worker: len(worker.tasks))
        running_alone = any(task.alone for worker in self.workers for _, task in worker.tasks)
        return least if len(least.tasks) < TASKS_PER_WORKER and not running_alone else None

    def _start(self) -> WorkerProcess:
        worker = WorkerProcess(self.layers)
        self.selector.register(worker.sock, selectors.EVENT_READ, worker)
        return worker

    def _admit(self, job: Job) -> None:
        """Queue a job; if it needs its reference's results first, park it and queue the reference."""
        tests = prepared_tests(job)
        if tests.fault:
            self.done.append((job.id, infra_verdict(tests, f"unusable tests: {tests.fault}")))
        elif tests.needs_reference and tests.reference_results is None:
            if id(tests) not in self.parked:
                self.parked[id(tests)] = []
                self.ready.appendleft(Task(job, tests, self.limits, is_reference=True))
            self.parked[id(tests)].append(Task(job, tests, self.limits))
        else:
            self._enqueue(Task(job, tests, self.limits))

    def _enqueue(self, task: Task) -> None:
        """Queue a task; if it is not known where its tests can run, park it and queue a trial of the reference."""
        if not task.tests.is_undecided:
            self.ready.append(task)
            return
        if id(task.tests) not in self.parked:
            self.parked[id(task.tests)] = []
            self.ready.appendleft(Task(task.job, task.tests, self.limits, is_trial=True))
        self.parked[id(task.tests)].append(task)

    def _communicate(self) -> None:
        """Send and receive what is possible; continue stopped workers, replace those that died or are overdue."""
        for worker in self.workers:
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if worker.outbox else 0)
            if wanted != self.selector.get_key(worker.sock).events:
                self.selector.modify(worker.sock, wanted, worker)
        events = self.selector.select(CHECK_SECONDS)
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
        """Turn a task's outcome into a verdict or a reference's results, or queue the task again to run another way."""
        last, tests = outcomes[-1], task.tests
        if last.untransportable:
            if task.job.isolation == "auto":
                tests.in_process = True
                self.ready.appendleft(task)
            else:
                why = "the tests pass what cannot be sent to another process, and isolation is 'proxy'"
                self.done.append((task.job.id, infra_verdict(tests, why)))
            return
        if last.timed_out and not last.exact and last.cpu < BUSY_SHARE * task.timeout and not task.alone:
            task.alone = True
            self.alone.append(task)
            return
        if task.is_reference:
            tests.reference_results = results_of_reference(tests, outcomes, report)
            self._release(tests)
            return
        if task.is_trial:
            verdict = verdict_of(tests, task.job.reference, outcomes, report, task.nonce, scratch)
            self._settle_trial(task, verdict.passed)
            return
        verdict = verdict_of(task.tests, task.job.program, outcomes, report, task.nonce, scratch)
        self.done.append((task.job.id, verdict))

    def _settle_trial(self, task: Task, passed: bool) -> None:
        """Tests that the reference passes only in its own process run there; the others run through proxies."""
        tests = task.tests
        if not passed and not tests.in_process:
            tests.in_process = True
            self.ready.appendleft(task)
            return
        tests.in_process, tests.is_undecided = passed and tests.in_process, False
        self._release(tests)

    def _release(self, tests: PreparedTests) -> None:
        for task in self.parked.pop(id(tests)):
            self._enqueue(task)

    def _replace(self, worker: WorkerProcess, why: str) -> None:
        """Replace a worker that died; its tasks are tried again, the first one at most MAX_ATTEMPTS times."""
        self.selector.unregister(worker.sock)
        log = worker.close()
        tasks = [task for _, task in worker.tasks]
        self.workers[self.workers.index(worker)] = self._start()
        if not tasks:
            return
        first = tasks[0]
        first.attempts += 1
        if worker.process.returncode == -signal.SIGXCPU and not (first.is_reference or first.is_trial):
            self.done.append((tasks.pop(0).job.id, timeout_in_test_code(first.tests)))
        elif first.attempts >= MAX_ATTEMPTS:
            self._give_up(tasks.pop(0), f"its worker died {MAX_ATTEMPTS} times ({why})\n{log}".rstrip())
        self.ready.extendleft(reversed(tasks))

    def _give_up(self, task: Task, why: str) -> None:
        if task.is_reference or task.is_trial:
            waiting = self.parked.pop(id(task.tests))
            why = f"the reference could not be run: {why}"
        else:
            waiting = [task]
        for each in waiting:
            self.done.append((each.job.id, infra_verdict(task.tests, why)))


def run(jobs: Iterable[Job], workers: int = 2, limits: Limits | None = None) -> Iterator[tuple[Hashable, Verdict]]:
    """Run programs against their tests; yields each job's id with its verdict, as they finish.

    ``jobs`` is read as workers become free, so it may be long or lazy. ``workers`` is the number of worker processes;
    closing the iterator ends them. Raises ValueError for ``workers`` under 1; whatever is wrong with a program or a
    problem is in its verdict.
    """
    with Pool(workers, limits or Limits()) as pool:
        yield from pool.verdicts(jobs)


def run_one(job: Job, limits: Limits | None = None) -> Verdict:
    """Return the verdict on one program. Starts a worker for it: use ``run`` for more than a few."""
    ((_, verdict),) = run([job], workers=1, limits=limits)
    return verdict
