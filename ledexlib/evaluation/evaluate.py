"""Evaluation (paper section 4): sample programs, run them, have the model repair the ones that fail, run the repairs.

Every failing program gets one repair asked for directly (``refine``) and one after an explanation (``explain``). What
models answer and what running programs says is kept in a folder for each model, so that an evaluation that was killed,
or that is asked for more benchmarks, goes on from there. What follows from the attempts is in `repair_metrics`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ledexlib.models import prompts
from ledexlib.evaluation.export import Attempts, recorded, write_attempts
from ledexlib.repair.collection import NewProgress, limits
from ledexlib.evaluation.edits import edits, needed, size
from ledexlib.evaluation.cache import Answered, Candidate, EvaluationError, Kept, Style, label_of, loader, located, settings
from ledexlib.mini.problems import BENCHMARKS as MINI
from ledexlib.runs.notebooks import STAGE_NAME
from ledexlib.problems.registry import ProblemError, load_problems
from ledexlib.models.prompts import FEW_SHOT_REPAIRS, Prompt, RepairShot
from ledexlib.problems.public_tests import public
from ledexlib.records import Attempt, Problem, Repair, Verdict, content_id
from ledexlib.evaluation.metrics import WAYS
from ledexlib.runs.stage import Needed, Stage, run_folder
from ledexlib.params.paths import resolve
from ledexlib.params.vocabulary import Params

NOTHING_FAILS = "Every test passes."  # the feedback on a program that does not fail


@dataclass(frozen=True)
class Benchmark:
    """What models are evaluated on. ``visible`` are the problems with the tests whose failures a model is shown."""

    name: str
    problems: list[Problem]
    visible: list[Problem]
    shots: list[Problem]
    repairs: tuple[RepairShot, ...]


def load_benchmarks(p: Params, styles: Iterable[Style]) -> list[Benchmark]:
    """The benchmarks that the parameters name, with the examples that base models are shown if one is evaluated.

    Raises ProblemError for a benchmark, a split or a file that is not there.
    """
    return [_load_benchmark(entry, p, "few_shot" in styles) for entry in p.evaluate_benchmarks]


def _load_benchmark(entry: str, p: Params, shots_wanted: bool) -> Benchmark:
    name, _, path = entry.partition("=")
    problems = load_problems(name, p.evaluate_split, resolve(path) if path else None)[: p.evaluate_max_problems]
    visible = public(problems, p.workers, limits(p)) if p.feedback_from == "public" else problems
    shots: list[Problem] = []
    repairs: tuple[RepairShot, ...] = ()
    if shots_wanted:
        shots_path = p.shots_path or (path if p.shots_benchmark is None else None)
        try:
            shots = load_problems(p.shots_benchmark or name, "prompt", resolve(shots_path) if shots_path else None)
        except ProblemError as error:
            advice = "A base model is shown solved problems: set shots_benchmark, such as mbpp"
            raise ProblemError(f"{error}\n{advice}") from None
        repairs = FEW_SHOT_REPAIRS
        if name in MINI:
            from ledexlib.mini.shots import worked_repairs

            repairs = worked_repairs(name)
    return Benchmark(name, problems, visible, shots[: p.n_shots], repairs[: p.n_repair_shots])


# What a model is asked


def solution_prompt(problem: Problem, benchmark: Benchmark, style: Style) -> Prompt:
    """How a model is asked for a program."""
    return prompts.solve_messages(problem) if style == "chat" else prompts.few_shot_solution(problem, benchmark.shots)


def repair_prompt(problem: Problem, code: str, feedback: str, way: str, benchmark: Benchmark, style: Style) -> Prompt:
    """How a model is asked to repair its program."""
    explain = way == "explain"
    if style == "chat":
        return prompts.refine_messages(problem, code, feedback, explain)
    return prompts.few_shot_refinement(problem, code, feedback, benchmark.repairs, explain)


# The attempts


@dataclass(frozen=True)
class Draft:
    """A first program, before repair."""

    problem: Problem
    index: int
    code: str
    answer: Answered
    verdict: Verdict
    fails: bool
    feedback: str


def attempts(candidate: Candidate, benchmark: Benchmark, kept: Kept, p: Params) -> list[Attempt]:
    """The model's programs for the benchmark and their repairs, in the order of problems and samples."""
    drafts = _drafts(candidate, benchmark, kept, p)
    sent = [draft for draft in drafts if draft.fails] + _unbroken(drafts, p.n_unbroken)
    repairs = {way: _repairs(way, sent, candidate, benchmark, kept, p) for way in WAYS}
    return [
        Attempt(
            id=f"{draft.problem.task_id}/{draft.index}", task_id=draft.problem.task_id, index=draft.index,
            code=draft.code, verdict=draft.verdict, fails=draft.fails, feedback=draft.feedback,
            tokens=draft.answer.tokens, finished=draft.answer.finished,
            repairs={way: made[draft.problem.task_id, draft.index] for way, made in repairs.items()
                     if (draft.problem.task_id, draft.index) in made},
        )
        for draft in drafts
    ]  # fmt: skip


