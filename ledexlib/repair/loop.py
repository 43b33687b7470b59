"""The loop: draft → verdict → feedback → repair → verdict (paper section 1).

It serves collection (a base model drafts, a teacher repairs), on-policy programs (the fine-tuned model drafts),
evaluation (a model repairs its own drafts) and the rounds of reinforcement learning. What differs is who completes
prompts, how they are asked, and whose tests give the feedback; below the loop is what collection chooses."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from ledexlib import models
from ledexlib.models import Generator, Prompt, parse_answer, parse_solution
from ledexlib.params import Params
from ledexlib.problems import solved_examples
from ledexlib.records import Problem, Refinement, Sampling, Solution, Verdict, Way, content_id
from ledexlib.repair.caches import CompletionCache, VerdictCache, in_order
from ledexlib.runs import NewProgress

NOTHING_FAILS = "Every test passes."  # the feedback on a program that does not fail

AskSolution = Callable[[Problem], Prompt]
AskRepair = Callable[[Problem, Solution], Prompt]


def draft_solutions(
    problems: Sequence[Problem], n: int, ask: AskSolution, completions: CompletionCache, verdicts: VerdictCache,
    step: str = "solutions") -> list[Solution]:
    """``n`` programs for each problem, in the problems' order, each with its verdict.

    ``step`` names the work in progress bars, and is part of what seeds the sampling."""
    asked = [problem for problem in problems for _ in range(n)]
    answers = completions([ask(problem) for problem in problems], n, step)
    codes = [parse_solution(answer.text, problem) for answer, problem in zip(answers, asked, strict=True)]
    programs = [(problem.task_id, code) for problem, code in zip(asked, codes, strict=True)]
    found = verdicts(problems, programs, f"{completions.name}: verdicts on {step}")
    return [
        Solution(
            id=content_id("solution", problem.task_id, completions.name, sampling), task_id=problem.task_id, code=code,
            completion=answer.text, model=completions.name, sampling=sampling, verdict=verdict, tokens=answer.tokens,
            finished=answer.finished)
        for problem, code, answer, verdict in zip(asked, codes, answers, found, strict=True)
        for sampling in [completions.sampling_of(answer)]]


def feedback_on(
    solutions: Sequence[Solution], visible: Sequence[Problem], verdicts: VerdictCache, step: str = "solutions"
) -> list[Solution]:
    """The solutions with the feedback of ``visible`` problems' tests in place of their own.

    A program fails if these do; where a problem shows none, no program of it fails."""
    testable = {problem.task_id: problem for problem in visible if problem.tests}
    tested = [(s.task_id, s.code) for s in solutions if s.task_id in testable]
    shown = iter(verdicts(testable.values(), tested, f"verdicts of visible tests on {step}"))
    said = []
    for solution in solutions:
        verdict = next(shown) if solution.task_id in testable else None
        failing = verdict is not None and verdict.status not in ("passed", "infra")
        feedback = verdict.feedback if failing else NOTHING_FAILS
        said.append(solution.model_copy(update={"fails": failing, "feedback": feedback}))
    return said


def repair_solutions(
    solutions: Sequence[Solution], problems: Sequence[Problem], n: int, way: Way, ask: AskRepair,
    completions: CompletionCache, verdicts: VerdictCache, step: str = "refinements") -> list[Refinement]:
    """``n`` repairs of each solution, in the solutions' order, each with its verdict by its problem's tests.

    ``way`` says what ``ask`` asks for; ``step`` is as in `draft_solutions`."""
    by_task = {problem.task_id: problem for problem in problems}
    asked = [solution for solution in solutions for _ in range(n)]
    answers = completions([ask(by_task[solution.task_id], solution) for solution in solutions], n, step)
    read = [parse_answer(answer.text, by_task[s.task_id]) for answer, s in zip(answers, asked, strict=True)]
    programs = [(solution.task_id, answer.code) for solution, answer in zip(asked, read, strict=True)]
    found = verdicts(problems, programs, f"{completions.name}: verdicts on {step}")
    return [
        Refinement(
            id=content_id("refinement", solution.id, completions.name, sampling), solution_id=solution.id,
            task_id=solution.task_id, explanation=said.explanation, code=said.code, completion=answer.text,
            teacher=completions.name, sampling=sampling, verdict=verdict, way=way, tokens=answer.tokens,
            finished=answer.finished)
        for solution, said, answer, verdict in zip(asked, read, answers, found, strict=True)
        for sampling in [completions.sampling_of(answer)]]


def next_turn(problem: Problem, code: str, verdict: Verdict, explain: bool) -> str | None:
    """What a user says to a failed repair, to have it tried again in the same chat; None if it did not fail."""
    if verdict.status in ("passed", "infra"):
        return None
    return models.refine_messages(problem, code, verdict.feedback, explain)[-1]["content"]


def _collected(
    role: str, name: str, load: Callable[[], Generator] | None, sampling: Sampling, p: Params, folder: Path,
    progress: NewProgress) -> CompletionCache:
    """A collection's cache of completions by ``load`` or, if that is None, by who has the role in the parameters."""
    if load is None:
        models.check_generator(role, p)
        load = partial(models.load_generator, role, p, folder / f"{role}_requests.jsonl")
    path, batching = folder / f"{role}_completions.jsonl", in_order(p.prompts_per_batch)
    return CompletionCache(path, name, load, sampling, p.seed, batching, progress)


def model_completions(
    p: Params, folder: Path, progress: NewProgress, name: str | None = None, load: Callable[[], Generator] | None = None
) -> CompletionCache:
    """The model's completions, kept in ``folder``; ``name`` and ``load`` put another in the place of ``p.model``.

    Raises ParameterError for a model that cannot be loaded, before any work."""
    sampling = Sampling(temperature=p.solution_temperature, top_p=p.top_p, max_tokens=p.solution_max_tokens)
    return _collected("model", name or p.model, load, sampling, p, folder, progress)


def teacher_completions(p: Params, folder: Path, progress: NewProgress) -> CompletionCache:
    """The teacher's completions, kept in ``folder``; raises ParameterError for one that cannot be loaded."""
    sampling = Sampling(temperature=p.refinement_temperature, top_p=p.top_p, max_tokens=p.refinement_max_tokens)
    return _collected("teacher", p.teacher, None, sampling, p, folder, progress)


def few_shot_drafts(p: Params) -> AskSolution:
    """How a base model is asked for a program: after the solved problems that the parameters name."""
    return partial(models.few_shot_solution, shots=solved_examples(p))


def teacher_requests(p: Params) -> AskRepair:
    """How the teacher is asked to explain and repair a program: in a chat, or after worked repairs."""
    if p.teacher_style == "chat":
        return lambda problem, wrong: models.teacher_messages(problem, wrong.code, wrong.told)
    few_shot = partial(models.few_shot_refinement, shots=models.few_shot_repairs(), explain=True)
    return lambda problem, wrong: few_shot(problem, wrong.code, wrong.told)
