"""Which solutions count, trajectories, and what these look like: Table 1, kinds of failure, the dataset card."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ledexlib.params import resolve
from ledexlib.problems import read_recorded
from ledexlib.records import Problem, Refinement, Solution, Trajectory, Verdict
from ledexlib.repair.caches import VerdictCache
from ledexlib.statistics import Estimate, bootstrap, pass_at_k, ratio

# Table 1 of the paper, the training data of CodeLlama and StarCoder with GPT-3.5-Turbo as teacher.
PAPER_TABLE_1 = pd.DataFrame([
    ("paper: MBPP", 9_500, 4_706, 4_794, 2_203, "45.95"),
    ("paper: APPS", 44_108, 27_736, 16_372, 6_419, "39.21"),
    ("paper: CodeContests", 51_134, 31_520, 19_614, 5_113, "26.07"),
], columns=["data", "unique solutions", "correct", "wrong", "refined", "refinement rate %"])  # fmt: skip


def unique_solutions(solutions: Iterable[Solution]) -> list[Solution]:
    """The first of equal programs of a model for a task, as Table 1 counts them; none with a verdict ``infra``."""
    counted = [s for s in solutions if s.verdict.status != "infra"]
    return list({(s.model, s.task_id, s.code): s for s in reversed(counted)}.values())[::-1]


def wrong_solutions(solutions: Iterable[Solution]) -> list[Solution]:
    """The different programs that are to be repaired."""
    return [solution for solution in unique_solutions(solutions) if solution.needs_repair]


def unbroken_solutions(solutions: Iterable[Solution], most: int) -> list[Solution]:
    """The first ``most`` different programs of each problem that need no repair, to see whether one breaks them."""
    found: dict[str, dict[str, Solution]] = {}
    for solution in solutions:
        mine = found.setdefault(solution.task_id, {})
        if not solution.needs_repair and len(mine) < most and solution.verdict.status != "infra":
            mine.setdefault(solution.code, solution)
    return [solution for mine in found.values() for solution in mine.values()]


def assemble(solutions: Iterable[Solution], refinements: Iterable[Refinement]) -> list[Trajectory]:
    """A trajectory for each solution, with its refinements in the order of their index."""
    by_solution: dict[str, list[Refinement]] = defaultdict(list)
    for refinement in sorted(refinements, key=lambda r: r.sampling.index):
        by_solution[refinement.solution_id].append(refinement)
    return [Trajectory(id=s.id, solution=s, refinements=tuple(by_solution[s.id])) for s in solutions]


def recorded_trajectories(
    files: Sequence[str], problems: Sequence[Problem], verdicts: VerdictCache) -> list[Trajectory]:
    """What others recorded, with verdicts: first programs with their repairs, in the order of the rounds.

    A repair with an explanation counts as explained, any other as direct."""
    solutions, refinements = read_recorded(map(resolve, files), [problem.task_id for problem in problems])
    programs = [(program.task_id, program.code) for program in (*solutions, *refinements)]
    found = iter(verdicts(problems, programs, "verdicts on recorded attempts"))
    solutions = [solution.model_copy(update={"verdict": next(found)}) for solution in solutions]
    refinements = [
        r.model_copy(update={"verdict": next(found), "way": "explain" if r.explanation else "refine"})
        for r in refinements]
    return assemble(solutions, refinements)


def wrong_trajectories(trajectories: Iterable[Trajectory]) -> list[Trajectory]:
    """Those of wrong solutions."""
    return [t for t in trajectories if not t.solution.verdict.passed]


def refinement_rate(trajectories: Iterable[Trajectory]) -> Estimate | None:
    """Refined ÷ wrong in %, each wrong solution counted once (Table 1); resampled by problem; None if none is wrong."""
    by_task = failure_table(trajectories).groupby("task", sort=False)["refined"].agg(["sum", "count"])
    return bootstrap(by_task.to_numpy(dtype=float), ratio) if len(by_task) else None


def correct_refinement_rate(trajectories: Iterable[Trajectory]) -> Estimate | None:
    """Correct refinements ÷ refinements in %: how often a single answer of the teacher is right."""
    by_task = failure_table(trajectories).groupby("task", sort=False)[["correct refinements", "refinements"]].sum()
    return bootstrap(by_task.to_numpy(dtype=float), ratio) if len(by_task) else None


def table_1(trajectories: Sequence[Trajectory], data: str) -> pd.DataFrame:
    """The paper's Table 1 with this collection as its first row; the interval is by bootstrap over problems."""
    rate = refinement_rate(trajectories)
    bad = wrong_trajectories(trajectories)
    refined = sum(bool(t.correct) for t in bad)
    row = (data, len(trajectories), len(trajectories) - len(bad), len(bad), refined, str(rate or "–"))
    ours = pd.DataFrame([row], columns=PAPER_TABLE_1.columns)
    return pd.concat([ours, PAPER_TABLE_1], ignore_index=True)


def failure_kind(verdict: Verdict) -> str:
    """Why a program failed, in a word or two: 'wrong result', an exception's name, 'time-out', or 'other error'."""
    if verdict.status == "failed":
        return "wrong result"
    if verdict.status == "timeout":
        return "time-out"
    found = re.search(r"^(\w*(?:Error|Exception|Exit|Interrupt|Iteration))\b", verdict.feedback, flags=re.MULTILINE)
    return found.group(1) if found else "other error"


