"""Evaluation (paper section 4): a model drafts programs, repairs those that fail, and the repairs are run.

Every failing program gets one repair asked for directly (``refine``) and one after an explanation (``explain``). The
loop and the caches that it resumes from are `ledexlib.repair`'s; what follows from trajectories is in `metrics`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ledexlib import models, repair
from ledexlib.evaluation.cache import (
    EvaluatedModel,
    EvaluationCache,
    Style,
    cache_folder,
    lock_folder,
    model_label,
    same_settings,
)
from ledexlib.evaluation.edits import edit_size, line_edits, needed_edits
from ledexlib.evaluation.metrics import WAYS
from ledexlib.params import ParameterError, Params, resolve
from ledexlib.problems import (
    ProblemError,
    WorkedRepair,
    check_benchmark,
    check_solved_examples,
    load_problems,
    solved_examples,
    with_public_tests,
    worked_repairs,
)
from ledexlib.records import Problem, Refinement, Solution, Trajectory, Way, content_id
from ledexlib.runs import STAGE_NAME, Needed, NewProgress, Stage, run_folder

ByBenchmark = dict[str, list[Trajectory]]


@dataclass(frozen=True)
class EvaluationSet:
    """A benchmark to evaluate on, with what base models are shown.

    ``visible`` are the problems with the tests whose failures a model is shown, ``shots`` solved problems, ``repairs``
    worked repairs.
    """

    name: str
    problems: list[Problem]
    visible: list[Problem]
    shots: list[Problem]
    repairs: Sequence[WorkedRepair]


# Which models, on what


def evaluated_models(p: Params, stages: Mapping[str, Needed]) -> list[EvaluatedModel]:
    """The models that ``evaluate_models`` names: the base model, those that ``stages`` left, checkpoints.

    A tuned model is asked in the chat it was tuned on, the base model with examples. None where attempts of other
    models are evaluated (``recorded``). Raises ParameterError or ProblemError as `check_evaluation` does.
    """
    check_evaluation(p)
    found = []
    for name in p.evaluate_models if not p.recorded else ():
        if name == "base":
            found.append(EvaluatedModel("base", p.model, "few_shot"))
        elif name in stages:
            found.append(EvaluatedModel(name, str(stages[name].path("model")), "chat"))
        else:
            found.append(EvaluatedModel(model_label(name), name, "chat"))
    return found


def load_evaluation_sets(p: Params, shown_to: Iterable[EvaluatedModel] = ()) -> list[EvaluationSet]:
    """The benchmarks that ``evaluate_benchmarks`` names, with examples if one of the models is a base model.

    Raises ProblemError for a benchmark, a split or a file that is not there.
    """
    few_shot = any(model.style == "few_shot" for model in shown_to)
    return [_load_set(entry, p, few_shot) for entry in p.evaluate_benchmarks]


def _load_set(entry: str, p: Params, few_shot: bool) -> EvaluationSet:
    tested = visible = load_problems(entry, p.evaluate_split)[: p.evaluate_max_problems]
    if p.feedback_from == "public":
        visible = with_public_tests(tested, p.workers, repair.program_limits(p))
    shots = solved_examples(p, entry) if few_shot else []
    repairs = (worked_repairs(entry) or models.FEW_SHOT_REPAIRS)[: p.n_repair_shots] if few_shot else ()
    return EvaluationSet(entry.partition("=")[0], tested, visible, shots, repairs)


def check_evaluation(p: Params) -> None:
    """Refuse, without any work, models and benchmarks that cannot be evaluated: ParameterError or ProblemError."""
    check_evaluation_sets(p, "base" in p.evaluate_models)
    if p.recorded:
        return
    if not p.evaluate_models:
        raise ParameterError("evaluate_models is empty: name base, a stage such as 04_sft, or a checkpoint folder")
    if len({model_label(name) for name in p.evaluate_models}) < len(p.evaluate_models):
        raise ParameterError(f"evaluate_models = {p.evaluate_models}: a model is listed twice")
    for name in p.evaluate_models:
        if name == "base":
            models.check_generator("model", p)
        elif not STAGE_NAME.match(name):
            models.check_checkpoint(name, "evaluate_models")


def check_evaluation_sets(p: Params, few_shot: bool) -> None:
    """Refuse benchmarks, splits and recorded files that are not there, and with ``few_shot`` missing examples."""
    names = [entry.partition("=")[0] for entry in p.evaluate_benchmarks]
    if len(set(names)) < max(1, len(names)):
        raise ParameterError(f"evaluate_benchmarks = {p.evaluate_benchmarks}: name at least one, and each once")
    for entry in p.evaluate_benchmarks:
        check_benchmark(entry, p.evaluate_split)
        if few_shot and not p.recorded:
            check_solved_examples(p, entry)
    if p.recorded and len(names) != 1:
        raise ParameterError(f"evaluate_benchmarks = {p.evaluate_benchmarks}: recorded attempts are of one of them")
    if missing := [file for file in p.recorded if not resolve(file).exists()]:
        raise ProblemError(f"recorded: {resolve(missing[0])}: no such file")


# How a model is asked


def solution_prompt(problem: Problem, shown: EvaluationSet, style: Style) -> models.Prompt:
    """How a model is asked for a program."""
    return models.solve_messages(problem) if style == "chat" else models.few_shot_solution(problem, shown.shots)


def repair_prompt(problem: Problem, wrong: Solution, way: Way, shown: EvaluationSet, style: Style) -> models.Prompt:
    """How a model is asked to repair its program."""
    explain = way == "explain"
    if style == "chat":
        return models.refine_messages(problem, wrong.code, wrong.told, explain)
    return models.few_shot_refinement(problem, wrong.code, wrong.told, shown.repairs, explain)


# The loop


def evaluate_model(
    model: EvaluatedModel, sets: Sequence[EvaluationSet], p: Params, folder: Path, progress: NewProgress
) -> ByBenchmark:
    """A model's trajectories on each benchmark; ``folder`` keeps its completions and verdicts for the next time.

    Raises EvaluationError if the folder was made with other settings, or is in use.
    """
    with lock_folder(folder):
        cache = EvaluationCache(folder, model, p, progress)
        return {one.name: _trajectories(one, model.style, cache, p) for one in sets}


def _trajectories(shown: EvaluationSet, style: Style, cache: EvaluationCache, p: Params) -> list[Trajectory]:
    """Draft → verdict → feedback → repair → verdict, in the order of problems and samples."""
    completions, verdicts = cache.completions, cache.verdicts
    ask = partial(solution_prompt, shown=shown, style=style)
    drafts = repair.draft_solutions(shown.problems, p.n_samples, ask, completions, verdicts, f"{shown.name} programs")
    drafts = repair.feedback_on(drafts, shown.visible, verdicts, f"{shown.name} programs")
    sent = [s for s in drafts if s.needs_repair] + repair.unbroken_solutions(drafts, p.n_unbroken)
    refinements: list[Refinement] = []
    for way in WAYS:
        ask = partial(repair_prompt, way=way, shown=shown, style=style)
        step = f"{shown.name} {way}" + (" public" if p.feedback_from == "public" else "")
        found = repair.repair_solutions(sent, shown.problems, 1, way, ask, completions, verdicts, step)
        refinements += _with_edits(sent, found, shown.problems, verdicts)
    return repair.assemble(drafts, refinements)


def _with_edits(
    sent: Sequence[Solution], repairs: Sequence[Refinement], problems: Sequence[Problem], verdicts: repair.VerdictCache
) -> list[Refinement]:
    """The repairs with how many lines they change and, of the correct ones, how many of these were needed."""
    pairs = {(s.task_id, s.code, r.code): (s, r) for s, r in zip(sent, repairs, strict=True)}
    fixed = {
        name: (s.code, r.code) for name, (s, r) in pairs.items() if r.verdict.passed and not s.verdict.passed
    }

    def passing(programs: Mapping[Hashable, str]) -> dict[Hashable, bool]:
        found = verdicts(problems, [(name[0], code) for name, code in programs.items()], None)
        return {name: verdict.passed for name, verdict in zip(programs, found, strict=True)}

    least = {name: edit_size(changes) for name, changes in needed_edits(fixed, passing).items()}
    return [
        r.model_copy(update={
            "edited": edit_size(line_edits(s.code, r.code)), "needed": least.get((s.task_id, s.code, r.code)),
        })
        for s, r in zip(sent, repairs, strict=True)
    ]  # fmt: skip


def evaluate_recorded(
    files: Sequence[str], shown: EvaluationSet, p: Params, folder: Path, progress: NewProgress
) -> dict[str, ByBenchmark]:
    """What models left behind, by model and benchmark: their first programs and their last repairs."""
    with lock_folder(folder):
        same_settings(folder, {"timeout": p.timeout, "memory_mb": p.memory_mb})
        verdicts = repair.VerdictCache(p, folder / "verdicts.jsonl", progress)
        trajectories = repair.recorded_trajectories(files, shown.problems, verdicts)
    found: dict[str, ByBenchmark] = {}
    for trajectory in trajectories:
        solution, last = trajectory.solution, trajectory.refinements[-1:]
        edited = [r.model_copy(update={"edited": edit_size(line_edits(solution.code, r.code))}) for r in last]
        mine = found.setdefault(solution.model, {shown.name: []})
        mine[shown.name].append(trajectory.model_copy(update={"refinements": tuple(edited)}))
    return found


def run_evaluation(
    evaluated: Sequence[EvaluatedModel], sets: Sequence[EvaluationSet], stage: Stage
) -> dict[str, ByBenchmark]:
    """Every model's trajectories on each benchmark, or with ``recorded`` what others left behind.

    Caches lie beside the stages, in ``evaluations/``, under a key of what they follow from: a further model or
    benchmark costs only itself.
    """
    p = stage.params
    folder = run_folder(p) / "evaluations"
    if p.recorded:
        (shown,) = sets
        recorded = folder / f"recorded-{content_id(p.timeout, p.memory_mb)[:8]}"
        return evaluate_recorded(p.recorded, shown, p, recorded, stage.progress)
    return {
        one.label: evaluate_model(one, sets, p, cache_folder(folder, one, p), stage.progress) for one in evaluated
    }
