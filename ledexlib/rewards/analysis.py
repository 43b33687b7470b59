"""What the rewards say about collected refinements, whose correctness is known, before anything is trained on them."""

import ast
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from ledexlib.problems import parse_python
from ledexlib.records import Record, Refinement, Trajectory
from ledexlib.rewards.equations import explanation_reward, fit_explanation_map
from ledexlib.rewards.scorer import LeaveOut, Reward, Scorer
from ledexlib.statistics import Estimate, bootstrap, ratio

LEAVE_OUT_RULES: Mapping[LeaveOut, str] = {
    "nothing": "all", "itself": "without itself", "program": "without its program's correct refinements and copies"}
# With the references of one wrong program, an independent sample is compared with the others; with those of a task,
# correct and wrong refinements of a program are compared with the same references, none of them made for it.
HONEST_RULE: Mapping[str, LeaveOut] = {"solution": "itself", "task": "program"}
SCORES = {  # columns of the tables, and the fields of a reward in them
    "S_cb": "s_cb", "S_ut": "s_ut", "S_ex": "s_ex", "n-grams": "ngram", "weighted n-grams": "weighted_ngram",
    "syntax": "syntax", "data flow": "dataflow", "R(r)": "code", "R(e)": "explanation", "R(r) + R(e)": "total"}
COUNTS = {"references": "n_references", "without flow": "without_flow", "unmatched flow": "unmatched_flow"}
DRAWS = 1000


class RewardRecord(Record):
    """A collected refinement with its rewards: as training sees it, and by the honest rule of what is left out."""
    id: str  # the refinement's
    task_id: str
    correct: bool
    among_all: Reward | None
    honest: Reward | None


def wrong_with_refinements(trajectories: Iterable[Trajectory], most: int | None) -> list[Trajectory]:
    """The wrong solutions that got refinements, at most so many, evenly spread over the collection."""
    found = [t for t in trajectories if not t.solution.verdict.passed and t.refinements]
    n = min(len(found), most or len(found))
    return [found[i] for i in np.linspace(0, len(found) - 1, n).round().astype(int)]


def score_by_rules(
    scorer: Scorer, refinements: Sequence[Refinement]
) -> tuple[dict[LeaveOut, list[Reward | None]], tuple[float, float] | None]:
    """The rewards under every rule of what is left out, and the two ends of equation 5 that the honest S_ex give
    (None without similarities). With ``explanation_map: quantiles`` the rewards use them; ValueError without any."""
    p = scorer.params
    found = {rule: scorer.score(refinements, rule) for rule in LEAVE_OUT_RULES}
    honest = found[HONEST_RULE[p.reward_references]]
    similarities = [reward.s_ex for reward in honest if reward and reward.s_ex is not None]
    ends = fit_explanation_map(similarities) if similarities or p.explanation_map != "paper" else None
    if p.explanation_map == "quantiles":
        scorer.ends = ends
        found = {rule: scorer.score(refinements, rule) for rule in LEAVE_OUT_RULES}
    return found, ends


def reward_records(
    refinements: Sequence[Refinement], among_all: Sequence[Reward | None], honest: Sequence[Reward | None]
) -> list[RewardRecord]:
    """The rewards to keep."""
    return [
        RewardRecord(id=r.id, task_id=r.task_id, correct=r.verdict.passed, among_all=one, honest=other)
        for r, one, other in zip(refinements, among_all, honest, strict=True)]


def reward_table(refinements: Sequence[Refinement], rewards: Sequence[Reward | None]) -> pd.DataFrame:
    """A row for each refinement that has a reward: task, program, verdict, scores, lengths; NaN where there is none."""
    rows = [
        (r.task_id, r.solution_id, "correct" if r.verdict.passed else "wrong",
         *(getattr(reward, field) for field in (*SCORES.values(), *COUNTS.values())),
         len(r.code.splitlines()), len((r.explanation or "").split()), r)
        for r, reward in zip(refinements, rewards, strict=True) if reward is not None]
    columns = ["task", "solution", "verdict", *SCORES, *COUNTS, "lines", "words", "refinement"]
    table = pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(SCORES, float))
    table.loc[table["R(e)"].isna(), "R(r) + R(e)"] = np.nan
    return table


def _by_task(tasks: pd.Series, statistic: Callable[[np.ndarray], float], draws: int) -> Estimate:
    """A statistic of the rows that were drawn (their numbers), with its bootstrap interval over the rows' tasks."""
    number, names = pd.factorize(tasks)

    def of_draw(drawn: np.ndarray) -> float:
        return statistic(np.repeat(np.arange(len(number)), np.bincount(drawn, minlength=len(names))[number]))

    return bootstrap(np.arange(len(names)), of_draw, draws)


