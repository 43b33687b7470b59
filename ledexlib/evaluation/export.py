"""Trajectories to disk, in EvalPlus's format too, and some of them to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ledexlib.evaluation.metrics import WAYS, Evaluated, problem_of
from ledexlib.evaluation.tables import paper_stage
from ledexlib.records import Record, Refinement, Solution, Trajectory
from ledexlib.runs import write_records


class EvalPlusSample(Record):
    """A program as EvalPlus reads it."""

    task_id: str
    solution: str


def write_trajectories(folder: Path, by_benchmark: Mapping[str, Sequence[Trajectory]]) -> None:
    """Write a model's trajectories by benchmark, and under ``evalplus`` the programs of each score."""
    for name, found in by_benchmark.items():
        write_records(folder / f"{name}.jsonl", found)
        for score in ("initial", *WAYS):
            samples = (EvalPlusSample(task_id=t.solution.task_id, solution=_program(t, score)) for t in found)
            write_records(folder / "evalplus" / f"{name}-{score}.jsonl", samples)


def _program(trajectory: Trajectory, score: str) -> str:
    """The program that counts in a score: a repair, if there is one, in the place of a program that fails."""
    repair = None if score == "initial" else trajectory.repair(score)
    return repair.code if repair and trajectory.solution.needs_repair else trajectory.solution.code


def example_repairs(found: Evaluated, n: int) -> list[tuple[Solution, Refinement]]:
    """Repairs that pass, to read: of the last model, of different tasks, explained ones where there are some."""
    label, by_benchmark = list(found.items())[-1]
    for way in reversed(WAYS):
        picked: dict[str, tuple[Solution, Refinement]] = {}
        for trajectory in (t for trajectories in by_benchmark.values() for t in trajectories):
            solution, repair = trajectory.solution, trajectory.repair(way)
            if solution.needs_repair and repair and repair.verdict.passed:
                picked.setdefault(problem_of(solution.task_id), (solution, repair))
        if picked:
            model = paper_stage(label)
            shown = list(picked.values())[:: max(1, len(picked) // max(1, n))][:n]
            return [(s.model_copy(update={"model": model}), r.model_copy(update={"teacher": model})) for s, r in shown]
    return []
