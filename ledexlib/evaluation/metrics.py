"""What attempts and their repairs come to: every figure of evaluation, with an interval by problem.

Figures are ratios of sums over problems. A benchmark and its plus version hold the same problems, so intervals resample
a problem with all its appearances; weighting by counts makes "overall" the problem-weighted mean over benchmarks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ledexlib.problems import programs
from ledexlib.evaluation.explanations import exceptions_in, invented
from ledexlib.statistics import Estimate, bootstrap_ratio, pass_at_k
from ledexlib.records import Attempt, Problem
from ledexlib.repair.trajectories import failure_kind, rates_by_kind

WAYS = ("refine", "explain")
SCORES = ("initial", *WAYS)
NAMES = {"initial": "initial", "refine": "refine", "explain": "explain + refine"}  # as tables name the scores


def problem_of(task_id: str) -> str:
    """The problem behind a task: ``mini-mbppplus/11`` is ``mini-mbpp/11`` with more tests."""
    return task_id.lower().replace("plus", "")


def task_row(tried: Sequence[Attempt], problem: Problem) -> dict[str, Any]:
    """The counts of one task from which every figure follows; attempts that the harness failed are left out.

    ``samples``, ``wrong``, ``initial`` (programs that pass), ``correct``; and for each way: ``refine`` (passing after
    repair of those that fail) of ``refine samples``; ``sent`` and of them ``fixed``; ``broken`` (expected number of the
    correct programs that would break if all were sent); ``answers`` and of them ``invalid`` (no program that defines
    what was asked) and ``cut`` (ended by their length); ``explained`` (explanations of programs that fail) and of them
    ``invented`` (naming an exception that stands neither in the task, the program nor its feedback); ``raised`` (those
    whose feedback names an exception) and of them ``named`` (naming it too).
    """
    scored = [a for a in tried if a.verdict.status != "infra"]
    row: dict[str, Any] = {
        "task": problem.task_id, "problem": problem_of(problem.task_id), "samples": len(scored),
        "initial": sum(a.verdict.passed for a in scored), "wrong": sum(not a.verdict.passed for a in scored),
        "tokens": sum(a.tokens for a in scored),
        "initial invalid": sum(not _valid(a.code, problem) for a in scored),
    }  # fmt: skip
    for way in WAYS:
        row |= {f"{way} {name}".strip(): value for name, value in _way_counts(scored, problem, way).items()}
    return row


def _way_counts(scored: Sequence[Attempt], problem: Problem, way: str) -> dict[str, float]:
    repaired = [(a, a.repairs[way]) for a in scored if way in a.repairs and a.repairs[way].verdict.status != "infra"]
    sent = [(a, r) for a, r in repaired if a.fails]
    kept = [a for a in scored if not a.fails or way not in a.repairs]
    wrong = [(a, r) for a, r in sent if not a.verdict.passed]
    correct = [(a, r) for a, r in repaired if a.verdict.passed]
    broken = sum(not r.verdict.passed for _, r in correct) / len(correct) if correct else 0.0
    n_correct = sum(a.verdict.passed for a in scored) if correct else 0
    explained = [(a, r.explanation) for a, r in sent if r.explanation]
    raised = [(errors, said) for a, said in explained if (errors := exceptions_in(a.feedback))]
    return {
        "": sum(a.verdict.passed for a in kept) + sum(r.verdict.passed for _, r in sent),
        "samples": len(kept) + len(sent),
        "sent": len(wrong), "fixed": sum(r.verdict.passed for _, r in wrong),
        "correct": n_correct, "broken": n_correct * broken,
        "answers": len(repaired), "invalid": sum(not _valid(r.code, problem) for _, r in repaired),
        "cut": sum(not r.finished for _, r in repaired), "tokens": sum(r.tokens for _, r in sent),
        "explained": len(explained),
        "invented": sum(bool(invented(said, problem.prompt, a.code, a.feedback)) for a, said in explained),
        "raised": len(raised), "named": sum(bool(errors & exceptions_in(said)) for errors, said in raised),
    }  # fmt: skip


def _valid(code: str, problem: Problem) -> bool:
    return bool(code) and programs.rank(code, problem) == programs.ASKED


def task_table(
    attempts: Mapping[str, Mapping[str, Sequence[Attempt]]], problems: Mapping[str, Sequence[Problem]]
) -> pd.DataFrame:
    """A row of `task_row` for each model, benchmark and task of ``attempts[model][benchmark]``."""
    rows = []
    for model, by_benchmark in attempts.items():
        for benchmark, tried in by_benchmark.items():
            by_task: dict[str, list[Attempt]] = {problem.task_id: [] for problem in problems[benchmark]}
            for attempt in tried:
                by_task[attempt.task_id].append(attempt)
            rows += [
                {"model": model, "benchmark": benchmark, **task_row(by_task[problem.task_id], problem)}
                for problem in problems[benchmark]
                if by_task[problem.task_id]
            ]
    return pd.DataFrame(rows)


def estimate(table: pd.DataFrame, top: str, bottom: str, draws: int = 2000) -> Estimate | None:
    """100 × sum of ``top`` ÷ sum of ``bottom``, its interval by bootstrap over problems; None where ``bottom`` is 0."""
    by_problem = table.groupby("problem", sort=False)[[top, bottom]].sum().to_numpy(dtype=float)
    return bootstrap_ratio(by_problem, draws) if by_problem[:, 1].sum() else None


# pass@k


def with_pass_at(table: pd.DataFrame, score: str, k: int) -> pd.DataFrame:
    """The rows with at least ``k`` samples and the chance ``pass`` (in [0, 1]) of each; ``one`` weighs them."""
    samples = table["samples" if score == "initial" else f"{score} samples"]
    table, samples = table[samples >= k], samples[samples >= k]
    chances = [pass_at_k(int(n), int(c), k) for n, c in zip(samples, table[score], strict=True)]
    return table.assign(**{"pass": chances, "one": 1.0})


def pass_at(table: pd.DataFrame, score: str, k: int) -> Estimate | None:
    """pass@k in % of a score (initial, refine or explain), the mean over the table's tasks; None without k samples."""
    rows = with_pass_at(table, score, k)
    return estimate(rows, "pass", "one") if len(rows) else None


