"""What models solve and what they repair."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from ledexlib.report.plots.style import LINES, NEUTRAL, legend, message, outer_labels, panels

SCORES = {"initial": "#999999", "refine": "#56B4E9", "explain": NEUTRAL}  # by how often a program was repaired
NAMES = {"explain": "explain + refine"}


def scores(table: pd.DataFrame, k: int) -> Figure:
    """pass@k of every stage before and after repair, a panel for each benchmark.

    Columns model, benchmark, score, k, value, low, high.
    """
    table = table[table["k"] == k]
    if table.empty:
        return message(f"Fewer than {k} programs a problem: there is no pass@{k}.")
    benchmarks, models = (list(dict.fromkeys(table[name])) for name in ("benchmark", "model"))
    title = f"pass@{k} before and after repair, 95 % intervals by problem"
    fig, axes = panels(len(benchmarks), 2.6, title, sharey=True)
    for ax, benchmark in zip(axes, benchmarks, strict=True):
        for shift, score in enumerate(score for score in SCORES if score in set(table["score"])):
            mine = (table["benchmark"] == benchmark) & (table["score"] == score)
            rows = table[mine].set_index("model").reindex(models)
            places = [place + 0.27 * (shift - 1) for place in range(len(models))]
            errors = [(rows["value"] - rows["low"]).clip(lower=0), (rows["high"] - rows["value"]).clip(lower=0)]
            ax.bar(places, rows["value"], 0.25, color=SCORES[score], label=NAMES.get(score, score))
            ax.errorbar(places, rows["value"], yerr=errors, fmt="none", ecolor="#333333", elinewidth=1, capsize=2)
        ax.set_xticks(range(len(models)), models)
        ax.set(title=benchmark, ylim=(0, 100))
        ax.grid(axis="x", visible=False)
    outer_labels(axes, "", f"pass@{k} (%)")
    legend(fig)
    return fig


def budgets(table: pd.DataFrame) -> Figure:
    """Problems solved with so many answers, all of them programs or half of them repairs, a panel for each model.

    Columns model, answers, strategy, value, low, high; without a row a figure that says so.
    """
    if table.empty:
        return message("Repair against sampling again needs two programs a problem: there are fewer.")
    models = list(dict.fromkeys(table["model"]))
    fig, axes = panels(len(models), 2.8, "Repair or sample again: the same number of answers", sharey=True)
    for ax, model in zip(axes, models, strict=True):
        mine = table[table["model"] == model]
        looks = zip(mine.groupby("strategy", sort=False), SCORES.values(), ("o", "s", "^"), strict=False)
        for (strategy, rows), color, marker in looks:
            ax.plot(rows["answers"], rows["value"], marker=marker, color=color, label=strategy)
            ax.fill_between(rows["answers"], rows["low"], rows["high"], color=color, alpha=0.15)
        ax.set(title=model, ylim=(0, 100), xticks=sorted(set(mine["answers"])))
    outer_labels(axes, "answers for each problem", "problems solved (%)")
    legend(fig, columns=2)
    return fig


def fixes_by_kind(table: pd.DataFrame) -> Figure:
    """The share of wrong programs repaired, by kind of failure, for several models.

    Columns model, kind, wrong solutions, rate, low, high.
    """
    if table.empty:
        return message("Too few failures of any kind for a rate.")
    models = list(dict.fromkeys(table["model"]))
    kinds = list(dict.fromkeys(table.sort_values("wrong solutions", ascending=False)["kind"]))
    apart = 0.8 / len(models)
    fig, (ax,) = panels(1, 1.7 + 0.25 * len(models) * len(kinds))
    for number, (model, color) in enumerate(zip(models, (LINES[6], *LINES[:6]), strict=False)):
        rows = table[table["model"] == model]
        places = [kinds.index(kind) + apart * (number - (len(models) - 1) / 2) for kind in rows["kind"]]
        errors = [(rows["rate"] - rows["low"]).clip(lower=0), (rows["high"] - rows["rate"]).clip(lower=0)]
        ax.errorbar(rows["rate"], places, xerr=errors, fmt="o", color=color, capsize=3, label=model)
        for place, count in zip(places, rows["wrong solutions"], strict=True):
            where = ax.get_yaxis_transform()  # beside the panel, at the height of its point
            ax.text(1.01, place, f"n = {count:,}", transform=where, va="center", fontsize="x-small")
    ax.set_yticks(range(len(kinds)), kinds)
    ax.set(title="Which failures get repaired", xlabel="repaired (%), 95 % interval by problem", xlim=(-3, 103))
    ax.set_ylim(len(kinds) - 0.5, -0.5)
    legend(fig)
    return fig
