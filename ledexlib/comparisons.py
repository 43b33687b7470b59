"""Models against each other, and repair against sampling again."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd

from ledexlib.metrics import ratio, resamples
from ledexlib.repair_metrics import NAMES, interval, ks_of, pass_at, scores_of, with_pass_at


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
    values = rows.to_numpy()
    sums = resamples(len(values), draws) @ values
    drawn = 100.0 * sums[:, 0] / sums[:, 1]
    low, high = np.quantile(drawn, (0.025, 0.975))
    tail = min((drawn <= 0).sum(), (drawn >= 0).sum())
    n_samples = int(min(pairs["samples"].sum(), pairs["samples after"].sum()))
    p = min(1.0, 2 * (tail + 1) / (draws + 1))
    return Gain(ratio(values), float(low), float(high), float(p), len(pairs), n_samples)


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
            for k in ks_of(pair):
                found = gain(pair, before, after, score, k)
                drafts, repair = sources_of_gain(pair, before, after, score).values() if k == 1 else (0.0, 0.0)
                rows.append({
                    "comparison": f"{after} - {before}", "score": NAMES[score], "metric": f"pass@{k}",
                    "points": f"{found.points:+.2f} [{found.low:+.2f}, {found.high:+.2f}]", "p": found.p,
                    "from better drafts, repair": f"{drafts:+.2f}, {repair:+.2f}" if k == 1 else "",
                    "tasks": found.n_problems, "programs": found.n_samples,
                })  # fmt: skip
    return pd.DataFrame(rows)
