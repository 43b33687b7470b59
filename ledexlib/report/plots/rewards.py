"""The rewards of refinements that were checked."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ledexlib.report.plots.style import NEUTRAL, VERDICTS, WRONG, histogram, legend, message, panels

MARKERS = {"correct": "o", "wrong": "x"}


def _compared(ax: Axes, scores: pd.DataFrame, column: str, ends: tuple[float, float]) -> None:
    """Histograms of a column for correct and for wrong refinements."""
    data = scores.dropna(subset=[column])
    histogram(ax, {verdict: data[data["verdict"] == verdict][column] for verdict in VERDICTS}, VERDICTS, ends)
    ax.set_ylabel("share of each verdict")


def _counted(scores: pd.DataFrame) -> str:
    return " and ".join(f"{(scores['verdict'] == verdict).sum():,} {verdict}" for verdict in VERDICTS)


def reward_histograms(scores: pd.DataFrame) -> Figure:
    """Figure 3 of the paper: the scores and rewards of correct and wrong refinements, those that there are."""
    columns = [c for c in ("S_cb", "S_ut", "S_ex", "R(r)", "R(e)") if c in scores and scores[c].notna().any()]
    if not columns:
        return message("No refinement has anything to be scored against.")
    fig, axes = panels(len(columns), 2.6, f"Rewards of {_counted(scores)} refinements")
    for ax, column in zip(axes, columns, strict=True):
        _compared(ax, scores, column, (0.0, 1.0) if column.startswith("S_") else (-5.0, 5.0))
        ax.set(title=column, xlabel="score" if column.startswith("S_") else "reward")
    legend(fig)
    return fig


def aucs(table: pd.DataFrame) -> Figure:
    """AUC of every score with 95 % intervals, over all refinements and within a wrong program."""
    if table.empty:
        return message("No score has both correct and wrong refinements to tell apart.")
    table = table.reset_index(drop=True)
    fig, (ax,) = panels(1, 1.7 + 0.4 * len(table))
    series = (
        ("AUC", "low", "high", -0.13, NEUTRAL, "o", "all refinements"),
        ("AUC within", "low within", "high within", 0.13, WRONG, "s", "pairs of one wrong program"),
    )
    for value, low, high, shift, color, marker, label in series:
        part = table[table[value].notna()]
        errors = [(part[value] - part[low]).clip(lower=0), (part[high] - part[value]).clip(lower=0)]
        ax.errorbar(part[value], part.index + shift, xerr=errors, fmt=marker, color=color, capsize=3, label=label)
    ax.axvline(0.5, color="grey", linestyle="--", linewidth=1)
    ax.set_yticks(range(len(table)), table["score"])
    ax.set_ylim(len(table) - 0.5, -0.5)
    ax.set(title="How well a score tells correct from wrong", xlabel="AUC, 95 % interval by problem", xlim=(0, 1.02))
    legend(fig)
    return fig


def _points(ax: Axes, scores: pd.DataFrame, x: str, y: str) -> None:
    """A point for each refinement, correct or wrong."""
    for verdict, colour in VERDICTS.items():
        part = scores[scores["verdict"] == verdict]
        ax.scatter(part[x], part[y], s=24, alpha=0.5, color=colour, marker=MARKERS[verdict], label=verdict)


def two_rewards(scores: pd.DataFrame) -> Figure:
    """The reward of the explanation against the reward of the code, a point for each refinement."""
    fig, (ax,) = panels(1, 4.2)
    _points(ax, scores, "R(r)", "R(e)")
    ax.set_title(f"The two rewards of {_counted(scores)} refinements")
    ax.set(xlabel="R(r), of the code", ylabel="R(e), of the explanation")
    legend(fig)
    return fig


def explanation_maps(scores: pd.DataFrame, ends: dict[str, tuple[float, float]]) -> Figure:
    """The maps from similarity to R(e), above where the similarities of the data lie."""
    fig, (top, below) = panels(2, 2.6, columns=1, sharex=True)
    for (name, (low, high)), color, line in zip(ends.items(), (NEUTRAL, WRONG), ("-", "--"), strict=False):
        label = f"map, {name}: {low:.2f} to {high:.2f}"
        top.plot([low, high], [-5, 5], color=color, linestyle=line, marker="o", label=label)
    top.axhline(0, color="grey", linewidth=1)
    top.set(title="What a similarity is worth", ylabel="R(e)")
    _compared(below, scores, "S_ex", (scores["S_ex"].min(), scores["S_ex"].max()))
    below.set_title(f"Similarities of {_counted(scores)} refinements")
    below.set_xlabel("S_ex, mean cosine with the references' explanations")
    legend(fig, columns=2)
    return fig


def rewards_by_length(scores: pd.DataFrame) -> Figure:
    """Reward against length: of the program in lines, of the explanation in words."""
    kinds = [("lines", "R(r)", "lines of the program"), ("words", "R(e)", "words of the explanation")]
    kinds = [kind for kind in kinds if scores[kind[1]].notna().any()]
    if not kinds:
        return message("No refinement has a reward.")
    fig, axes = panels(len(kinds), 3.2, "Reward against length")
    for ax, (length, reward, label) in zip(axes, kinds, strict=True):
        data = scores.dropna(subset=[reward])
        _points(ax, data, length, reward)
        ax.set(title=f"{reward} (n = {len(data):,})", xlabel=label, ylabel=reward)
    legend(fig)
    return fig
