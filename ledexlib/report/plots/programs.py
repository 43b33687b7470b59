"""Programs and repairs: how they fail, how many pass, how long they are."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from ledexlib.report.plots.style import NEUTRAL, VERDICTS, WRONG


def failure_kinds(failures: pd.DataFrame) -> Figure:
    """How many wrong solutions there are of each kind of failure."""
    counts = failures["kind"].value_counts()
    fig, ax = plt.subplots(figsize=(7, 1.2 + 0.35 * len(counts)))
    sns.barplot(x=counts.to_numpy(), y=counts.index, color=NEUTRAL, ax=ax)
    ax.bar_label(ax.containers[0], padding=3)
    ax.set(title=f"How {len(failures):,} wrong solutions fail", xlabel="wrong solutions", ylabel="")
    ax.margins(x=0.1)
    plt.close(fig)
    return fig


def rates(table: pd.DataFrame, overall: float) -> Figure:
    """Refinement rate by kind of failure, with 95 % intervals, beside the rate over all kinds."""
    fig, ax = plt.subplots(figsize=(7, 1.4 + 0.4 * len(table)))
    labels = [f"{row['kind']} (n = {row['wrong solutions']})" for _, row in table.iterrows()]
    errors = [table["rate"] - table["low"], table["high"] - table["rate"]]
    ax.errorbar(table["rate"], labels, xerr=[e.clip(lower=0) for e in errors], fmt="o", color=NEUTRAL, capsize=4)
    ax.axvline(overall, color=WRONG, linestyle="--", label=f"all kinds: {overall:.1f} %")
    ax.set(title="Which failures get repaired", xlabel="refinement rate (%), 95 % interval by problem", xlim=(-3, 103))
    ax.set_ylim(len(labels) - 0.5, -0.5)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.3 / max(1, 0.12 * len(table) + 0.6)), frameon=False)
    plt.close(fig)
    return fig


def by_problem(failures: pd.DataFrame) -> Figure:
    """How evenly repairs are spread: the share of each problem's wrong solutions that were refined."""
    share = 100 * failures.groupby("task")["refined"].mean()
    fig, ax = plt.subplots(figsize=(7, 3.2))
    sns.histplot(x=share, binwidth=10, binrange=(0, 100), color=NEUTRAL, ax=ax)
    title = f"Refinement rate of each of {len(share):,} problems"
    ax.set(title=title, xlabel="wrong solutions of the problem that were refined (%)", ylabel="problems")
    plt.close(fig)
    return fig


def text_lengths(lengths: pd.DataFrame) -> Figure:
    """Lengths of programs and explanations, correct and wrong."""
    parts = [part for part in ("solution", "refinement", "explanation") if (lengths["of"] == part).any()]
    fig, axes = plt.subplots(1, len(parts), figsize=(4 * len(parts), 3.4), squeeze=False)
    for ax, part in zip(axes[0], parts, strict=True):
        data = lengths[lengths["of"] == part]
        sns.histplot(
            data, x="length", hue="verdict", hue_order=list(VERDICTS), palette=VERDICTS, element="step",
            stat="density", common_norm=False, bins=20, ax=ax, legend=part == parts[-1],
        )  # fmt: skip
        unit = "words" if part == "explanation" else "lines"
        ax.set(
            title=f"{part}s (n = {len(data):,})",
            xlabel=unit,
            ylabel="share of each verdict" if part == parts[0] else "",
        )
    fig.suptitle("How long the distinct texts are", fontweight="bold")
    fig.tight_layout()
    plt.close(fig)
    return fig


def pass_rates(by_task: pd.Series) -> Figure:
    """How hard the problems are for the model: the share of each problem's samples that pass."""
    fig, ax = plt.subplots(figsize=(7, 3.2))
    sns.histplot(x=100 * by_task, binwidth=10, binrange=(0, 100), color=NEUTRAL, ax=ax)
    title = f"Pass rate of each of {len(by_task):,} problems"
    ax.set(title=title, xlabel="samples of the problem that pass (%)", ylabel="problems")
    plt.close(fig)
    return fig


def rounds(solved: pd.Series, total: int) -> Figure:
    """Tasks solved after so many rounds of repair."""
    fig, ax = plt.subplots(figsize=(7, 3.2))
    ax.plot(solved.index, solved, marker="o", color=NEUTRAL)
    for x in (solved.index[0], solved.index[-1]):
        ax.annotate(f"{solved[x]:,}", (x, solved[x]), textcoords="offset points", xytext=(0, 8), ha="center")
    ax.set(title=f"Solved of {total:,} sequences of attempts", xlabel="rounds of repair", ylabel="sequences solved")
    ax.margins(y=0.2)
    plt.close(fig)
    return fig
