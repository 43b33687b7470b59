"""Metrics of evaluation, each with a 95 % bootstrap interval over problems.

Every metric is a ratio of sums over tasks, computed from one table of counts by model, benchmark and task. A benchmark
and its plus version hold the same problems, so a problem is resampled with all its tasks; weighting by counts makes
"overall" the problem-weighted mean over benchmarks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pandas as pd

from ledexlib.evaluation.explanations import exceptions_in, invented_exceptions
from ledexlib.models import defines_what_was_asked
from ledexlib.records import Problem, Refinement, Solution, Trajectory, Way
from ledexlib.repair import failure_kind, refinement_rates_by_kind
from ledexlib.statistics import Estimate, bootstrap_ratio, pass_at_k

if TYPE_CHECKING:
    from ledexlib.evaluation.evaluate import EvaluationSet

Evaluated = Mapping[str, Mapping[str, Sequence[Trajectory]]]  # by model and benchmark

WAYS: tuple[Way, ...] = get_args(Way)
SCORES = ("initial", *WAYS)
SCORE_NAMES = {"initial": "initial", "refine": "refine", "explain": "explain + refine"}  # in tables


def problem_of(task_id: str) -> str:
    """The problem behind a task: ``mini-mbppplus/11`` is ``mini-mbpp/11`` with more tests."""
    return task_id.lower().replace("plus", "")


# Counts


def task_counts(found: Evaluated, sets: Iterable[EvaluationSet]) -> pd.DataFrame:
    """The counts that every metric is computed from, a row for each model, benchmark and task (`count_task`)."""
    problems = {one.name: one.problems for one in sets}
    rows = []
    for model, by_benchmark in found.items():
        for benchmark, trajectories in by_benchmark.items():
            by_task: dict[str, list[Trajectory]] = {}
            for trajectory in trajectories:
                by_task.setdefault(trajectory.solution.task_id, []).append(trajectory)
            rows += [
                {"model": model, "benchmark": benchmark, **count_task(by_task[problem.task_id], problem)}
                for problem in problems[benchmark]
                if problem.task_id in by_task
            ]
    return pd.DataFrame(rows)


def count_task(trajectories: Iterable[Trajectory], problem: Problem) -> dict[str, Any]:
    """The counts of one task; programs with a verdict ``infra`` are left out.

    ``samples``, ``wrong``, ``initial`` (programs that pass), ``correct``; and for each way: ``refine`` (passing after
    repair of those that fail) of ``refine samples``; ``sent`` and of them ``fixed``; ``broken`` (expected number of the
    correct programs that would break if all were sent); ``answers`` and of them ``invalid`` (no program that defines
    what was asked) and ``cut`` (ended by their length); ``explained`` (explanations of programs that fail) and of them
    ``invented`` (naming an exception that stands neither in the task, the program nor its feedback); ``raised`` (those
    whose feedback names an exception) and of them ``named`` (naming it too).
    """
    scored = [t for t in trajectories if t.solution.verdict.status != "infra"]
    solutions = [t.solution for t in scored]
    row: dict[str, Any] = {
        "task": problem.task_id, "problem": problem_of(problem.task_id), "samples": len(scored),
        "initial": _passed(solutions), "wrong": len(scored) - _passed(solutions),
        "tokens": sum(s.tokens for s in solutions),
        "initial invalid": sum(not _valid(s.code, problem) for s in solutions),
    }  # fmt: skip
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
    broken = (len(unbroken) - _passed(unbroken)) / len(unbroken) if unbroken else 0.0
    explained = [(s, r.explanation) for s, r in sent if r.explanation]
    raised = [(errors, text) for s, text in explained if (errors := exceptions_in(s.told))]
    return {
        "": _passed(kept) + _passed(r for _, r in sent), "samples": len(kept) + len(sent),
        "sent": len(wrong), "fixed": _passed(wrong),
        "correct": correct, "broken": correct * broken,
        "answers": len(repaired), "invalid": sum(not _valid(r.code, problem) for _, r in repaired),
        "cut": sum(not r.finished for _, r in repaired), "tokens": sum(r.tokens for _, r in sent),
        "explained": len(explained),
        "invented": sum(bool(invented_exceptions(text, problem.prompt, s.code, s.told)) for s, text in explained),
        "raised": len(raised), "named": sum(bool(errors & exceptions_in(text)) for errors, text in raised),
    }  # fmt: skip


def _passed(programs: Iterable[Solution | Refinement]) -> int:
    return sum(program.verdict.passed for program in programs)


def _valid(code: str, problem: Problem) -> bool:
    return bool(code) and defines_what_was_asked(code, problem)


# Estimates


def estimate(counts: pd.DataFrame, top: str, bottom: str, draws: int = 2000) -> Estimate | None:
    """100 × sum of ``top`` ÷ sum of ``bottom``, its interval by bootstrap over problems; None where ``bottom`` is 0."""
    by_problem = counts.groupby("problem", sort=False)[[top, bottom]].sum().to_numpy(dtype=float)
    return bootstrap_ratio(by_problem, draws) if by_problem[:, 1].sum() else None


def interval(found: Estimate | None) -> dict[str, float]:
    """The columns value, low and high of an estimate; NaN where there is none."""
    return dict(zip(("value", "low", "high"), found[:3] if found else [float("nan")] * 3, strict=True))


def with_pass_at(counts: pd.DataFrame, score: str, k: int) -> pd.DataFrame:
    """The rows with at least ``k`` samples, their pass@k in [0, 1] as ``pass``, and ``one`` to weigh them with."""
    samples = counts["samples" if score == "initial" else f"{score} samples"]
    counts, samples = counts[samples >= k], samples[samples >= k]
    chances = [pass_at_k(int(n), int(c), k) for n, c in zip(samples, counts[score], strict=True)]
    return counts.assign(**{"pass": chances, "one": 1.0})


def estimated_pass_at(counts: pd.DataFrame, score: str, k: int) -> Estimate | None:
    """pass@k in % of a score (initial, refine or explain), the mean over the table's tasks; None without k samples."""
    rows = with_pass_at(counts, score, k)
    return estimate(rows, "pass", "one") if len(rows) else None


