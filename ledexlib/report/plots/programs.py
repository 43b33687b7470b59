"""Programs and repairs: how they fail, how many pass, how long they are."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ledexlib.report.plots.style import NEUTRAL, VERDICTS, WRONG, histogram, legend, message, panels


def failure_kinds(failures: pd.DataFrame) -> Figure:
    """How many wrong solutions there are of each kind of failure (column ``kind``)."""
    if failures.empty:
        return message("No program is wrong.")
    counts = failures["kind"].value_counts()
    fig, (ax,) = panels(1, 1.2 + 0.35 * len(counts))
    ax.bar_label(ax.barh(counts.index, counts, color=NEUTRAL), fmt="{:,.0f}", padding=3)
    ax.set(title=f"How {len(failures):,} wrong solutions fail", xlabel="wrong solutions")
    ax.invert_yaxis()
    ax.margins(x=0.12)
    ax.grid(axis="y", visible=False)
    return fig


def rates(table: pd.DataFrame, overall: float) -> Figure:
    """Refinement rate by kind of failure, with 95 % intervals, beside the rate over all kinds."""
    if table.empty:
        return message("Too few failures of any kind for a rate.")
    fig, (ax,) = panels(1, 1.7 + 0.4 * len(table))
    labels = [f"{row['kind']} (n = {row['wrong solutions']:,})" for _, row in table.iterrows()]
    errors = [(table["rate"] - table["low"]).clip(lower=0), (table["high"] - table["rate"]).clip(lower=0)]
    ax.errorbar(table["rate"], labels, xerr=errors, fmt="o", color=NEUTRAL, capsize=4)
    ax.axvline(overall, color=WRONG, linestyle="--", label=f"all kinds: {overall:.1f} %")
    ax.set(title="Which failures get repaired", xlabel="refinement rate (%), 95 % interval by problem", xlim=(-3, 103))
    ax.set_ylim(len(labels) - 0.5, -0.5)
    legend(fig)
    return fig


def by_problem(failures: pd.DataFrame) -> Figure:
    """How evenly repairs are spread: the share of each problem's wrong solutions that were refined."""
    if failures.empty:
        return message("No program is wrong.")
    share = 100 * failures.groupby("task")["refined"].mean()
    title = f"Refinement rate of each of {len(share):,} problems"
    return _percentages(share, title, "wrong solutions of the problem that were refined (%)")


def pass_rates(by_task: pd.Series) -> Figure:
    """How hard the problems are for the model: the share of each problem's samples that pass."""
    title = f"Pass rate of each of {len(by_task):,} problems"
    return _percentages(100 * by_task, title, "samples of the problem that pass (%)")


def _percentages(values: pd.Series, title: str, label: str) -> Figure:
    """How many problems there are at each percentage."""
    fig, (ax,) = panels(1, 3.2)
    histogram(ax, {"problems": values}, {"problems": NEUTRAL}, (0, 100), shares=False)
    ax.set(title=title, xlabel=label, ylabel="problems")
    _whole_numbers(ax)
    return fig


def _whole_numbers(ax: Axes) -> None:
    ax.yaxis.get_major_locator().set_params(integer=True)


def text_lengths(lengths: pd.DataFrame) -> Figure:
    """Lengths of programs and explanations, correct and wrong (columns ``of``, ``verdict``, ``length``)."""
    parts = [part for part in ("solution", "refinement", "explanation") if (lengths["of"] == part).any()]
    if not parts:
        return message("No texts to measure.")
    fig, axes = panels(len(parts), 2.8, "How long the distinct texts are")
    for ax, part in zip(axes, parts, strict=True):
        data = lengths[lengths["of"] == part]
        histogram(ax, {name: data[data["verdict"] == name]["length"] for name in VERDICTS}, VERDICTS)
        unit = "words" if part == "explanation" else "lines"
        ax.set(title=f"{part}s (n = {len(data):,})", xlabel=unit, ylabel="share of each verdict")
    legend(fig)
    return fig


def rounds(solved: pd.Series, total: int) -> Figure:
    """Tasks solved after so many rounds of repair."""
    fig, (ax,) = panels(1, 3.2)
    ax.plot(solved.index, solved, marker="o", color=NEUTRAL)
    for x in dict.fromkeys((solved.index[0], solved.index[-1])):
        ax.annotate(f"{solved[x]:,}", (x, solved[x]), textcoords="offset points", xytext=(0, 8), ha="center")
    ax.set(title=f"Solved of {total:,} sequences of attempts", xlabel="rounds of repair", ylabel="sequences solved")
    ax.margins(y=0.2)
    ax.xaxis.get_major_locator().set_params(integer=True)
    _whole_numbers(ax)
    return fig
