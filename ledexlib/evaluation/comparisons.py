"""Models against each other, and repair against more samples, paired by problem; the figures of a run."""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ledexlib.evaluation.metrics import REFINEMENT_RATE, SCORE_NAMES, estimated_pass_at, ks_of, scores_of, with_pass_at
from ledexlib.evaluation.tables import PAPER_STAGES
from ledexlib.params import Params
from ledexlib.runs import read_json, run_folder
from ledexlib.statistics import ratio, resamples

LIKE_FOR_LIKE = "refinement rate, like for like"
STEPS = {"sft_over_prompting": ("base", "04_sft"), "rl_over_sft": ("04_sft", "05_ppo")}  # the headline's: before, after


class Gain(NamedTuple):
    """A difference of two models in percentage points, with its 95 % interval and two-sided bootstrap p-value."""
    points: float
    low: float
    high: float
    p: float
    n_problems: int  # tasks of all benchmarks
    n_samples: int  # first programs of either model


def pass_at_gain(counts: pd.DataFrame, before: str, after: str, score: str, k: int) -> Gain:
    """pass@k of ``after`` minus that of ``before`` by paired bootstrap: a problem is drawn for both at once.
    Raises ValueError if the two were not evaluated on the same tasks."""
    key = ["benchmark", "task"]
    one, two = (with_pass_at(counts[counts["model"] == name], score, k).set_index(key) for name in (before, after))
    if set(one.index) != set(two.index) or one.empty:
        raise ValueError(f"'{before}' and '{after}' have no pass@{k} on the same tasks: evaluate both on the same")
    pairs = one[["problem", "samples", "pass"]].join(two[["samples", "pass"]].add_suffix(" after"))
    rows = pairs.assign(gain=pairs["pass after"] - pairs["pass"], one=1.0).groupby("problem")[["gain", "one"]].sum()
    n_samples = int(min(pairs["samples"].sum(), pairs["samples after"].sum()))
    return _paired(rows.to_numpy(), len(pairs), n_samples)