def ks_of(counts: pd.DataFrame) -> list[int]:
    """Those of 1 and 10 that there are samples for."""
    return [k for k in (1, 10) if len(counts) and k <= counts["samples"].min()]


def groups_of(counts: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The table's benchmarks, and ``overall`` if there are several."""
    groups = dict(list(counts.groupby("benchmark", sort=False)))
    return groups | ({"overall": counts} if len(groups) > 1 else {})


def scores_of(counts: pd.DataFrame) -> list[str]:
    """The scores there are: recorded attempts know but one way of repair."""
    return [score for score in SCORES if score == "initial" or counts[f"{score} answers"].sum()]


def pass_at_k_scores(counts: pd.DataFrame) -> pd.DataFrame:
    """pass@1 and pass@10 in %: columns model, benchmark (and overall), score, k, value, low, high."""
    return pd.DataFrame([
        {"model": model, "benchmark": benchmark, "score": score, "k": k, **interval(estimated_pass_at(part, score, k))}
        for model, mine in counts.groupby("model", sort=False)
        for benchmark, part in groups_of(mine).items()
        for score in scores_of(part)
        for k in ks_of(part)
    ])  # fmt: skip


# Rates of repair

REFINEMENT_RATE, INVENTED, ALL_SENT = "success refinement rate", "wrong error named", "everything sent: pass@1"
RATES = {  # name: numerator and denominator
    REFINEMENT_RATE: ("fixed", "sent"),
    "break rate": ("broken", "correct"),
    "invalid output": ("invalid", "answers"),
    "cut off": ("cut", "answers"),
}
EXPLANATION_RATES = {"raised error named": ("named", "raised"), INVENTED: ("invented", "explained")}


def repair_rates(counts: pd.DataFrame) -> pd.DataFrame:
    """Rates of repair and of explanations in %: columns model, benchmark (and overall), way, rate, value, low, high."""
    rows = []
    for model, mine in counts.groupby("model", sort=False):
        for benchmark, part in groups_of(mine).items():
            for way in scores_of(part)[1:]:
                wanted = RATES | (EXPLANATION_RATES if way == "explain" else {})
                found = {name: estimate(part, *(f"{way} {column}" for column in pair)) for name, pair in wanted.items()}
                sent_all = part.assign(kept=part["initial"] - part[f"{way} broken"] + part[f"{way} fixed"])
                found[ALL_SENT] = estimate(sent_all, "kept", "samples")
                about = {"model": model, "benchmark": benchmark, "way": way}
                rows += [{**about, "rate": name, **interval(value)} for name, value in found.items()]
    return pd.DataFrame(rows, columns=["model", "benchmark", "way", "rate", "value", "low", "high"])


def fix_rates_by_kind(found: Evaluated, way: Way | None = None, least: int = 5) -> pd.DataFrame:
    """The share of wrong programs repaired, by model and kind of failure that it had at least ``least`` times.

    All benchmarks together; by default of explained repairs, where there are any. Columns: kind, wrong solutions, rate,
    low, high, model.
    """
    way = way or next((way for way in WAYS[::-1] if any(_repairs(mine, way) for mine in found.values())), WAYS[0])
    parts = []
    for model, by_benchmark in found.items():
        rows = [
            {"task": problem_of(s.task_id), "kind": failure_kind(s.verdict), "refined": r.verdict.passed}
            for s, r in _repairs(by_benchmark, way)
        ]
        kinds = refinement_rates_by_kind(pd.DataFrame(rows, columns=["task", "kind", "refined"]), least)
        parts.append(kinds.assign(model=model))
    return pd.concat(parts, ignore_index=True)


def edit_sizes(found: Evaluated) -> pd.DataFrame:
    """What repairs of wrong programs change, by model and way over all benchmarks.

    Medians of the lines changed, by all repairs and by those that pass; edit precision is the share (%) of the lines
    changed by repairs that pass without which they do not.
    """
    rows = []
    for model, by_benchmark in found.items():
        for way in WAYS:
            repairs = _repairs(by_benchmark, way)
            good = [
                {"problem": problem_of(s.task_id), "edited": r.edited, "needed": r.needed}
                for s, r in repairs
                if r.verdict.passed and r.needed is not None
            ]
            precision = estimate(pd.DataFrame(good), "needed", "edited") if good else None
            rows.append({
                "model": model, "way": way, "lines changed": _median([r.edited for _, r in repairs]),
                "by repairs that pass": _median([row["edited"] for row in good]),
                "edit precision %": str(precision or "–"),
            })  # fmt: skip
    return pd.DataFrame(rows)


def _repairs(by_benchmark: Mapping[str, Sequence[Trajectory]], way: Way) -> list[tuple[Solution, Refinement]]:
    """The wrong programs that were sent to repair in this way, with their repairs."""
    solutions = [(t.solution, t.repair(way)) for found in by_benchmark.values() for t in found]
    return [(s, r) for s, r in solutions if r and s.needs_repair and s.verdict.status not in ("passed", "infra")]


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if values else float("nan")
