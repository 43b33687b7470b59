"""The fine-tuned model's own wrong programs, to learn repair from (``ppo_programs: own``).

The paper's prompts show wrong programs of the collection, which the base model wrote. What the trained model will be
asked to repair are its own, which fail less often and in other ways; so it writes new ones for the same problems, as
many and sampled as in the collection. With ``reward_references: solution`` the teacher explains and repairs them as it
did the collection's: an explanation can be rewarded for resembling only those of the same program.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ledexlib.repair import collection as collect
from ledexlib.models import prompts
from ledexlib.repair import trajectories
from ledexlib.runs.storage import JsonLines
from ledexlib.runs.progress import Progress
from ledexlib.models.interface import load_generator
from ledexlib.models.local.generator import TransformersGenerator
from ledexlib.params.layers import ParameterError
from ledexlib.records import Judged, Problem, Refinement, Solution, Trajectory
from ledexlib.params.vocabulary import Params

FILES = {  # in the training's folder
    "own_solutions.jsonl": Solution, "own_verdicts.jsonl": Judged,
    "own_refinements.jsonl": Refinement, "own_refinement_verdicts.jsonl": Judged,
}  # fmt: skip
SOLUTIONS, VERDICTS, REFINEMENTS, REFINEMENT_VERDICTS = FILES


def write(problems: Sequence[Problem], model: Path, p: Params, folder: Path) -> None:
    """Sample the model's programs for the problems, in its chat, and run them; what is there already stays.

    With references of the same program, have the teacher explain and repair the wrong ones, and run that.
    """

    def progress(total: int, label: str, done: int = 0) -> Progress:
        return Progress(folder, total, label, done)

    found = {name: JsonLines(folder / name, record) for name, record in FILES.items()}
    for lines in found.values():
        lines.append(())  # cuts off what a kill tore
    solutions, refinements = found[SOLUTIONS], found[REFINEMENTS]
    if len(solutions) < p.n_solutions * len(problems):  # else the model need not be loaded
        generator = TransformersGenerator(model, name=model.parent.name)
        collect.sample_solutions(problems, prompts.solve_messages, generator, p, solutions, progress)
    collect.judge(solutions.read(), problems, p, found[VERDICTS], progress)
    if p.reward_references == "solution":
        wrong = _wrong(folder)
        if len(refinements) < p.n_refinements * len(wrong):
            teacher = load_generator("teacher", p, folder / "own_teacher_requests.jsonl")
            collect.ask_teacher(wrong, problems, teacher, p, refinements, progress)
        collect.judge(refinements.read(), problems, p, found[REFINEMENT_VERDICTS], progress)


def take_over(earlier: Path, folder: Path) -> None:
    """Copy the records of a folder that ``write`` filled with the same model, problems and settings."""
    for name, record in FILES.items():
        JsonLines(folder / name, record).append(JsonLines(earlier / name, record))


def read(folder: Path) -> list[Trajectory]:
    """The different wrong programs that ``write`` left in the folder, each with the teacher's refinements, if any."""
    if not (folder / VERDICTS).exists():
        raise ParameterError(f"ppo_programs: own needs {folder / VERDICTS}: run the first cells of 05_ppo")
    return trajectories.assemble(_wrong(folder), _judged(folder, REFINEMENTS, REFINEMENT_VERDICTS))


def _wrong(folder: Path) -> list[Solution]:
    return collect.wrong_ones(collect.unique(_judged(folder, SOLUTIONS, VERDICTS)))


def _judged(folder: Path, programs: str, verdicts: str) -> list:
    """Programs with their verdicts; none if none were made."""
    if not (folder / programs).exists():
        return []
    records = [JsonLines(folder / name, FILES[name], complete=True).read() for name in (programs, verdicts)]
    return collect.with_verdicts(*records)
