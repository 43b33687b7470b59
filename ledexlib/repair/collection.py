"""Collection (paper section 1): sample programs, run them, ask a teacher to explain and repair the wrong ones.

Work is cut into batches that depend on the parameters alone. A batch whose records are all on disk is skipped, any
other is made again with the same seed, so that a killed and resumed run ends with the records of an undisturbed one.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from ledexlib.models import prompts
from ledexlib.runs.storage import JsonLines
from ledexlib.runs.progress import Progress
from ledexlib.problems.decontamination import Overlap, decontaminate, load_held_out
from ledexlib.models.interface import Completion, Generator, check_generator, load_generator
from ledexlib.problems.registry import load_problems
from ledexlib.problems.recorded import read_recorded
from ledexlib.records import Judged, Problem, Record, Refinement, Sampling, Solution, Verdict, content_id
from ledexlib.runs.stage import Stage
from ledexlib.params.paths import resolve
from ledexlib.sandbox import Limits
from ledexlib.problems.verdicts import verify_programs
from ledexlib.params.vocabulary import Params

SAVE_SECONDS = 1.0  # verdicts are cheap: they are saved together

NewProgress = Callable[[int, str, int], Progress]  # total, label, done before


def chosen_problems(p: Params) -> tuple[list[Problem], list[Overlap]]:
    """The problems that the parameters name, and those dropped because they overlap with test problems."""
    path = resolve(p.problems_path) if p.problems_path else None
    problems = load_problems(p.benchmark, p.split, path)
    dropped: list[Overlap] = []
    if p.decontaminate_against:
        problems, dropped = decontaminate(problems, load_held_out(p.decontaminate_against), p.decontaminate_ngram)
    return problems[: p.max_problems], dropped


def chosen_shots(p: Params) -> list[Problem]:
    """The solved problems shown to a base model, from a split that nothing is collected or tested on."""
    path = p.shots_path or (p.problems_path if p.shots_benchmark is None else None)
    return load_problems(p.shots_benchmark or p.benchmark, "prompt", resolve(path) if path else None)[: p.n_shots]


def _seed(p: Params, stage: str, number: int) -> int:
    """A seed for each batch, so that batches do not repeat each other's draws."""
    return int(content_id(p.seed, stage, number)[:8], 16)


def collect_solutions(problems: Sequence[Problem], p: Params, stage: Stage) -> list[Solution]:
    """The stage's solutions: read from recorded attempts (with their refinements) if there are any, or sampled."""
    solutions = stage.records("solutions.jsonl", Solution)
    if p.recorded:
        files = [resolve(path) for path in p.recorded]
        recorded, repairs = read_recorded(files, [problem.task_id for problem in problems])
        solutions.append(recorded)
        stage.records("refinements.jsonl", Refinement).append(repairs)
    else:
        generator = load_generator("model", p, stage.path("model_requests.jsonl"))
        shots = chosen_shots(p)

        def ask(problem: Problem) -> prompts.Prompt:
            return prompts.few_shot_solution(problem, shots)

        sample_solutions(problems, ask, generator, p, solutions, stage.progress)
    return solutions.read()


def collect_refinements(
    wrong: Sequence[Solution], problems: Sequence[Problem], p: Params, stage: Stage
) -> list[Refinement]:
    """The stage's refinements: the recorded ones, or the teacher's answers to the wrong solutions."""
    refinements = stage.records("refinements.jsonl", Refinement)
    if not p.recorded:
        teacher = load_generator("teacher", p, stage.path("teacher_requests.jsonl"))
        ask_teacher(wrong, problems, teacher, p, refinements, stage.progress)
    return refinements.read()


def check_generators(p: Params) -> None:
    """Refuse impossible settings of model and teacher before any work; recorded attempts need neither."""
    if not p.recorded:
        check_generator("model", p)
        check_generator("teacher", p)


def sample_solutions(
    problems: Sequence[Problem], ask: Callable[[Problem], prompts.Prompt], generator: Generator, p: Params,
    solutions: JsonLines[Solution], progress: NewProgress,
) -> None:  # fmt: skip
    """Append ``n_solutions`` programs for each problem, sampled with the prompts that ``ask`` makes."""

    def name(problem: Problem, sampling: Sampling) -> str:
        return content_id("solution", problem.task_id, generator.name, sampling)

    def answer(problem: Problem, sampling: Sampling, completion: Completion) -> Solution:
        return Solution(
            id=name(problem, sampling), task_id=problem.task_id, code=prompts.parse_solution(completion.text, problem),
            completion=completion.text, model=generator.name, sampling=sampling,
        )  # fmt: skip

    sampling = Sampling(temperature=p.solution_temperature, top_p=p.top_p, max_tokens=p.solution_max_tokens)
    _generate(problems, p.n_solutions, sampling, "solutions", ask, name, answer, generator, p, solutions, progress)


