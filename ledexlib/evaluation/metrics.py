"""Metrics of evaluation, each with a 95 % bootstrap interval over problems.

Every metric is a ratio of sums over tasks, computed from one table of counts by model, benchmark and task. A benchmark
and its plus version hold the same problems, so a problem is resampled with all its tasks; weighting by counts makes
"overall" the problem-weighted mean over benchmarks."""

import builtins
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any

import pandas as pd

from ledexlib.evaluation.evaluate import WAYS, EvaluationSet
from ledexlib.models import defines_what_was_asked
from ledexlib.records import Problem, Refinement, Solution, Trajectory, Way
from ledexlib.repair import failure_kind, refinement_rates_by_kind
from ledexlib.statistics import Estimate, bootstrap_ratio, pass_at_k

Evaluated = Mapping[str, Mapping[str, Sequence[Trajectory]]]  # by model and benchmark
SCORE_NAMES = {"initial": "initial", "refine": "refine", "explain": "explain + refine"}  # in tables


def problem_of(task_id: str) -> str:
    """The problem behind a task: ``mini-mbppplus/11`` is ``mini-mbpp/11`` with more tests."""
    return task_id.lower().replace("plus", "")


def task_counts(found: Evaluated, sets: Iterable[EvaluationSet]) -> pd.DataFrame:
    """The counts that every metric is computed from, a row for each model, benchmark and task (`count_task`)."""
    problems = {one.name: one.problems for one in sets}
    rows = []
    for model, by_benchmark in found.items():
        for benchmark, trajectories in by_benchmark.items():
            by_task: dict[str, list[Trajectory]] = defaultdict(list)
            for trajectory in trajectories:
                by_task[trajectory.solution.task_id].append(trajectory)
            tried = (problem for problem in problems[benchmark] if problem.task_id in by_task)
            about = {"model": model, "benchmark": benchmark}
            rows += [{**about, **count_task(by_task[problem.task_id], problem)} for problem in tried]
    return pd.DataFrame(rows)


def count_task(trajectories: Iterable[Trajectory], problem: Problem) -> dict[str, Any]:
    """The counts of one task; programs with a verdict ``infra`` are left out.

    ``samples``, ``wrong``, ``initial`` (programs that pass); and for each way: ``refine`` (passing after repair of
    those that fail) of ``refine samples``; ``sent`` and of them ``fixed``; ``correct`` and of them ``broken`` (expected
    number that would break if all were sent); ``answers`` and of them ``invalid`` (no program that defines what was
    asked) and ``cut`` (ended by their length); ``explained`` (explanations of programs that fail) and of them
    ``invented`` (naming an exception that stands neither in the task, the program nor its feedback); ``raised`` (those
    whose feedback names an exception) and of them ``named`` (naming it too)."""
    scored = [t for t in trajectories if t.solution.verdict.status != "infra"]
    passed = _passed(t.solution for t in scored)
    row = {"task": problem.task_id, "problem": problem_of(problem.task_id)}
    row |= {"samples": len(scored), "initial": passed, "wrong": len(scored) - passed}
    for way in WAYS:
        row |= {f"{way} {name}".strip(): value for name, value in _count_way(scored, problem, way).items()}
    return row


def _count_way(scored: Sequence[Trajectory], problem: Problem, way: Way) -> dict[str, float]:
    repaired = [(t.solution, r) for t in scored if (r := t.repair(way)) and r.verdict.status != "infra"]
    sent = [(s, r) for s, r in repaired if s.needs_repair]
    kept = [t.solution for t in scored if not t.solution.needs_repair or t.repair(way) is None]
    wrong = [r for s, r in sent if not s.verdict.passed]
    unbroken = [r for s, r in repaired if s.verdict.passed]
    correct = _passed(t.solution for t in scored) if unbroken else 0
    explained = [(s, r.explanation) for s, r in sent if r.explanation]
    raised = [(errors, text) for s, text in explained if (errors := exceptions_in(s.told))]
    return {
        "": _passed(kept) + _passed(r for _, r in sent), "samples": len(kept) + len(sent),
        "sent": len(wrong), "fixed": _passed(wrong),
        "correct": correct, "broken": correct * ((len(unbroken) - _passed(unbroken)) / max(1, len(unbroken))),
        "answers": len(repaired),
        "invalid": sum(not (r.code and defines_what_was_asked(r.code, problem)) for _, r in repaired),
        "cut": sum(not r.finished for _, r in repaired), "explained": len(explained),
        "invented": sum(bool(invented_exceptions(text, problem.prompt, s.code, s.told)) for s, text in explained),
        "raised": len(raised), "named": sum(bool(errors & exceptions_in(text)) for errors, text in raised)}


