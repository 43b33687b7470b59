"""Attempts from the records of other models, to disk in EvalPlus's format, and some of them to read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ledexlib.repair.collection import NewProgress
from ledexlib.evaluation.edits import edits, size
from ledexlib.evaluation.cache import EvaluationError, Kept
from ledexlib.problems.recorded import read_recorded
from ledexlib.records import Attempt, Problem, Refinement, Repair, Sampling, Solution
from ledexlib.evaluation.metrics import WAYS, every, problem_of
from ledexlib.evaluation.tables import stage_of
from ledexlib.params.vocabulary import Params

Attempts = dict[str, list[Attempt]]  # by benchmark


def recorded(
    files: Sequence[Path], problems: Sequence[Problem], p: Params, folder: Path, progress: NewProgress
) -> dict[str, list[Attempt]]:
    """What models left behind, as the attempts of each at a benchmark: their first programs and their last repairs.

    A repair with an explanation counts as ``explain``, any other as ``refine``.
    """
    solutions, refinements = read_recorded(files, [problem.task_id for problem in problems])
    made_with = {"recorded": [str(path) for path in files], "timeout": p.timeout, "memory_mb": p.memory_mb}
    kept = Kept(folder, made_with, _nobody, p, progress)
    first = kept.verdicts(problems, [(s.task_id, s.code) for s in solutions], "verdicts on programs")
    last = {r.solution_id: r for r in sorted(refinements, key=lambda r: r.sampling.index)}
    final = kept.verdicts(problems, [(r.task_id, r.code) for r in last.values()], "verdicts on repairs")
    verdicts = dict(zip(last, final, strict=True))
    found: dict[str, list[Attempt]] = {}
    for solution, verdict in zip(solutions, first, strict=True):
        mine = found.setdefault(solution.model, [])
        repairs = {}
        if refinement := last.get(solution.id):
            repairs["explain" if refinement.explanation else "refine"] = Repair(
                explanation=refinement.explanation, code=refinement.code, verdict=verdicts[solution.id], tokens=0,
                finished=True, edited=size(edits(solution.code, refinement.code)),
            )  # fmt: skip
        mine.append(Attempt(
            id=solution.id, task_id=solution.task_id, index=sum(a.task_id == solution.task_id for a in mine),
            code=solution.code, verdict=verdict, fails=verdict.status not in ("passed", "infra"),
            feedback=verdict.feedback, tokens=0, finished=True, repairs=repairs,
        ))  # fmt: skip
    return found


def _nobody() -> None:
    raise EvaluationError("recorded attempts are not sampled")


def write_attempts(folder: Path, by_benchmark: Attempts) -> None:
    """Write the attempts, and the programs of each score in EvalPlus's format (``task_id`` and ``solution``)."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, found in by_benchmark.items():
        _write_lines(folder / f"{name}.jsonl", (attempt.model_dump_json() for attempt in found))
        programs = {"initial": lambda a: a.code}
        for way in WAYS:
            programs[way] = lambda a, way=way: a.repairs[way].code if a.fails and way in a.repairs else a.code
        for score, code in programs.items():
            rows = ({"task_id": attempt.task_id, "solution": code(attempt)} for attempt in found)
            _write_lines(folder / "evalplus" / f"{name}-{score}.jsonl", map(json.dumps, rows))


def examples(found: Mapping[str, Attempts], n: int) -> list[tuple[Solution, Refinement]]:
    """Repairs that pass, to read: of the last model, of different tasks, explained ones where there are some."""
    label, by_benchmark = list(found.items())[-1]
    failed = [attempt for attempt in every(by_benchmark) if attempt.fails]
    for way in reversed(WAYS):
        picked: dict[str, tuple[Attempt, Repair]] = {}
        for attempt in failed:
            repair = attempt.repairs.get(way)
            if repair and repair.verdict.passed:
                picked.setdefault(problem_of(attempt.task_id), (attempt, repair))
        if picked:
            shown = list(picked.values())[:: max(1, len(picked) // max(1, n))][:n]
            return [_pair(attempt, repair, stage_of(label)) for attempt, repair in shown]
    return []


def _pair(attempt: Attempt, repair: Repair, model: str) -> tuple[Solution, Refinement]:
    """The attempt and its repair as the records that `views.repair` shows."""
    about = {"task_id": attempt.task_id, "completion": "", "sampling": Sampling()}
    wrong = Solution(id=attempt.id, code=attempt.code, model=model, verdict=attempt.verdict, **about)
    return wrong, Refinement(
        id=attempt.id, solution_id=attempt.id, explanation=repair.explanation, code=repair.code, teacher=model,
        verdict=repair.verdict, **about,
    )  # fmt: skip


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(exist_ok=True)
    partial = path.with_name(f".{path.name}.new")
    partial.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    os.replace(partial, path)
