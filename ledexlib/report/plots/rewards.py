"""The rewards of refinements that were checked."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from ledexlib.report.plots.style import NEUTRAL, VERDICTS, WRONG


def reward_histograms(scores: pd.DataFrame) -> Figure:
    """Figure 3 of the paper: the scores and rewards of correct and wrong refinements, those that there are."""
    columns = [column for column in ("S_cb", "S_ut", "S_ex", "R(r)", "R(e)") if scores[column].notna().any()]
    fig, axes = plt.subplots(1, len(columns), figsize=(3.1 * len(columns), 3.4), squeeze=False)
    for ax, column in zip(axes[0], columns, strict=True):
        data = scores.dropna(subset=[column])
        low, high = (0.0, 1.0) if column.startswith("S_") else (-5.0, 5.0)
        edges = min(low, data[column].min()), max(high, data[column].max())
        sns.histplot(
            data, x=column, hue="verdict", hue_order=list(VERDICTS), palette=VERDICTS, bins=25, binrange=edges,
            stat="probability", common_norm=False, element="step", ax=ax, legend=False,
        )  # fmt: skip
        ax.set(title=column, xlabel="score" if column.startswith("S_") else "reward", ylabel="")
    axes[0][0].set_ylabel("share of each verdict")
    counts = scores["verdict"].value_counts()
    handles = [plt.Rectangle((0, 0), 1, 1, color=color, alpha=0.5) for color in VERDICTS.values()]
    labels = [f"{verdict} (n = {counts.get(verdict, 0):,})" for verdict in VERDICTS]
    fig.legend(handles, labels, loc="lower center", ncol=2, frameon=False, bbox_to_anchor=(0.5, -0.08))
    fig.suptitle("Scores and rewards of refinements", fontweight="bold")
    fig.tight_layout()
    plt.close(fig)
    return fig


def aucs(table: pd.DataFrame) -> Figure:
    """AUC of every score with 95 % intervals, over all refinements and within a wrong program."""
    fig, ax = plt.subplots(figsize=(7, 1.6 + 0.4 * len(table)))
    looks = (("AUC", "low", "high", -0.13, NEUTRAL, "all refinements"),
             ("AUC within", "low within", "high within", 0.13, WRONG, "pairs of one wrong program"))  # fmt: skip
    for value, low, high, shift, color, label in looks:
        part = table[table[value].notna()]
        errors = [(part[value] - part[low]).clip(lower=0), (part[high] - part[value]).clip(lower=0)]
        ax.errorbar(part[value], part.index + shift, xerr=errors, fmt="o", color=color, capsize=3, label=label)
    ax.axvline(0.5, color="grey", linestyle="--", linewidth=1)
    ax.set_yticks(range(len(table)), table["score"])
    ax.set_ylim(len(table) - 0.5, -0.5)
    ax.set(title="How well a score tells correct from wrong", xlabel="AUC, 95 % interval by problem", xlim=(0, 1.02))
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.9 / (1.6 + 0.4 * len(table))), ncol=2, frameon=False)
    plt.close(fig)
    return fig


def two_rewards(scores: pd.DataFrame) -> Figure:
    """The reward of the explanation against the reward of the code, a point for each refinement."""
    fig, ax = plt.subplots(figsize=(6, 4.2))
    order = {"hue": "verdict", "hue_order": list(VERDICTS), "palette": VERDICTS, "style": "verdict"}
    sns.scatterplot(scores, x="R(r)", y="R(e)", **order, s=22, alpha=0.5, ax=ax)
    ax.set(title="The two rewards of a refinement", xlabel="R(r), of the code", ylabel="R(e), of the explanation")
    ax.legend(title=None, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    plt.close(fig)
    return fig


def explanation_maps(scores: pd.DataFrame, ends: dict[str, tuple[float, float]]) -> Figure:
    """The maps from similarity to R(e), above where the similarities of the data lie."""
    fig, (top, below) = plt.subplots(2, 1, figsize=(7, 5.2), sharex=True, height_ratios=(1, 1.2))
    for (name, (low, high)), color, line in zip(ends.items(), (NEUTRAL, WRONG), ("-", "--"), strict=False):
        label = f"{name}: {low:.2f} to {high:.2f}"
        top.plot([low, high], [-5, 5], color=color, linestyle=line, marker="o", label=label)
    top.axhline(0, color="grey", linewidth=1)
    top.set(title="What a similarity is worth", ylabel="R(e)")
    top.legend(loc="upper left", fontsize="small")
    sns.histplot(
        scores.dropna(subset=["S_ex"]), x="S_ex", hue="verdict", hue_order=list(VERDICTS), palette=VERDICTS, bins=40,
        stat="probability", common_norm=False, element="step", ax=below,
    )  # fmt: skip
    below.set(xlabel="S_ex, mean cosine with the references' explanations", ylabel="share of each verdict")
    below.get_legend().set_title(None)
    fig.tight_layout()
    plt.close(fig)
    return fig


def rewards_by_length(scores: pd.DataFrame) -> Figure:
    """Reward against length: of the program in lines, of the explanation in words."""
    panels = [("lines", "R(r)", "lines of the program"), ("words", "R(e)", "words of the explanation")]
    panels = [panel for panel in panels if scores[panel[1]].notna().any()]
    fig, axes = plt.subplots(1, len(panels), figsize=(5.2 * len(panels), 3.8), squeeze=False)
    for ax, (length, reward, label) in zip(axes[0], panels, strict=True):
        data = scores.dropna(subset=[reward])
        sns.scatterplot(
            data, x=length, y=reward, hue="verdict", hue_order=list(VERDICTS), palette=VERDICTS, style="verdict",
            s=20, alpha=0.45, ax=ax, legend=ax is axes[0][-1],
        )  # fmt: skip
        ax.set(title=f"{reward} (n = {len(data):,})", xlabel=label, ylabel=reward)
    axes[0][-1].legend(title=None, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    fig.suptitle("Reward against length", fontweight="bold")
    fig.tight_layout()
    plt.close(fig)
    return fig