def ks_of(table: pd.DataFrame) -> list[int]:
    """Those of 1 and 10 that there are samples for."""
    return [k for k in (1, 10) if len(table) and k <= table["samples"].min()]


def groups_of(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The table's benchmarks, and ``overall`` if there are several."""
    groups = dict(list(table.groupby("benchmark", sort=False)))
    return groups | ({"overall": table} if len(groups) > 1 else {})


def scores_of(table: pd.DataFrame) -> list[str]:
    """The scores there are: recorded attempts know but one way of repair."""
    return [score for score in SCORES if score == "initial" or table[f"{score} answers"].sum()]


def scores(table: pd.DataFrame) -> pd.DataFrame:
    """pass@1 and pass@10 of every score for each model and benchmark and overall, with intervals."""
    rows = []
    for model, mine in table.groupby("model", sort=False):
        for benchmark, part in groups_of(mine).items():
            for score in scores_of(part):
                for k in ks_of(part):
                    found = pass_at(part, score, k)
                    rows.append({"model": model, "benchmark": benchmark, "score": score, "k": k, **interval(found)})
    return pd.DataFrame(rows)


def interval(found: Estimate | None) -> dict[str, float]:
    """The columns value, low and high of a figure; NaN where there is none."""
    nothing = float("nan")
    value, low, high = (found.value, found.low, found.high) if found else (nothing, nothing, nothing)
    return {"value": value, "low": low, "high": high}


# Rates of repair


INVENTED = "wrong error named"
RATES = {  # name: numerator and denominator
    "success refinement rate": ("fixed", "sent"),
    "break rate": ("broken", "correct"),
    "invalid output": ("invalid", "answers"),
    "cut off": ("cut", "answers"),
}
TRUTH = {"raised error named": ("named", "raised"), INVENTED: ("invented", "explained")}  # of explanations


def rates(table: pd.DataFrame) -> pd.DataFrame:
    """Rates of repair and of explanations in %, by model, benchmark (and overall) and way, with intervals."""
    rows = []
    for model, mine in table.groupby("model", sort=False):
        for benchmark, part in groups_of(mine).items():
            for way in scores_of(part)[1:]:
                wanted = RATES | (TRUTH if way == "explain" else {})
                found = {
                    name: estimate(part, f"{way} {top}", f"{way} {bottom}") for name, (top, bottom) in wanted.items()
                }
                for name, value in found.items():
                    rows.append({"model": model, "benchmark": benchmark, "way": way, "rate": name, **interval(value)})
                sent_all = part.assign(kept=part["initial"] - part[f"{way} broken"] + part[f"{way} fixed"])
                rows.append({"model": model, "benchmark": benchmark, "way": way, "rate": "everything sent: pass@1",
                             **interval(estimate(sent_all, "kept", "samples"))})  # fmt: skip
    return pd.DataFrame(rows, columns=["model", "benchmark", "way", "rate", "value", "low", "high"])


def by_kind(attempts: Iterable[Attempt], way: str, least: int = 5) -> pd.DataFrame:
    """The share of wrong programs that were repaired, for each kind of failure seen ``least`` times.

    Columns: kind, wrong solutions, rate, low, high.
    """
    rows = [
        {"task": problem_of(a.task_id), "kind": failure_kind(a.verdict), "refined": a.repairs[way].verdict.passed}
        for a in attempts
        if way in a.repairs and a.fails and a.verdict.status not in ("passed", "infra")
    ]
    return rates_by_kind(pd.DataFrame(rows, columns=["task", "kind", "refined"]), least)


def kinds_table(found: Mapping[str, Mapping[str, Sequence[Attempt]]], way: str) -> pd.DataFrame:
    """`by_kind` of each model over all benchmarks, with a column for it."""
    parts = [by_kind(every(by_benchmark), way).assign(model=model) for model, by_benchmark in found.items()]
    return pd.concat(parts, ignore_index=True)


class EditFigures(NamedTuple):
    """How repairs edit: lines changed by an answer and by one that passes, and how much of the latter was needed."""

    size: float  # median of all answers to failing programs
    size_correct: float  # median of the repairs that pass
    precision: Estimate | None  # needed ÷ changed lines of the repairs that pass, in %


def edit_figures(attempts: Iterable[Attempt], way: str) -> EditFigures:
    """Edit size and edit precision of a way of repair."""
    repaired = [(a, a.repairs[way]) for a in attempts if way in a.repairs and not a.verdict.passed and a.fails]
    good = [
        {"problem": problem_of(a.task_id), "edited": r.edited, "needed": r.needed}
        for a, r in repaired
        if r.verdict.passed and r.needed is not None
    ]
    every = [r.edited for _, r in repaired]
    return EditFigures(
        float(np.median(every)) if every else float("nan"),
        float(np.median([row["edited"] for row in good])) if good else float("nan"),
        estimate(pd.DataFrame(good), "needed", "edited") if good else None,
    )


def edit_table(found: Mapping[str, Mapping[str, Sequence[Attempt]]]) -> pd.DataFrame:
    """Edit size and edit precision of each model and way over all benchmarks."""
    rows = []
    for model, by_benchmark in found.items():
        for way in WAYS:
            figures = edit_figures(every(by_benchmark), way)
            rows.append({
                "model": model, "way": way, "lines changed": figures.size,
                "by repairs that pass": figures.size_correct,
                "edit precision %": str(figures.precision or "–"),
            })  # fmt: skip
    return pd.DataFrame(rows)


def every(by_benchmark: Mapping[str, Sequence[Attempt]]) -> list[Attempt]:
    """The attempts at all benchmarks."""
    return [attempt for attempts in by_benchmark.values() for attempt in attempts]