def failure_table(trajectories: Iterable[Trajectory]) -> pd.DataFrame:
    """A row for each wrong solution: task, kind of failure, tests passed, whether and how often refined."""
    rows = [
        (t.solution.task_id, failure_kind(verdict), 100.0 * verdict.n_passed / max(1, verdict.n_tests),
         len(t.refinements), len(t.correct), bool(t.correct))
        for t in wrong_trajectories(trajectories) for verdict in [t.solution.verdict]]
    columns = ["task", "kind", "tests passed %", "refinements", "correct refinements", "refined"]
    return pd.DataFrame(rows, columns=columns)


def refinement_rates_by_kind(table: pd.DataFrame, least: int = 1) -> pd.DataFrame:
    """Refinement rate in % with its bootstrap interval for every kind of failure seen at least ``least`` times."""
    rows = []
    for kind, part in table.groupby("kind"):
        if len(part) >= least:
            by_task = part.groupby("task")["refined"].agg(["sum", "count"]).to_numpy(dtype=float)
            rows.append((kind, len(part), *bootstrap(by_task, ratio, draws=1000)[:3]))
    table = pd.DataFrame(rows, columns=["kind", "wrong solutions", "rate", "low", "high"])
    return table.sort_values("wrong solutions", ascending=False, ignore_index=True)


def length_table(trajectories: Iterable[Trajectory]) -> pd.DataFrame:
    """Lines of each distinct program and words of each distinct explanation, by what they are and whether correct."""
    rows = set()
    for t in trajectories:
        rows.add(("program", "solution", t.solution.verdict.passed, t.solution.code))
        for r in t.refinements:
            rows.add(("program", "refinement", r.verdict.passed, r.code))
            rows |= {("explanation", "explanation", r.verdict.passed, r.explanation)} if r.explanation else set()
    table = [
        (what, part, "correct" if good else "wrong", len(text.splitlines() if what == "program" else text.split()))
        for what, part, good, text in sorted(rows)]
    return pd.DataFrame(table, columns=["text", "of", "verdict", "length"])


def solved_after_rounds(trajectories: Iterable[Trajectory]) -> pd.Series:
    """For sequences of attempts: how many end in a pass if one stops after so many rounds of repair (0: none).

    A sequence shorter than the round counts with its last attempt."""
    sequences = [[t.solution.verdict.passed, *(r.verdict.passed for r in t.refinements)] for t in trajectories]
    rounds = max(map(len, sequences), default=0)
    solved = [sum(s[min(i, len(s) - 1)] for s in sequences) for i in range(rounds)]
    return pd.Series(solved, index=pd.RangeIndex(rounds, name="rounds"), name="solved")


def passes_by_task(solutions: Iterable[Solution]) -> pd.DataFrame:
    """Samples and passing samples of each task; those without a verdict that counts are left out."""
    rows = [(s.task_id, s.verdict.passed, 1) for s in solutions if s.verdict.status != "infra"]
    return pd.DataFrame(rows, columns=["task", "passed", "samples"]).groupby("task", sort=False).sum()


def mean_pass_at_k(counts: pd.DataFrame, k: int) -> Estimate:
    """pass@k in %, the mean over tasks (rows of ``passes_by_task``), with its bootstrap interval over tasks."""
    chances = [pass_at_k(int(n), int(c), k) for n, c in zip(counts["samples"], counts["passed"], strict=True)]
    return bootstrap(np.array(chances), lambda rows: 100.0 * float(rows.mean()))


def verdict_counts(trajectories: Sequence[Trajectory]) -> pd.DataFrame:
    """How many solutions and refinements got which verdict."""
    rows = [("solutions", t.solution.verdict.status) for t in trajectories]
    rows += [("refinements", r.verdict.status) for t in trajectories for r in t.refinements]
    table = pd.DataFrame(rows, columns=["", "verdict"]).groupby(["", "verdict"]).size().unstack(fill_value=0)
    return table.reindex(columns=[c for c in ("passed", "failed", "error", "timeout", "infra") if c in table])


def correct_repairs(trajectories: Sequence[Trajectory], n: int) -> list[tuple[Trajectory, Refinement]]:
    """Repairs to read: of different tasks, with an explanation where there is one, spread over the collection."""
    first = {t.solution.task_id: (t, r) for t in reversed(wrong_trajectories(trajectories)) for r in t.correct[:1]}
    pairs = list(first.values())
    step = max(1, len(pairs) // max(1, n))
    return pairs[::step][:n]


def dataset_card(trajectories: Sequence[Trajectory], about: dict[str, object], command: str) -> str:
    """A Markdown card that says what the data is, how it was made and what it must not be used for."""
    bad = wrong_trajectories(trajectories)
    card = Path(__file__).with_name("dataset_card.md").read_text(encoding="utf-8")
    return card.format(
        command=command, models=", ".join(sorted({t.solution.model for t in trajectories})),
        teachers=", ".join(sorted({r.teacher for t in trajectories for r in t.refinements})) or "nobody",
        solutions=len(trajectories), wrong=len(bad), refinements=sum(len(t.refinements) for t in bad),
        correct=sum(len(t.correct) for t in bad), rate=refinement_rate(trajectories) or "–",
        facts="\n".join(f"| {name} | {value} |" for name, value in about.items()))