def ask_teacher(
    wrong: Sequence[Solution], problems: Iterable[Problem], teacher: Generator, p: Params,
    refinements: JsonLines[Refinement], progress: NewProgress,
) -> None:  # fmt: skip
    """Append ``n_refinements`` explanations with refinements for each wrong solution (which carries its verdict)."""
    by_task = {problem.task_id: problem for problem in problems}

    def ask(solution: Solution) -> prompts.Prompt:
        problem, feedback = by_task[solution.task_id], solution.verdict.feedback
        if p.teacher_style == "chat":
            return prompts.teacher_messages(problem, solution.code, feedback)
        return prompts.few_shot_refinement(problem, solution.code, feedback, prompts.FEW_SHOT_REPAIRS, explain=True)

    def name(solution: Solution, sampling: Sampling) -> str:
        return content_id("refinement", solution.id, teacher.name, sampling)

    def answer(solution: Solution, sampling: Sampling, completion: Completion) -> Refinement:
        read = prompts.parse_answer(completion.text, by_task[solution.task_id])
        return Refinement(
            id=name(solution, sampling), solution_id=solution.id, task_id=solution.task_id,
            explanation=read.explanation, code=read.code, completion=completion.text, teacher=teacher.name,
            sampling=sampling,
        )  # fmt: skip

    sampling = Sampling(temperature=p.refinement_temperature, top_p=p.top_p, max_tokens=p.refinement_max_tokens)
    _generate(wrong, p.n_refinements, sampling, "refinements", ask, name, answer, teacher, p, refinements, progress)


def _generate(
    items: Sequence[Record], n: int, sampling: Sampling, label: str, ask: Callable, name: Callable, answer: Callable,
    generator: Generator, p: Params, records: JsonLines, progress: NewProgress,
) -> None:  # fmt: skip
    """Generate ``n`` answers to each item in batches and append their records."""
    with progress(len(items) * n, label, len(records)) as bar:
        for number, start in enumerate(range(0, len(items), p.prompts_per_batch)):
            batch = items[start : start + p.prompts_per_batch]
            seeded = sampling.model_copy(update={"seed": _seed(p, label, number)})
            draws = [seeded.model_copy(update={"index": index}) for index in range(n)]
            if all(name(item, draw) in records for item in batch for draw in draws):
                continue
            completions = generator.generate([ask(item) for item in batch], n, seeded)
            bar.advance(records.append(
                answer(item, draw, completion)
                for item, row in zip(batch, completions, strict=True)
                for draw, completion in zip(draws, row, strict=True)
            ))  # fmt: skip


def limits(p: Params) -> Limits:
    return Limits(timeout=p.timeout, memory_mb=p.memory_mb)


def judge(
    programs: Sequence[Solution | Refinement], problems: Iterable[Problem], p: Params,
    verdicts: JsonLines[Judged], progress: NewProgress,
) -> None:  # fmt: skip
    """Run every program that has no verdict yet and append its verdict; equal programs for a task run once."""
    by_task = {problem.task_id: problem for problem in problems}
    same: dict[tuple[str, str], list[str]] = defaultdict(list)
    for program in programs:
        if program.id not in verdicts:
            same[program.task_id, program.code].append(program.id)
    jobs = ((key, by_task[key[0]], key[1]) for key in same)
    waiting: list[Judged] = []
    saved = time.monotonic()
    with progress(len(programs), "verdicts", len(verdicts)) as bar:
        for key, verdict in verify_programs(jobs, workers=p.workers, limits=limits(p)):
            waiting += [Judged(id=name, verdict=verdict) for name in same[key]]
            bar.advance(len(same[key]))
            if time.monotonic() - saved > SAVE_SECONDS:
                verdicts.append(waiting)
                waiting, saved = [], time.monotonic()
        verdicts.append(waiting)


def with_verdicts(programs: Iterable[Solution], verdicts: Iterable[Judged]) -> list[Solution]:
    """The programs (solutions or refinements), each carrying its verdict."""
    by_id: dict[str, Verdict] = {judged.id: judged.verdict for judged in verdicts}
    return [program.model_copy(update={"verdict": by_id[program.id]}) for program in programs]


def unique(solutions: Iterable[Solution]) -> list[Solution]:
    """The first of equal programs of a model for a task: samples repeat themselves, Table 1 counts unique ones."""
    return list({(s.model, s.task_id, s.code): s for s in reversed(list(solutions))}.values())[::-1]


def wrong_ones(solutions: Iterable[Solution]) -> list[Solution]:
    """Those that ran and did not pass; a verdict ``infra`` says nothing about a program."""
    return [s for s in solutions if s.verdict.status not in ("passed", "infra")]
