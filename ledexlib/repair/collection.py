"""Collection (paper section 1): who drafts, who repairs, and how they are asked."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from ledexlib.models import (
    FEW_SHOT_REPAIRS,
    Generator,
    Prompt,
    check_generator,
    few_shot_refinement,
    few_shot_solution,
    load_generator,
    teacher_messages,
)
from ledexlib.params import Params
from ledexlib.problems import solved_examples
from ledexlib.records import Problem, Sampling, Solution
from ledexlib.repair.completions import CompletionCache, in_order
from ledexlib.repair.loop import AskRepair, AskSolution
from ledexlib.runs import NewProgress


def model_completions(
    p: Params, folder: Path, progress: NewProgress, name: str | None = None, load: Callable[[], Generator] | None = None
) -> CompletionCache:
    """The model's completions, kept in ``folder``; ``name`` and ``load`` put another in the place of ``p.model``.

    Raises ParameterError for a model that cannot be loaded, before any work.
    """
    if load is None:
        check_generator("model", p)
        load = partial(load_generator, "model", p, folder / "model_requests.jsonl")
    sampling = Sampling(temperature=p.solution_temperature, top_p=p.top_p, max_tokens=p.solution_max_tokens)
    path, batching = folder / "model_completions.jsonl", in_order(p.prompts_per_batch)
    return CompletionCache(path, name or p.model, load, sampling, p.seed, batching, progress)


def teacher_completions(p: Params, folder: Path, progress: NewProgress) -> CompletionCache:
    """The teacher's completions, kept in ``folder``; raises ParameterError for one that cannot be loaded."""
    check_generator("teacher", p)
    load = partial(load_generator, "teacher", p, folder / "teacher_requests.jsonl")
    sampling = Sampling(temperature=p.refinement_temperature, top_p=p.top_p, max_tokens=p.refinement_max_tokens)
    path, batching = folder / "teacher_completions.jsonl", in_order(p.prompts_per_batch)
    return CompletionCache(path, p.teacher, load, sampling, p.seed, batching, progress)


def few_shot_drafts(p: Params) -> AskSolution:
    """How a base model is asked for a program: after the solved problems that the parameters name."""
    shots = solved_examples(p)
    return lambda problem: few_shot_solution(problem, shots)


def teacher_requests(p: Params) -> AskRepair:
    """How the teacher is asked to explain and repair a program: in a chat, or after worked repairs."""

    def ask(problem: Problem, wrong: Solution) -> Prompt:
        if p.teacher_style == "chat":
            return teacher_messages(problem, wrong.code, wrong.told)
        return few_shot_refinement(problem, wrong.code, wrong.told, FEW_SHOT_REPAIRS, explain=True)

    return ask