def _passed(programs: Iterable[Solution | Refinement]) -> int:
    return sum(program.verdict.passed for program in programs)


# A check of explanations without a reader: similarity to correct ones, which is rewarded, can rise as they become
# untrue, but exceptions that they name exist in the model's input or do not.

_BUILT_IN = {name for name, it in vars(builtins).items() if isinstance(it, type) and issubclass(it, BaseException)}


def exceptions_in(text: str) -> set[str]:
    """The exceptions that a text names: the built-in ones, and other capitalised words that end as they do."""
    words = re.findall(r"\b[A-Z]\w*\b", text)
    named = {word for word in words if word in _BUILT_IN or word.endswith(("Error", "Exception"))}
    return named - {"AssertionError"}  # what a failed test is, however the feedback puts it


def invented_exceptions(explanation: str, *shown: str) -> set[str]:
    """The exceptions that an explanation names and that stand nowhere in what its author was shown."""
    return exceptions_in(explanation) - exceptions_in("\n".join(shown))


def estimate(counts: pd.DataFrame, top: str, bottom: str) -> Estimate:
    """100 × sum of ``top`` ÷ sum of ``bottom``, its interval by bootstrap over problems; NaN where ``bottom`` is 0."""
    by_problem = counts.groupby("problem", sort=False)[[top, bottom]].sum().to_numpy(dtype=float)
    return bootstrap_ratio(by_problem) if len(by_problem) else Estimate(*[float("nan")] * 3, 0)


def with_pass_at(counts: pd.DataFrame, score: str, k: int) -> pd.DataFrame:
    """The rows with at least ``k`` samples, their pass@k in [0, 1] as ``pass``, and ``one`` to weigh them with."""
    samples = counts["samples" if score == "initial" else f"{score} samples"]
    counts, samples = counts[samples >= k], samples[samples >= k]
    chances = [pass_at_k(int(n), int(c), k) for n, c in zip(samples, counts[score], strict=True)]
    return counts.assign(**{"pass": chances, "one": 1.0})


def estimated_pass_at(counts: pd.DataFrame, score: str, k: int) -> Estimate:
    """pass@k in % of a score (initial, refine or explain), the mean over the table's tasks; NaN without k samples."""
    return estimate(with_pass_at(counts, score, k), "pass", "one")


def ks_of(counts: pd.DataFrame) -> list[int]:
    """Those of 1 and 10 that there are samples for."""
    return [k for k in (1, 10) if len(counts) and k <= counts["samples"].min()]


def groups_of(counts: pd.DataFrame) -> list[tuple[str, str, pd.DataFrame]]:
    """Each model's rows by benchmark, and as ``overall`` if there are several: model, benchmark, rows."""
    groups = []
    for model, mine in counts.groupby("model", sort=False):
        by_benchmark = list(mine.groupby("benchmark", sort=False))
        overall = [("overall", mine)] if len(by_benchmark) > 1 else []
        groups += [(model, benchmark, part) for benchmark, part in by_benchmark + overall]
    return groups


def scores_of(counts: pd.DataFrame) -> list[str]:
    """The scores there are: recorded attempts know but one way of repair."""
    return [score for score in SCORE_NAMES if score == "initial" or counts[f"{score} answers"].sum()]