def _drafts(candidate: Candidate, benchmark: Benchmark, kept: Kept, p: Params) -> list[Draft]:
    asked = [problem for problem in benchmark.problems for _ in range(p.n_samples)]
    answers = kept.completions.ask(
        [solution_prompt(problem, benchmark, candidate.style) for problem in asked], f"{benchmark.name} programs"
    )
    codes = [prompts.parse_solution(answer.text, problem) for answer, problem in zip(answers, asked, strict=True)]
    programs = [(problem.task_id, code) for problem, code in zip(asked, codes, strict=True)]
    verdicts = kept.verdicts(benchmark.problems, programs, f"{benchmark.name} verdicts on programs")
    seen: list[Verdict | None] = list(verdicts)
    if benchmark.visible is not benchmark.problems:
        testable = {problem.task_id for problem in benchmark.visible if problem.tests}
        tested = [program for program in programs if program[0] in testable]
        known = iter(kept.verdicts(benchmark.visible, tested, f"{benchmark.name} public tests of programs"))
        seen = [next(known) if program[0] in testable else None for program in programs]
    drafts = []
    for place, (problem, code, answer) in enumerate(zip(asked, codes, answers, strict=True)):
        shown = seen[place]
        fails = shown is not None and shown.status not in ("passed", "infra")
        feedback = shown.feedback if fails else NOTHING_FAILS
        drafts.append(Draft(problem, place % p.n_samples, code, answer, verdicts[place], fails, feedback))
    return drafts


def _unbroken(drafts: Iterable[Draft], most: int) -> list[Draft]:
    """The first ``most`` different programs of each problem that do not fail."""
    found: dict[str, dict[str, Draft]] = {}
    for draft in drafts:
        mine = found.setdefault(draft.problem.task_id, {})
        if not draft.fails and len(mine) < most and draft.verdict.status != "infra":
            mine.setdefault(draft.code, draft)
    return [draft for mine in found.values() for draft in mine.values()]


def _repairs(
    way: str, sent: Sequence[Draft], candidate: Candidate, benchmark: Benchmark, kept: Kept, p: Params
) -> dict[tuple[str, int], Repair]:
    """One repair of each program that is sent, by task and number of the program."""
    asked = [repair_prompt(d.problem, d.code, d.feedback, way, benchmark, candidate.style) for d in sent]
    answers = kept.completions.ask(asked, f"{benchmark.name} {way}" + (" public" * (p.feedback_from == "public")))
    read = [prompts.parse_answer(answer.text, d.problem) for answer, d in zip(answers, sent, strict=True)]
    programs = [(d.problem.task_id, r.code) for d, r in zip(sent, read, strict=True)]
    verdicts = kept.verdicts(benchmark.problems, programs, f"{benchmark.name} verdicts on {way}")
    fixed = {
        (d.problem.task_id, d.code, r.code): (d.code, r.code)
        for d, r, v in zip(sent, read, verdicts, strict=True)
        if v.passed and not d.verdict.passed
    }

    def passing(programs: dict[tuple[str, str, str], str]) -> dict[tuple[str, str, str], bool]:
        found = kept.verdicts(benchmark.problems, [(name[0], code) for name, code in programs.items()], None)
        return {name: verdict.passed for name, verdict in zip(programs, found, strict=True)}

    least = {name: size(changes) for name, changes in needed(fixed, passing).items()}
    return {
        (d.problem.task_id, d.index): Repair(
            explanation=r.explanation, code=r.code, verdict=v, tokens=a.tokens, finished=a.finished,
            edited=size(edits(d.code, r.code)), needed=least.get((d.problem.task_id, d.code, r.code)),
        )
        for d, r, v, a in zip(sent, read, verdicts, answers, strict=True)
    }  # fmt: skip


def evaluate(
    candidate: Candidate, benchmarks: Sequence[Benchmark], p: Params, folder: Path, progress: NewProgress
) -> Attempts:
    """A model's attempts at each benchmark; ``folder`` keeps its answers and verdicts for the next time.

    Raises EvaluationError if the folder was made with other settings.
    """
    kept = Kept(folder, settings(candidate, p), loader(candidate, p, folder), p, progress)
    return {benchmark.name: attempts(candidate, benchmark, kept, p) for benchmark in benchmarks}


# A stage of a run


def candidates(p: Params, stages: Mapping[str, Needed]) -> list[Candidate]:
    """The models that the parameters name: the base model, those that ``stages`` left, checkpoint folders.

    A tuned model is asked in the chat it was tuned on, the base model with examples.
    """
    found = []
    for name in p.evaluate_models:
        if name == "base":
            found.append(Candidate("base", p.model, "few_shot"))
        elif STAGE_NAME.match(name):
            found.append(Candidate(name, str(stages[name].path("model")), "chat"))
        else:
            found.append(Candidate(label_of(name), located(name), "chat"))
    if len({candidate.label for candidate in found}) < len(found):
        raise EvaluationError(f"evaluate_models = {p.evaluate_models}: a model is listed twice")
    return found


def evaluate_stage(
    models: Sequence[Candidate], p: Params, stage: Stage
) -> tuple[list[Benchmark], dict[str, Attempts]]:
    """The benchmarks, and every model's attempts at them, or with ``recorded`` what others left behind.

    Answers and verdicts are kept beside the stages, in ``evaluations/``, under a key of what they follow from: another
    model or benchmark in the list costs only itself.
    """
    benchmarks = load_benchmarks(p, {model.style for model in models if not p.recorded})
    folder = run_folder(p) / "evaluations"
    if p.recorded:
        files = [resolve(path) for path in p.recorded]
        (benchmark,) = benchmarks
        by_model = recorded(files, benchmark.problems, p, folder / "recorded", stage.progress)
        found = {model: {benchmark.name: mine} for model, mine in by_model.items()}
    else:
        found = {
            model.label: evaluate(model, benchmarks, p, folder / f"{model.label}-{content_id(settings(model, p))[:8]}",
                                  stage.progress)
            for model in models
        }  # fmt: skip
    for label, by_benchmark in found.items():
        write_attempts(stage.path(label), by_benchmark)
    return benchmarks, found