def _paired(values: np.ndarray, n_problems: int, n_samples: int) -> Gain:
    """A ratio of sums over problems, less a second one if ``values`` (P, 2 or 4: numerator, denominator, …) has it;
    draws with a denominator of 0 are left out."""
    sums = resamples(len(values), 10_000) @ values
    sums = sums[(sums[:, 1::2] != 0).all(axis=1)]
    signs = (1.0, -1.0)[: values.shape[1] // 2]
    drawn = 100.0 * (sums[:, ::2] / sums[:, 1::2]) @ signs
    points = sum(sign * ratio(values[:, 2 * i :]) for i, sign in enumerate(signs))
    low, high = np.quantile(drawn, (0.025, 0.975))
    tail = min((drawn <= 0).sum(), (drawn >= 0).sum())
    p = min(1.0, 2 * (tail + 1) / (len(drawn) + 1))
    return Gain(points, float(low), float(high), float(p), n_problems, n_samples)


def like_for_like(counts: pd.DataFrame, before: str, after: str, way: str) -> pd.DataFrame:
    """What a model repairs more of the same tasks: columns ``gain`` and ``weight`` by problem, and how many ``tasks``.

    A model that writes better drafts leaves only its harder ones to repair, so that its success refinement rate may
    fall although it repairs more of every task. Here a task has the weight of ``before``'s wrong programs, and ``gain``
    is how many more would be repaired at the rate of ``after``; tasks for which either has none are left out."""
    sent, fixed = f"{way} sent", f"{way} fixed"
    one, two = (counts[counts["model"] == name].set_index(["benchmark", "task"]) for name in (before, after))
    pairs = one[["problem", sent, fixed]].join(two[[sent, fixed]].add_suffix(" after"), how="inner")
    pairs = pairs[(pairs[sent] > 0) & (pairs[f"{sent} after"] > 0)]
    gained = pairs[sent] * pairs[f"{fixed} after"] / pairs[f"{sent} after"] - pairs[fixed]
    return pairs.assign(gain=gained, weight=pairs[sent], tasks=1).groupby("problem")[["gain", "weight", "tasks"]].sum()


def repair_gains(counts: pd.DataFrame, before: str, after: str, way: str) -> dict[str, Gain]:
    """How much more of the wrong programs ``after`` repairs, by paired bootstrap: each model of its own, like for like;
    empty if no task has wrong programs of both."""
    columns = [f"{way} fixed", f"{way} sent"]
    one, two = (counts[counts["model"] == name].groupby("problem")[columns].sum() for name in (before, after))
    rows = two.add_suffix(" after").join(one, how="outer").fillna(0)
    alike = like_for_like(counts, before, after, way)
    if alike.empty:
        return {}
    tasks = counts[counts["model"] == before]["task"].nunique()
    own = _paired(rows.to_numpy(float), tasks, int(min(one[columns[1]].sum(), two[columns[1]].sum())))
    weighted, n_tasks = alike[["gain", "weight"]].to_numpy(float), int(alike["tasks"].sum())
    return {REFINEMENT_RATE: own, LIKE_FOR_LIKE: _paired(weighted, n_tasks, int(alike["weight"].sum()))}


def sources_of_gain(counts: pd.DataFrame, before: str, after: str, score: str) -> dict[str, float]:
    """How much of a gain in refined pass@1 comes from better first drafts and how much from better repair, in points.

    With I the share of programs that pass and r the share of the others that repair turns right, the refined score is
    I + (1 - I) r: better drafts are worth (I' - I)(1 - r), better repair (1 - I')(r' - r)."""
    share, fixed = {}, {}
    for name in (before, after):
        mine = counts[counts["model"] == name]
        share[name] = mine["initial"].sum() / mine["samples"].sum()
        fixed[name] = 0.0 if score == "initial" else mine[f"{score} fixed"].sum() / max(1, mine["wrong"].sum())
    drafts = 100.0 * (share[after] - share[before]) * (1 - fixed[before])
    return {"better drafts": drafts, "better repair": 100.0 * (1 - share[after]) * (fixed[after] - fixed[before])}


def compare_models(counts: pd.DataFrame) -> pd.DataFrame:
    """Each model against the one before it in the table, over all benchmarks: gains in points, what they come from."""
    rows = []
    for before, after in pairwise(dict.fromkeys(counts["model"])):
        pair = counts[counts["model"].isin((before, after))]
        for score in scores_of(pair):
            drafts, repair = sources_of_gain(pair, before, after, score).values()
            gains = {f"pass@{k}": pass_at_gain(pair, before, after, score, k) for k in ks_of(pair)}
            gains |= repair_gains(pair, before, after, score) if score != "initial" else {}
            for metric, found in gains.items():
                rows.append({
                    "comparison": f"{after} - {before}", "score": SCORE_NAMES[score], "metric": metric,
                    "points": f"{found.points:+.2f} [{found.low:+.2f}, {found.high:+.2f}]", "p": found.p,
                    "from better drafts, repair": f"{drafts:+.2f}, {repair:+.2f}" if metric == "pass@1" else "",
                    "tasks": found.n_problems, "programs": found.n_samples})
    return pd.DataFrame(rows)


def equal_budget(counts: pd.DataFrame) -> pd.DataFrame:
    """2k programs against k programs with their repairs: how many problems (%) have a solution, for k up to n/2.
    Columns: answers, strategy, value, low, high, model. Empty if there is but one program a problem."""
    rows = []
    for model, mine in counts.groupby("model", sort=False):
        most = int(mine["samples"].min()) // 2
        for k in sorted({k for k in (1, 2, 5, 10, 20, 50, most) if 1 <= k <= most}):
            rows.append((2 * k, "programs only", *estimated_pass_at(mine, "initial", 2 * k)[:3], model))
            for way in scores_of(mine)[1:]:
                rows.append((2 * k, f"half repairs ({way})", *estimated_pass_at(mine, way, k)[:3], model))
    return pd.DataFrame(rows, columns=["answers", "strategy", "value", "low", "high", "model"])


def headline_gains(counts: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """What fine-tuning and reinforcement learning add, over all benchmarks weighted by problems, where both were
    evaluated: to pass@1 and pass@10 after explain + refine, and to the success refinement rate (see `Gain`)."""
    found: dict[str, dict[str, Any]] = {}
    for name, (before, after) in STEPS.items():
        pair = counts[counts["model"].isin((before, after))]
        if pair["model"].nunique() == 2:
            gains = {f"pass@{k}": pass_at_gain(pair, before, after, "explain", k)._asdict() for k in ks_of(pair)}
            gains["from"] = sources_of_gain(pair, before, after, "explain")
            gains |= {rate: gain._asdict() for rate, gain in repair_gains(pair, before, after, "explain").items()}
            for metric, parts in gains.items():
                gains[metric] = {part: round(value, 4 if part == "p" else 2) for part, value in parts.items()}
            found[name] = gains
    return found


def evaluation_metrics(counts: pd.DataFrame, scores: pd.DataFrame, rates: pd.DataFrame, p: Params) -> dict[str, Any]:
    """The stage's ``metrics.json``: pass@1 of each model by name, for the table of runs, then all figures."""
    overall = scores if counts["benchmark"].nunique() == 1 else scores[scores["benchmark"] == "overall"]
    singles = overall[(overall["score"] != "refine") & (overall["k"] == 1)].replace({"model": PAPER_STAGES})
    about = read_json(run_folder(p) / "run.json") or {}
    return {
        **{f"{row.model} {row.score} pass@1 %": round(row.value, 2) for row in singles.itertuples()},
        "gains": headline_gains(counts), "feedback_from": p.feedback_from,
        "scores": scores.round(2).to_dict("records"), "rates": rates.round(2).to_dict("records"),
        "command": about.get("command") or f"notebooks/06_evaluate.ipynb with run = {p.run!r}",
        "parameters": about.get("parameters", {})}
