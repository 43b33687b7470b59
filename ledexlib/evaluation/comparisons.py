"""Models against each other, and repair against sampling again."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd

from ledexlib.statistics import ratio, resamples
from ledexlib.evaluation.metrics import NAMES, interval, ks_of, pass_at, scores_of, with_pass_at


class Gain(NamedTuple):
    """The difference of two models in points, its 95 % interval, and how likely a gain of the other sign is."""

    points: float
    low: float
    high: float
    p: float  # two-sided, of the paired bootstrap
    n_problems: int  # tasks of all benchmarks
    n_samples: int  # first programs of either model


def gain(table: pd.DataFrame, before: str, after: str, score: str, k: int, draws: int = 10_000) -> Gain:
    """pass@k of ``after`` minus that of ``before``, tested by paired bootstrap: a problem is drawn for both at once.

    Raises ValueError if the two were not evaluated on the same tasks.
    """
    key = ["benchmark", "task"]
    one, two = (with_pass_at(table[table["model"] == name], score, k).set_index(key) for name in (before, after))
    if set(one.index) != set(two.index) or one.empty:
        raise ValueError(f"'{before}' and '{after}' have no pass@{k} on the same tasks: evaluate both on the same")
    pairs = one[["problem", "samples", "pass"]].join(two[["samples", "pass"]].add_suffix(" after"))
    rows = pairs.assign(gain=pairs["pass after"] - pairs["pass"], one=1.0).groupby("problem")[["gain", "one"]].sum()
    n_samples = int(min(pairs["samples"].sum(), pairs["samples after"].sum()))
    return _tested(rows.to_numpy(), len(pairs), n_samples, draws)


def _tested(values: np.ndarray, n_problems: int, n_samples: int, draws: int) -> Gain:
    """A ratio of sums over problems, in points, less another one if there are four columns: numerator, denominator, …

    Draws without anything in a denominator are left out.
    """
    sums = resamples(len(values), draws) @ values
    sums = sums[(sums[:, 1::2] != 0).all(axis=1)]
    signs = (1.0, -1.0)[: values.shape[1] // 2]
    drawn = 100.0 * (sums[:, ::2] / sums[:, 1::2]) @ signs
    points = sum(sign * ratio(values[:, 2 * i :]) for i, sign in enumerate(signs))
    low, high = np.quantile(drawn, (0.025, 0.975))
    tail = min((drawn <= 0).sum(), (drawn >= 0).sum())
    p = min(1.0, 2 * (tail + 1) / (len(drawn) + 1))
    return Gain(points, float(low), float(high), float(p), n_problems, n_samples)


RATE, LIKE_FOR_LIKE = "success refinement rate", "refinement rate, like for like"


def like_for_like(table: pd.DataFrame, before: str, after: str, way: str) -> pd.DataFrame:
    """What a model repairs more of the same tasks: columns ``gain`` and ``weight`` by problem, and how many ``tasks``.

    A model that writes better drafts leaves only its harder ones to repair, so that its success refinement rate may
    fall although it repairs more of every task. Here a task has the weight of ``before``'s wrong programs, and ``gain``
    is how many more of them would be repaired at the rate of ``after``; tasks for which either has none are left out.
    """
    sent, fixed = f"{way} sent", f"{way} fixed"
    one, two = (table[table["model"] == name].set_index(["benchmark", "task"]) for name in (before, after))
    pairs = one[["problem", sent, fixed]].join(two[[sent, fixed]].add_suffix(" after"), how="inner")
    pairs = pairs[(pairs[sent] > 0) & (pairs[f"{sent} after"] > 0)]
    gained = pairs[sent] * pairs[f"{fixed} after"] / pairs[f"{sent} after"] - pairs[fixed]
    return pairs.assign(gain=gained, weight=pairs[sent], tasks=1).groupby("problem")[["gain", "weight", "tasks"]].sum()


def repair_gains(table: pd.DataFrame, before: str, after: str, way: str, draws: int = 10_000) -> dict[str, Gain]:
    """How much more of the wrong programs ``after`` repairs: each model of its own, and like for like; in points.

    Both by paired bootstrap. Empty if either model sent nothing to repair.
    """
    columns = [f"{way} fixed", f"{way} sent"]
    one, two = (table[table["model"] == name].groupby("problem")[columns].sum() for name in (before, after))
    rows = two.add_suffix(" after").join(one, how="outer").fillna(0)
    alike = like_for_like(table, before, after, way)
    if alike.empty:
        return {}
    tasks = table[table["model"] == before]["task"].nunique()
    own = _tested(rows.to_numpy(float), tasks, int(min(one[columns[1]].sum(), two[columns[1]].sum())), draws)
    like = _tested(
        alike[["gain", "weight"]].to_numpy(float), int(alike["tasks"].sum()), int(alike["weight"].sum()), draws
    )
    return {RATE: own, LIKE_FOR_LIKE: like}


def sources_of_gain(table: pd.DataFrame, before: str, after: str, score: str) -> dict[str, float]:
    """How much of a gain in refined pass@1 comes from better first drafts and how much from better repair, in points.

    With I the share of programs that pass and r the share of the others that repair turns right, the refined score is
    I + (1 - I) r: better drafts are worth (I' - I)(1 - r), better repair (1 - I')(r' - r).
    """
    share, fixed = {}, {}
    for name in (before, after):
        mine = table[table["model"] == name]
        share[name] = mine["initial"].sum() / mine["samples"].sum()
        fixed[name] = 0.0 if score == "initial" else mine[f"{score} fixed"].sum() / max(1, mine["wrong"].sum())
    drafts = 100.0 * (share[after] - share[before]) * (1 - fixed[before])
    return {"better drafts": drafts, "better repair": 100.0 * (1 - share[after]) * (fixed[after] - fixed[before])}


def equal_budget(table: pd.DataFrame) -> pd.DataFrame:
    """2k programs against k programs with their repairs: how many problems (%) have a solution, for k up to n/2.

    Columns: answers, strategy, value, low, high.
    """
    most = int(table["samples"].min()) // 2 if len(table) else 0
    ks = sorted({k for k in (1, 2, 5, 10, 20, 50, most) if 1 <= k <= most})
    rows = []
    for k in ks:
        rows.append({"answers": 2 * k, "strategy": "programs only", **interval(pass_at(table, "initial", 2 * k))})
        for way in scores_of(table)[1:]:
            rows.append({"answers": 2 * k, "strategy": f"half repairs ({way})", **interval(pass_at(table, way, k))})
    return pd.DataFrame(rows, columns=["answers", "strategy", "value", "low", "high"])


def equal_budgets(table: pd.DataFrame) -> pd.DataFrame:
    """`equal_budget` of each model, with a column for it."""
    parts = [equal_budget(mine).assign(model=model) for model, mine in table.groupby("model", sort=False)]
    return pd.concat(parts, ignore_index=True)


def all_gains(table: pd.DataFrame) -> pd.DataFrame:
    """Each model against the one before it in the table, over all benchmarks: gains in points, what they come from."""
    rows = []
    for before, after in pairwise(dict.fromkeys(table["model"])):
        pair = table[table["model"].isin((before, after))]
        for score in scores_of(pair):
            for metric, found, sources in _gains_of(pair, before, after, score):
                rows.append({
                    "comparison": f"{after} - {before}", "score": NAMES[score], "metric": metric,
                    "points": f"{found.points:+.2f} [{found.low:+.2f}, {found.high:+.2f}]", "p": found.p,
                    "from better drafts, repair": sources, "tasks": found.n_problems, "programs": found.n_samples,
                })  # fmt: skip
    return pd.DataFrame(rows)


def _gains_of(pair: pd.DataFrame, before: str, after: str, score: str) -> Iterator[tuple[str, Gain, str]]:
    """The metrics of a score: their names, gains and, for pass@1, what they come from."""
    for k in ks_of(pair):
        drafts, repair = sources_of_gain(pair, before, after, score).values()
        yield f"pass@{k}", gain(pair, before, after, score, k), f"{drafts:+.2f}, {repair:+.2f}" if k == 1 else ""
    if score != "initial":
        for name, found in repair_gains(pair, before, after, score).items():
            yield name, found, ""