def pass_at_k_scores(counts: pd.DataFrame) -> pd.DataFrame:
    """pass@1 and pass@10 in %: columns model, benchmark (and overall), score, k, value, low, high."""
    rows = [
        (model, benchmark, score, k, *estimated_pass_at(part, score, k)[:3])
        for model, benchmark, part in groups_of(counts) for score in scores_of(part) for k in ks_of(part)]
    return pd.DataFrame(rows, columns=["model", "benchmark", "score", "k", "value", "low", "high"])


REFINEMENT_RATE, INVENTED, ALL_SENT = "success refinement rate", "wrong error named", "everything sent: pass@1"
RATES = {  # name: numerator and denominator
    REFINEMENT_RATE: ("fixed", "sent"), "break rate": ("broken", "correct"), "invalid output": ("invalid", "answers"),
    "cut off": ("cut", "answers")}
EXPLANATION_RATES = {"raised error named": ("named", "raised"), INVENTED: ("invented", "explained")}


def repair_rates(counts: pd.DataFrame) -> pd.DataFrame:
    """Rates of repair and of explanations in %: columns model, benchmark (and overall), way, rate, value, low, high."""
    rows = []
    for model, benchmark, part in groups_of(counts):
        for way in scores_of(part)[1:]:
            wanted = RATES | (EXPLANATION_RATES if way == "explain" else {})
            found = {name: estimate(part, *(f"{way} {column}" for column in pair)) for name, pair in wanted.items()}
            sent_all = part.assign(kept=part["initial"] - part[f"{way} broken"] + part[f"{way} fixed"])
            found[ALL_SENT] = estimate(sent_all, "kept", "samples")
            rows += [(model, benchmark, way, name, *value[:3]) for name, value in found.items()]
    return pd.DataFrame(rows, columns=["model", "benchmark", "way", "rate", "value", "low", "high"])


def fix_rates_by_kind(found: Evaluated) -> pd.DataFrame:
    """The share of wrong programs repaired (by explained repairs, if any) over all benchmarks, by model and kind of
    failure that it had at least five times. Columns: kind, wrong solutions, rate, low, high, model."""
    repairs = _wrong_with_repairs(found)
    repairs = repairs[repairs["way"] == ("explain" if "explain" in set(repairs["way"]) else "refine")]
    by_model = {model: repairs[repairs["model"] == model] for model in found}
    rates = [refinement_rates_by_kind(mine, least=5).assign(model=model) for model, mine in by_model.items()]
    return pd.concat(rates, ignore_index=True)


def edit_sizes(found: Evaluated) -> pd.DataFrame:
    """Medians of the lines that repairs of wrong programs change, by model and way over all benchmarks; edit precision
    is the share (%) of the lines changed by repairs that pass without which they do not."""
    repairs, rows = _wrong_with_repairs(found), []
    for model, way in product(found, WAYS):
        mine = repairs[(repairs["model"] == model) & (repairs["way"] == way)]
        good = mine[mine["refined"] & mine["needed"].notna()]
        rows.append({
            "model": model, "way": way, "lines changed": mine["edited"].median(),
            "by repairs that pass": good["edited"].median(),
            "edit precision %": str(estimate(good, "needed", "edited")) if len(good) else "–"})
    return pd.DataFrame(rows)


def _wrong_with_repairs(found: Evaluated) -> pd.DataFrame:
    """The repairs of wrong programs: whose, in which way, of which kind of failure, whether they pass, their edits."""
    rows = [
        (model, r.way, problem_of(r.task_id), failure_kind(t.solution.verdict), r.verdict.passed, r.edited, r.needed)
        for model, by_benchmark in found.items() for trajectories in by_benchmark.values() for t in trajectories
        if t.solution.needs_repair and t.solution.verdict.status not in ("passed", "infra")
        for r in t.refinements]
    table = pd.DataFrame(rows, columns=["model", "way", "problem", "kind", "refined", "edited", "needed"])
    return table.assign(task=table["problem"]).astype({"refined": bool, "edited": float, "needed": float})
