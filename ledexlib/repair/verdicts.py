"""The cache of verdicts: a program runs once against a problem's tests."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path

from ledexlib.params import Params
from ledexlib.problems import verify_programs
from ledexlib.records import Problem, Record, Verdict, content_id
from ledexlib.runs import JsonLines, NewProgress
from ledexlib.sandbox import Limits

SAVE_SECONDS = 1.0  # verdicts are cheap: they are saved together


class CachedVerdict(Record):
    """The verdict on a program, named by the content of the program and of the problem with its tests."""

    id: str
    verdict: Verdict


def program_limits(p: Params) -> Limits:
    """What the parameters allow a program."""
    return Limits(timeout=p.timeout, memory_mb=p.memory_mb)


class VerdictCache:
    """Verdicts on programs, in the JSON-lines file ``path`` or in memory alone.

    In memory ``infra`` is not remembered: such a program is tried again. On disk it is, so that a killed and resumed
    run ends with the records of an undisturbed one.
    """

    def __init__(self, p: Params, path: Path | None = None, progress: NewProgress | None = None) -> None:
        self._p, self._progress = p, progress
        self._lines = JsonLines(path, CachedVerdict) if path else None
        if self._lines is not None:
            self._lines.append(())  # cuts off what a kill tore
        self._known = {cached.id: cached.verdict for cached in self._lines or ()}
        self._names: dict[int, tuple[Problem, str]] = {}  # of problems, by identity; hashing large tests takes time

    def __call__(
        self, problems: Iterable[Problem], programs: Sequence[tuple[str, str]], label: str | None = None
    ) -> list[Verdict]:
        """The verdict on each program (task id, code), run if it is not known; progress is shown if it has a label."""
        by_task = {problem.task_id: problem for problem in problems}
        names = [content_id(self._name(by_task[task_id]), code) for task_id, code in programs]
        new = {
            name: (name, by_task[task_id], code)
            for name, (task_id, code) in zip(names, programs, strict=True)
            if name not in self._known
        }
        found = self._run(list(new.values()), label, len(set(names)) - len(new)) if new else {}
        return [found[name] if name in found else self._known[name] for name in names]

    def _run(self, items: Sequence[tuple[str, Problem, str]], label: str | None, known: int) -> dict[str, Verdict]:
        """Run programs by name, beside which so many are known, and remember their verdicts."""
        found: dict[str, Verdict] = {}
        saved, unsaved = time.monotonic(), []
        shown = self._progress if label else None
        with shown(known + len(items), label, known) if shown else nullcontext() as bar:
            for name, verdict in verify_programs(items, self._p.workers, program_limits(self._p)):
                found[name] = verdict
                unsaved.append(CachedVerdict(id=name, verdict=verdict))
                if bar is not None:
                    bar.advance()
                if self._lines is not None and (len(found) == len(items) or time.monotonic() - saved > SAVE_SECONDS):
                    self._lines.append(unsaved)
                    saved, unsaved = time.monotonic(), []
        self._known |= {name: v for name, v in found.items() if self._lines is not None or v.status != "infra"}
        return found

    def _name(self, problem: Problem) -> str:
        if id(problem) not in self._names:
            self._names[id(problem)] = (problem, content_id(problem))
        return self._names[id(problem)][1]
