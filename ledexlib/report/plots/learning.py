"""Fine-tuning and reinforcement: examples, curves, times, and variants against each other."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from ledexlib.report.plots.style import NEUTRAL, WRONG

EXAMPLES = {"generation": "#0072B2", "refine": "#E69F00", "explain_refine": "#009E73"}


def example_lengths(lengths: pd.DataFrame, limit: int) -> Figure:
    """How long the training conversations are, beside the longest that is trained on."""
    fig, ax = plt.subplots(figsize=(7, 3.2))
    order = [kind for kind in EXAMPLES if (lengths["kind"] == kind).any()]
    sns.histplot(lengths, x="tokens", hue="kind", hue_order=order, palette=EXAMPLES, element="step", bins=30, ax=ax)
    if lengths["tokens"].max() > limit / 2:
        ax.axvline(limit, color=WRONG, linestyle="--")
        ax.annotate(f"limit {limit:,}", (limit, 0.9), xycoords=("data", "axes fraction"), ha="right", color=WRONG)
    ax.yaxis.get_major_locator().set_params(integer=True)
    ax.set(title=f"Lengths of {len(lengths):,} conversations", xlabel="tokens", ylabel="conversations")
    sns.move_legend(ax, "center left", bbox_to_anchor=(1, 0.5), frameon=False)
    plt.close(fig)
    return fig


def training(log: pd.DataFrame) -> Figure:
    """Loss on training and held-out examples, learning rate and speed, by step. Columns as in ``sft.Measurement``."""
    fig, axes = plt.subplots(1, 3, figsize=(13, 3.6))
    train = log[log["series"] == "train"]
    axes[0].plot(train["step"], train["loss"], color="0.6", label="training, all kinds")
    for kind, colour in EXAMPLES.items():
        part = log[log["series"] == kind]
        if len(part):
            axes[0].plot(part["step"], part["loss"], color=colour, marker="o", markersize=4, label=f"held out: {kind}")
    axes[0].set(title="Loss", xlabel="step", ylabel="nats a token of the answer")
    axes[0].legend(fontsize="small")
    axes[1].plot(train["step"], train["learning_rate"], color=NEUTRAL)
    axes[1].set(title="Learning rate", xlabel="step", ylabel="learning rate")
    axes[1].ticklabel_format(axis="y", scilimits=(0, 0))
    axes[2].plot(train["step"], train["tokens_per_second"], color=NEUTRAL)
    axes[2].set(title="Speed", xlabel="step", ylabel="tokens a second", ylim=(0, None))
    fig.tight_layout()
    plt.close(fig)
    return fig


PANELS: list[tuple[str, str, dict[str, str]]] = [  # title, unit, columns of the log with their names
    ("Rewards", "points", {
        "rollout/reward": "R(e) + R(r)", "rollout/code reward": "R(r)", "rollout/explanation reward": "R(e)",
    }),
    ("Scores", "0 to 1", {"rollout/s_ut": "S_ut", "rollout/s_cb": "S_cb", "rollout/s_ex": "S_ex"}),
    ("Outcomes", "share of answers", {
        "rollout/repaired": "repaired", "rollout/invalid": "invalid", "rollout/unscored": "without a verdict",
        "unfinished": "unfinished",
    }),
    ("Distance from the SFT model", "nats an answer", {"rollout/kl": "KL"}),
    ("Entropy", "nats a token", {"entropy": "entropy"}),
    ("Steps", "share of tokens; ratio − 1", {"clip fraction": "clipped", "ratio − 1": "ratio − 1"}),
    ("Value", "variance explained", {"explained variance": "explained variance"}),
    ("Lengths", "tokens", {"rollout/tokens": "answer", "rollout/explanation tokens": "explanation"}),
]  # fmt: skip
LINES = ("#0072B2", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")


def reinforcement(log: pd.DataFrame) -> Figure:
    """Curves of a training by reinforcement, by batch of answers. Columns as in ``ppo_log.frame``."""
    log = log.assign(**{"ratio − 1": log["ratio"] - 1})
    panels = [(title, unit, {c: n for c, n in columns.items() if c in log}) for title, unit, columns in PANELS]
    fig, axes = plt.subplots(2, 4, figsize=(16, 7))
    window = max(1, len(log) // 10)
    for ax, (title, unit, columns) in zip(axes.flat, panels, strict=True):
        for colour, (column, name) in zip(LINES, columns.items(), strict=False):
            ax.plot(log["step"], log[column], color=colour, alpha=0.25, linewidth=1)
            mean = log[column].rolling(window, center=True, min_periods=1).mean()
            ax.plot(log["step"], mean, color=colour, linewidth=2, label=name)
        ax.set(title=title, xlabel="batch of answers", ylabel=unit)
        if title == "Value":
            ax.set_ylim(-1.05, 1.05)  # it is far below at first
        if title == "Steps":
            low, high = ax.get_ylim()
            ax.set_ylim(min(low, -0.01), max(high, 0.01))  # or rounding looks like steps where there are none
        if unit == "share of answers":
            ax.set_ylim(-0.02, 1.02)
        if columns:
            ax.legend(fontsize="small")
        else:
            ax.set(xlim=(0, 1), xticks=(), yticks=())
            ax.text(0.5, 0, "no critic", ha="center", va="center", color="0.5")
    fig.tight_layout()
    plt.close(fig)
    return fig


def update_seconds(log: pd.DataFrame) -> Figure:
    """Where the time of a batch goes, in means: the parts of an update in a row, and what ran beside them."""
    mean = {name.removeprefix("seconds/"): log[name].mean() for name in log if name.startswith("seconds/")}
    passes = mean["rollouts"] - mean["generation"] - mean["waiting for rewards"]
    parts = {
        "generation": mean["generation"], "log-probabilities": passes, "waiting": mean["waiting for rewards"],
        "forward": mean["forward"], "backward": mean["backward"],
    }  # fmt: skip
    fig, ax = plt.subplots(figsize=(9, 2.2))
    for row, shown in enumerate(({"verification": mean["verification"], "similarity": mean["similarity"]}, parts)):
        left = 0.0
        colours = sns.color_palette("colorblind", 7)[: len(shown)] if row else ("0.45", "0.7")
        for colour, (name, seconds) in zip(colours, shown.items(), strict=True):
            ax.barh(row, seconds, left=left, color=colour, label=f"{name}, {seconds:.2f} s")
            left += seconds
    ax.set(title="Time of an update", xlabel="seconds, mean over batches", yticks=(0, 1))
    ax.set_yticklabels(["beside it", "update"])
    ax.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    plt.close(fig)
    return fig


def ablation(gained: pd.DataFrame) -> Figure:
    """What variants change over the SFT model, and over the run's own settings. Columns as in ``ablation.gains``."""
    rates, variants = list(dict.fromkeys(gained["rate"])), list(dict.fromkeys(gained["variant"]))
    panels = [(than, rate) for than in dict.fromkeys(gained["than"]) for rate in rates]
    panels = panels[: len(rates) + 1]  # over the SFT model all rates, over the run's own settings the first
    rows = -(-len(panels) // 3)
    size = (12.6, rows * (1.6 + 0.3 * len(variants)))
    fig, axes = plt.subplots(rows, 3, figsize=size, sharey=True, squeeze=False)
    for ax in axes.flat[len(panels) :]:
        ax.remove()
    for ax, (than, rate) in zip(axes.flat, panels, strict=False):
        part = gained[(gained["than"] == than) & (gained["rate"] == rate)].set_index("variant").reindex(variants)
        errors = [part["value"] - part["low"], part["high"] - part["value"]]
        colour = LINES[rates.index(rate)]
        ax.errorbar(part["value"], range(len(variants)), xerr=errors, fmt="o", color=colour, capsize=3)
        ax.axvline(0, color="0.6", linewidth=1)
        other = "the run's own settings" if than == "own" else "the fine-tuned model"
        ax.set(title=f"{rate}\nless {other}", xlabel="points, 95 % interval", yticks=range(len(variants)))
        ax.set_yticklabels(variants)
    axes.flat[0].invert_yaxis()
    fig.tight_layout()
    plt.close(fig)
    return fig


def variants(logs: Sequence[pd.DataFrame]) -> Figure:
    """Curves of several trainings by reinforcement, means over the seeds of each ``variant``."""
    log = pd.concat(logs, ignore_index=True)
    panels = {"rollout/s_ex": "S_ex, explanations", "rollout/s_cb": "S_cb, programs", "rollout/repaired": "repaired"}
    fig, axes = plt.subplots(1, len(panels), figsize=(13, 3.8))
    names = list(dict.fromkeys(log["variant"]))
    for ax, (column, title) in zip(axes.flat, panels.items(), strict=True):
        for colour, name in zip(sns.color_palette("colorblind", len(names)), names, strict=True):
            mean = log[log["variant"] == name].groupby("step")[column].mean()
            smooth = mean.rolling(max(1, len(mean) // 10), center=True, min_periods=1).mean()
            ax.plot(smooth.index, smooth, color=colour, label=name)
        ax.set(title=title, xlabel="batch of answers", ylabel="share of answers" if title == "repaired" else "0 to 1")
    axes.flat[-1].legend(fontsize="small", bbox_to_anchor=(1, 1), loc="upper left", frameon=False)
    fig.tight_layout()
    plt.close(fig)
    return fig