def auc(frame: pd.DataFrame, score: str) -> Estimate | None:
    """AUC of a score as a classifier of correctness over all refinements, by task; None without both verdicts.
    The value is scikit-learn's; for the thousand draws of the interval, the same from ranks is fifty times as fast."""
    from sklearn.metrics import roc_auc_score

    part = frame.dropna(subset=[score])
    if part["verdict"].nunique() < 2:
        return None
    correct, values = (part["verdict"] == "correct").to_numpy(), part[score].to_numpy()

    def of_draw(rows: np.ndarray) -> float:  # Mann and Whitney's U of the pairs of a correct and a wrong one
        n = int(correct[rows].sum())
        pairs = n * (len(rows) - n)
        return (rankdata(values[rows])[correct[rows]].sum() - n * (n + 1) / 2) / pairs if pairs else float("nan")

    return _by_task(part["task"], of_draw, DRAWS)._replace(value=float(roc_auc_score(correct, values)))


def auc_within_programs(frame: pd.DataFrame, score: str) -> tuple[Estimate | None, int]:
    """The same within each wrong program, over pairs of a correct and a wrong refinement of it, and how many pairs."""
    part = frame.dropna(subset=[score])[["task", "solution", "verdict", score]]
    correct, wrong = (part[part["verdict"] == verdict] for verdict in ("correct", "wrong"))
    pairs = correct.merge(wrong, on=["task", "solution"], suffixes=("", " of wrong"))
    if pairs.empty:
        return None, 0
    wins = (np.sign(pairs[score] - pairs[f"{score} of wrong"]) + 1) / 2  # a tie is half a win
    by_task = wins.groupby(pairs["task"]).agg(["sum", "count"]).to_numpy(float)
    value, low, high, n = bootstrap(by_task, ratio, DRAWS)
    return Estimate(value / 100, low / 100, high / 100, n), len(pairs)


def auc_table(frame: pd.DataFrame) -> pd.DataFrame:
    """For every score that is there its AUC over all refinements and within a wrong program, with 95 % intervals."""
    rows = []
    for score in SCORES:
        overall, (within, pairs) = auc(frame, score), auc_within_programs(frame, score)
        if overall is not None:
            there = frame.dropna(subset=[score])["verdict"].value_counts()
            rows.append((score, there["correct"], there["wrong"], *overall[:3], pairs, *(within or [np.nan] * 3)[:3]))
    columns = ["score", "correct", "wrong", "AUC", "low", "high", "pairs within a program", "AUC within", "low within"]
    return pd.DataFrame(rows, columns=[*columns, "high within"])


def leave_out_table(frames: Mapping[LeaveOut, pd.DataFrame]) -> pd.DataFrame:
    """What comparing a refinement with itself, or with its copies, does to the similarities."""
    rows = []
    for score, (rule, frame) in product(("S_cb", "S_ex"), frames.items()):
        part = frame.dropna(subset=[score])
        found = [part.loc[part["verdict"] == verdict, score] for verdict in ("correct", "wrong")]
        if len(part):
            counts, means = map(len, found), (values.mean() for values in found)
            rows.append((score, LEAVE_OUT_RULES[rule], *counts, *means, _text(auc(frame, score))))
    columns = ["score", "references", "correct", "wrong", "mean of correct", "mean of wrong", "AUC"]
    return pd.DataFrame(rows, columns=columns)


def _text(estimate: Estimate | None) -> str:
    """'0.71 [0.65, 0.78]', or a dash."""
    return "–" if estimate is None else f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"


def rank_correlation(frame: pd.DataFrame, one: str, other: str) -> Estimate | None:
    """Spearman's correlation of two columns with its interval over tasks; None if one of them does not vary."""
    part = frame.dropna(subset=[one, other])
    if part[one].nunique() < 2 or part[other].nunique() < 2:
        return None
    values = part[[one, other]].to_numpy(float)

    def of_draw(rows: np.ndarray) -> float:
        x, y = rankdata(values[rows], axis=0).T
        return float(np.corrcoef(x, y)[0, 1]) if x.std() and y.std() else float("nan")

    return _by_task(part["task"], of_draw, draws=300)


