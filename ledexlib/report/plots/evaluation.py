"""What models solve and what they repair."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from ledexlib.report.plots.style import NEUTRAL

SCORES = {"initial": "#999999", "refine": "#56B4E9", "explain": NEUTRAL}
NAMES = {"initial": "initial", "refine": "refine", "explain": "explain + refine"}


def scores(table: pd.DataFrame, k: int) -> Figure:
    """pass@k of every stage before and after repair, a panel for each benchmark (columns model, benchmark, score, k,
    value, low, high)."""
    table = table[table["k"] == k]
    panels = list(dict.fromkeys(table["benchmark"]))
    models = list(dict.fromkeys(table["model"]))
    fig, axes = plt.subplots(1, len(panels), figsize=(1.4 + 2.4 * len(panels), 3.6), sharey=True, squeeze=False)
    for ax, panel in zip(axes[0], panels, strict=True):
        for shift, score in enumerate(score for score in SCORES if score in set(table["score"])):
            rows = table[(table["benchmark"] == panel) & (table["score"] == score)].set_index("model").loc[models]
            places = [place + 0.27 * (shift - 1) for place in range(len(models))]
            errors = [(rows["value"] - rows["low"]).clip(lower=0), (rows["high"] - rows["value"]).clip(lower=0)]
            ax.bar(places, rows["value"], 0.25, color=SCORES[score], label=NAMES[score])
            ax.errorbar(places, rows["value"], yerr=errors, fmt="none", ecolor="#333333", elinewidth=1, capsize=2)
        ax.set_xticks(range(len(models)), models)
        ax.set(title=panel, ylim=(0, 100), ylabel=f"pass@{k} (%)" if panel == panels[0] else "")
        ax.grid(axis="x", visible=False)
    handles = axes[0][0].get_legend_handles_labels()
    fig.legend(*handles, loc="upper center", bbox_to_anchor=(0.5, 0.02), ncol=3, frameon=False)
    fig.suptitle(f"pass@{k} before and after repair, 95 % intervals by problem", fontweight="bold")
    fig.tight_layout()
    plt.close(fig)
    return fig


BUDGETS = ("#999999", "#56B4E9", NEUTRAL)


def budgets(table: pd.DataFrame) -> Figure:
    """Problems solved with so many answers, all of them programs or half of them repairs, a panel for each model."""
    models = list(dict.fromkeys(table["model"]))
    fig, axes = plt.subplots(1, len(models), figsize=(1 + 4 * len(models), 3.6), sharey=True, squeeze=False)
    for ax, model in zip(axes[0], models, strict=True):
        mine = table[table["model"] == model]
        for (strategy, rows), color in zip(mine.groupby("strategy", sort=False), BUDGETS, strict=False):
            ax.plot(rows["answers"], rows["value"], marker="o", color=color, label=strategy)
            ax.fill_between(rows["answers"], rows["low"], rows["high"], color=color, alpha=0.15)
        ax.set(title=model, xlabel="answers for each problem", ylim=(0, 100), xticks=sorted(set(mine["answers"])))
    axes[0][0].set_ylabel("problems solved (%)")
    axes[0][-1].legend(fontsize="small", loc="lower right")
    fig.suptitle("Repair or sample again: the same number of answers", fontweight="bold")
    fig.tight_layout()
    plt.close(fig)
    return fig


def fixes_by_kind(table: pd.DataFrame) -> Figure:
    """The share of wrong programs repaired, by kind of failure, for several models (columns model, kind, wrong
    solutions, rate, low, high)."""
    models = list(dict.fromkeys(table["model"]))
    kinds = list(dict.fromkeys(table.sort_values("wrong solutions", ascending=False)["kind"]))
    fig, ax = plt.subplots(figsize=(7.5, 1.6 + 0.45 * len(kinds)))
    for number, (model, color) in enumerate(zip(models, sns.color_palette("colorblind"), strict=False)):
        rows = table[table["model"] == model]
        places = [kinds.index(kind) + 0.2 * (number - (len(models) - 1) / 2) for kind in rows["kind"]]
        errors = [(rows["rate"] - rows["low"]).clip(lower=0), (rows["high"] - rows["rate"]).clip(lower=0)]
        ax.errorbar(rows["rate"], places, xerr=errors, fmt="o", color=color, capsize=3, label=model)
        for place, count, high in zip(places, rows["wrong solutions"], rows["high"], strict=True):
            ax.annotate(f"n = {count:,}", (high, place), textcoords="offset points", xytext=(8, -3), fontsize="x-small")
    ax.set_yticks(range(len(kinds)), kinds)
    ax.set(title="Which failures get repaired", xlabel="repaired (%), 95 % interval by problem", xlim=(-3, 112))
    ax.set_ylim(len(kinds) - 0.5, -0.5)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    plt.close(fig)
    return fig
