"""Evaluation (paper section 4): a model drafts programs, repairs those that fail, and the repairs are run.

Every failing program gets one repair asked for directly (``refine``) and one after an explanation (``explain``). The
loop and the caches that it resumes from are `ledexlib.repair`'s; what follows from trajectories is in `metrics`."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import get_args

from ledexlib import models, problems, repair
from ledexlib.evaluation import cache
from ledexlib.evaluation.cache import EvaluatedModel, EvaluationCache, Style, model_label
from ledexlib.evaluation.edits import edit_size, line_edits, needed_edits
from ledexlib.params import ParameterError, Params, resolve
from ledexlib.records import Problem, Record, Refinement, Solution, Trajectory, Way, content_id
from ledexlib.runs import STAGE_NAME, Needed, NewProgress, Stage, run_folder, write_records

ByBenchmark = dict[str, list[Trajectory]]
WAYS: tuple[Way, ...] = get_args(Way)


@dataclass(frozen=True)
class EvaluationSet:
    """A benchmark to evaluate on, with the solved problems and worked repairs that base models are shown."""
    name: str
    problems: list[Problem]
    visible: list[Problem]  # the same with the tests whose failures a model is shown
    shots: list[Problem]
    repairs: Sequence[problems.WorkedRepair]


def evaluated_models(p: Params, stages: Mapping[str, Needed]) -> list[EvaluatedModel]:
    """The models that ``evaluate_models`` names: the base model (asked with examples), those that ``stages`` left and
    checkpoints (asked in the chat they were tuned on); none where recorded attempts are evaluated. Raises
    ParameterError or ProblemError as `check_evaluation` does."""
    check_evaluation(p)
    return [
        EvaluatedModel("base", p.model, "few_shot") if name == "base"
        else EvaluatedModel(model_label(name), str(stages[name].path("model")) if name in stages else name, "chat")
        for name in p.evaluate_models if not p.recorded]


def load_evaluation_sets(p: Params, shown_to: Iterable[EvaluatedModel] = ()) -> list[EvaluationSet]:
    """The benchmarks that ``evaluate_benchmarks`` names, with examples if one of the models is a base model.
    Raises ProblemError for a benchmark, a split or a file that is not there."""
    few_shot, sets = any(model.style == "few_shot" for model in shown_to), []
    for entry in p.evaluate_benchmarks:
        tested = visible = problems.load_problems(entry, p.evaluate_split)[: p.evaluate_max_problems]
        if p.feedback_from == "public":
            visible = problems.with_public_tests(tested, p.workers, repair.program_limits(p))
        shots = problems.solved_examples(p, entry) if few_shot else []
        worked = problems.worked_repairs(entry) or models.few_shot_repairs()
        repairs = worked[: p.n_repair_shots] if few_shot else ()
        sets.append(EvaluationSet(entry.partition("=")[0], tested, visible, shots, repairs))
    return sets


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
        problems.check_benchmark(entry, p.evaluate_split)
        if few_shot and not p.recorded:
            problems.check_solved_examples(p, entry)
    if p.recorded and len(names) != 1:
        raise ParameterError(f"evaluate_benchmarks = {p.evaluate_benchmarks}: recorded attempts are of one of them")
    if missing := [file for file in p.recorded if not resolve(file).exists()]:
        raise problems.ProblemError(f"recorded: {resolve(missing[0])}: no such file")


def solution_prompt(problem: Problem, shown: EvaluationSet, style: Style) -> models.Prompt:
    """How a model is asked for a program."""
    return models.solve_messages(problem) if style == "chat" else models.few_shot_solution(problem, shown.shots)


def repair_prompt(problem: Problem, wrong: Solution, way: Way, shown: EvaluationSet, style: Style) -> models.Prompt:
    """How a model is asked to repair its program."""
    if style == "chat":
        return models.refine_messages(problem, wrong.code, wrong.told, way == "explain")
    return models.few_shot_refinement(problem, wrong.code, wrong.told, shown.repairs, way == "explain")


def evaluate_model(
    model: EvaluatedModel, sets: Sequence[EvaluationSet], p: Params, folder: Path, progress: NewProgress
) -> ByBenchmark:
    """A model's trajectories on each benchmark; ``folder`` keeps its completions and verdicts for the next time.
    Raises EvaluationError if the folder was made with other settings, StageError if it is in use."""
    with cache.lock_folder(folder, cache.cache_settings(model, p)):
        kept = EvaluationCache(folder, model, p, progress)
        return {one.name: _trajectories(one, model.style, kept.completions, kept.verdicts, p) for one in sets}


def _trajectories(
    shown: EvaluationSet, style: Style, completions: repair.CompletionCache, verdicts: repair.VerdictCache, p: Params
) -> list[Trajectory]:
    """Draft → verdict → feedback → repair → verdict, in the order of problems and samples."""
    ask = partial(solution_prompt, shown=shown, style=style)
    drafts = repair.draft_solutions(shown.problems, p.n_samples, ask, completions, verdicts, f"{shown.name} programs")
    drafts = repair.feedback_on(drafts, shown.visible, verdicts, f"{shown.name} programs")
    sent = [s for s in drafts if s.needs_repair] + repair.unbroken_solutions(drafts, p.n_unbroken)
    refinements: list[Refinement] = []
    for way in WAYS:
        ask = partial(repair_prompt, way=way, shown=shown, style=style)
        step = f"{shown.name} {way}" + (" public" if p.feedback_from == "public" else "")
        found = repair.repair_solutions(sent, shown.problems, 1, way, ask, completions, verdicts, step)
        refinements += _with_edits(sent, found, shown, verdicts)
    return repair.assemble(drafts, refinements)


def _with_edits(
    sent: Sequence[Solution], repairs: Sequence[Refinement], shown: EvaluationSet, verdicts: repair.VerdictCache
) -> list[Refinement]:
    """The repairs with how many lines they change and, of the correct ones, how many of these were needed."""
    fixed = {
        (s.task_id, s.code, r.code): (s.code, r.code)
        for s, r in zip(sent, repairs, strict=True) if r.verdict.passed and not s.verdict.passed}

    def passing(programs: Mapping[Hashable, str]) -> dict[Hashable, bool]:
        found = verdicts(shown.problems, [(name[0], code) for name, code in programs.items()])
        return {name: verdict.passed for name, verdict in zip(programs, found, strict=True)}

    least = {name: edit_size(changes) for name, changes in needed_edits(fixed, passing).items()}
    return [
        _edited(s, r).model_copy(update={"needed": least.get((s.task_id, s.code, r.code))})
        for s, r in zip(sent, repairs, strict=True)]


def _edited(solution: Solution, repair: Refinement) -> Refinement:
    return repair.model_copy(update={"edited": edit_size(line_edits(solution.code, repair.code))})


def evaluate_recorded(shown: EvaluationSet, p: Params, folder: Path, progress: NewProgress) -> dict[str, ByBenchmark]:
    """What models left behind (``recorded``), by model and benchmark: their first programs and their last repairs."""
    with cache.lock_folder(folder, {"timeout": p.timeout, "memory_mb": p.memory_mb}):
        verdicts = repair.VerdictCache(p, folder / "verdicts.jsonl", progress)
        trajectories = repair.recorded_trajectories(p.recorded, shown.problems, verdicts)
    found: dict[str, ByBenchmark] = {}
    for trajectory in trajectories:
        last = tuple(_edited(trajectory.solution, r) for r in trajectory.refinements[-1:])
        mine = found.setdefault(trajectory.solution.model, {shown.name: []})
        mine[shown.name].append(trajectory.model_copy(update={"refinements": last}))
    return found


def run_evaluation(evaluated: list[EvaluatedModel], sets: list[EvaluationSet], stage: Stage) -> dict[str, ByBenchmark]:
    """Every model's trajectories on each benchmark, or with ``recorded`` what others left behind. Caches lie beside the
    stages, under a key of what they follow from: a further model or benchmark costs only itself."""
    p, progress, folder = stage.params, stage.progress, run_folder(stage.params) / "evaluations"
    if p.recorded:
        return evaluate_recorded(sets[0], p, folder / f"recorded-{content_id(p.timeout, p.memory_mb)[:8]}", progress)
    return {one.label: evaluate_model(one, sets, p, cache.cache_folder(folder, one, p), progress) for one in evaluated}


class EvalPlusSample(Record):
    """A program as EvalPlus reads it."""
    task_id: str
    solution: str


def write_trajectories(folder: Path, by_benchmark: Mapping[str, Sequence[Trajectory]]) -> None:
    """Write a model's trajectories by benchmark, and under ``evalplus`` the programs that count in each score: repairs,
    if there are any, in the place of programs that fail."""
    for name, found in by_benchmark.items():
        write_records(folder / f"{name}.jsonl", found)
        for score in ("initial", *WAYS):
            counted = ((t.solution.needs_repair and t.repair(score)) or t.solution for t in found)
            samples = (EvalPlusSample(task_id=program.task_id, solution=program.code) for program in counted)
            write_records(folder / "evalplus" / f"{name}-{score}.jsonl", samples)
