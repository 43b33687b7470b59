"""The fine-tuned model's own wrong programs, to learn repair from (``ppo_programs: own``).

The paper's prompts show wrong programs of the collection, which the base model wrote. What the trained model will be
asked to repair are its own, which fail less often and in other ways; so it writes new ones for the same problems, as
many and sampled as in the collection.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ledexlib import collect, prompts
from ledexlib.artifacts import JsonLines, Progress
from ledexlib.local import TransformersGenerator
from ledexlib.params import ParameterError
from ledexlib.records import Judged, Problem, Solution
from ledexlib.vocabulary import Params

SOLUTIONS, VERDICTS = "own_solutions.jsonl", "own_verdicts.jsonl"


def write(problems: Sequence[Problem], model: Path, p: Params, folder: Path) -> None:
    """Sample the model's programs for the problems, in its chat, and run them; what is there already stays."""

    def progress(total: int, label: str, done: int = 0) -> Progress:
        return Progress(folder, total, label, done)

    solutions, verdicts = JsonLines(folder / SOLUTIONS, Solution), JsonLines(folder / VERDICTS, Judged)
    for lines in (solutions, verdicts):
        lines.append(())  # cuts off what a kill tore
    if len(solutions) < p.n_solutions * len(problems):  # else the model need not be loaded
        generator = TransformersGenerator(model, name=model.parent.name)
        collect.sample_solutions(problems, prompts.solve_messages, generator, p, solutions, progress)
    collect.judge(solutions.read(), problems, p, verdicts, progress)


def take_over(earlier: Path, folder: Path) -> None:
    """Copy the programs and verdicts of a folder that ``write`` filled with the same model, problems and settings."""
    for name, record in ((SOLUTIONS, Solution), (VERDICTS, Judged)):
        JsonLines(folder / name, record).append(JsonLines(earlier / name, record))


def read(folder: Path) -> list[Solution]:
    """The different wrong programs that ``write`` left in the folder, with their verdicts."""
    if not (folder / VERDICTS).exists():
        raise ParameterError(f"ppo_programs: own needs {folder / VERDICTS}: run the first cells of 05_ppo")
    solutions = JsonLines(folder / SOLUTIONS, Solution, complete=True).read()
    verdicts = JsonLines(folder / VERDICTS, Judged, complete=True).read()
    return collect.wrong_ones(collect.unique(collect.with_verdicts(solutions, verdicts)))