def reward_correlations(frame: pd.DataFrame) -> pd.DataFrame:
    """Rank correlation of R(r) with R(e): of all refinements, of the correct ones, of the wrong ones."""
    parts = {"all": frame, **{verdict: frame[frame["verdict"] == verdict] for verdict in ("correct", "wrong")}}
    rows = [
        (name, len(part.dropna(subset=["R(r)", "R(e)"])),
         *(_text(rank_correlation(part, *pair)) for pair in (("R(r)", "R(e)"), ("S_cb", "S_ex"))))
        for name, part in parts.items()]
    return pd.DataFrame(rows, columns=["refinements", "n", "R(r) with R(e)", "S_cb with S_ex"])


def length_correlations(frame: pd.DataFrame) -> pd.DataFrame:
    """Rank correlation of each reward with the length of what it rewards."""
    pairs = (("R(r)", "lines"), ("R(e)", "words"))
    rows = [(*pair, _text(rank_correlation(frame, *pair))) for pair in pairs if frame[pair[0]].notna().any()]
    return pd.DataFrame(rows, columns=["reward", "length in", "rank correlation"])


def saturation_table(trajectories: Sequence[Trajectory], every: pd.DataFrame, honest: pd.DataFrame) -> pd.DataFrame:
    """Where the rewards stop to tell anything: ends of the scales, degenerate data flow, copies, no reward at all;
    ``every`` and ``honest`` are tables of the rewards among all references and by the honest rule."""
    pairs = [(t.solution, r) for t in trajectories for r in t.refinements]
    unscored, n, n_compared = sum(r.verdict.status == "infra" for _, r in pairs), len(pairs), every["references"].sum()
    counts = [
        ("no reward: the harness's own trouble (infra)", unscored, n),
        ("no reward: nothing to compare with", n - len(every), n),
        ("no reward by the honest rule", n - len(honest), n),
        ("programs that do not parse", sum(parse_python(r.code) is None for _, r in pairs), n),
        ("refinements equal to the wrong program", sum(same_program(w.code, r.code) for w, r in pairs), n),
        ("S_ut = 0", (every["S_ut"] == 0).sum(), len(every)),
        ("S_ut = 1", (every["S_ut"] == 1).sum(), len(every)),
        ("S_cb = 1 among all references", (every["S_cb"] > 1 - 1e-9).sum(), len(every)),
        ("S_cb = 1 by the honest rule", (honest["S_cb"] > 1 - 1e-9).sum(), len(honest)),
        ("R(e) below -5", (honest["R(e)"] < -5).sum(), honest["R(e)"].count()),
        ("comparisons: reference without data flow, which counts as 1", every["without flow"].sum(), n_compared),
        ("comparisons: no data flow matched, which counts as 1", every["unmatched flow"].sum(), n_compared)]
    table = pd.DataFrame(counts, columns=["what", "count", "of"]).astype({"count": int, "of": int})
    table["%"] = 100 * table["count"] / table["of"].where(table["of"] > 0)
    return table


def same_program(a: str, b: str) -> bool:
    """Whether two programs are the same but for layout and comments; if one does not parse, but for white space."""
    try:
        return ast.dump(parse_python(a)) == ast.dump(parse_python(b))
    except (TypeError, RecursionError):  # there is no tree, or one too deep
        return a.split() == b.split()


def explanation_map_table(frame: pd.DataFrame, ends: Mapping[str, tuple[float, float]]) -> pd.DataFrame:
    """What each map of S_ex to R(e) (named, with its two ends) makes of the correct and the wrong refinements."""
    part = frame.dropna(subset=["S_ex"])
    correct, rows = part["verdict"] == "correct", []
    for name, (low, high) in ends.items():
        values = part["S_ex"].map(lambda s, e=(low, high): explanation_reward(s, e))
        good, bad = values[correct], values[~correct]
        rows.append({
            "map": name, "-5 at": low, "0 at": (low + high) / 2, "5 at": high, "mean of correct": good.mean(),
            "mean of wrong": bad.mean(), "spread (sd)": values.std(), "correct above 0 %": 100 * (good > 0).mean(),
            "wrong above 0 %": 100 * (bad > 0).mean(), "outside [-5, 5] %": 100 * (values.abs() > 5).mean()})
    return pd.DataFrame(rows)


def extreme_explanations(frame: pd.DataFrame, n: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The ``n`` highest- and the ``n`` lowest-rewarded explanations, one for each task."""
    explained = frame[frame["words"] > 0].dropna(subset=["R(e)"]).sort_values("R(e)", ascending=False)
    return explained.drop_duplicates("task").head(n), explained[::-1].drop_duplicates("task").head(n)
