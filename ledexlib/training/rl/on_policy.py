"""On-policy programs: the fine-tuned model's own wrong programs, to learn repair from (``ppo_programs: own``).

The paper's prompts show wrong programs of the collection, which the base model wrote. What the trained model will be
asked to repair are its own, which fail less often and in other ways; so it writes new ones for the same problems, as
many and sampled as in the collection. With ``reward_references: solution`` the teacher explains and repairs them as it
did the collection's: an explanation can be rewarded for resembling only those of the same program.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ledexlib import repair
from ledexlib.models import solve_messages
from ledexlib.models.local import TransformersGenerator
from ledexlib.params import ParameterError, Params
from ledexlib.records import Problem, Trajectory
from ledexlib.runs import JsonLines, Progress, write_records

FOLDER = "on_policy"  # in the training's folder: trajectories.jsonl, and the caches of completions and verdicts


def _path(folder: Path) -> Path:
    return folder / FOLDER / "trajectories.jsonl"


def write_on_policy_programs(problems: Sequence[Problem], model: Path, p: Params, folder: Path) -> None:
    """Have the model write programs for the problems, in its chat; keep the wrong ones, once they all are there.

    With references of the same program the teacher explains and repairs them.
    """
    if _path(folder).exists():
        return
    caches, progress, name = folder / FOLDER, partial(Progress, folder), model.parent.name
    load = partial(TransformersGenerator, model, name=name)
    policy = repair.model_completions(p, caches, progress, name, load)
    verdicts = repair.VerdictCache(p, caches / "verdicts.jsonl", progress)
    wrong = repair.wrong_solutions(repair.draft_solutions(problems, p.n_solutions, solve_messages, policy, verdicts))
    refinements = []
    if p.reward_references == "solution":
        teacher, ask = repair.teacher_completions(p, caches, progress), repair.teacher_requests(p)
        refinements = repair.repair_solutions(wrong, problems, p.n_refinements, "explain", ask, teacher, verdicts)
    write_records(_path(folder), repair.assemble(wrong, refinements))


def copy_on_policy_programs(earlier: Path, folder: Path) -> None:
    """Take over programs that another training's folder has, written with the same model, problems and settings."""
    if _path(earlier).exists() and not _path(folder).exists():
        write_records(_path(folder), JsonLines(_path(earlier), Trajectory, complete=True))


def read_on_policy_programs(folder: Path) -> list[Trajectory]:
    """The different wrong programs that were written in the folder, each with the teacher's refinements, if any."""
    if not _path(folder).exists():
        raise ParameterError(f"ppo_programs: own needs {_path(folder)}: run the first cells of 05_ppo")
    return JsonLines(_path(folder), Trajectory, complete=True).read()
