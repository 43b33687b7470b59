"""Fine-tuning and reinforcement: examples, curves, times, and variants against each other."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from ledexlib.report.plots.style import LINES, NEUTRAL, WRONG, histogram, legend, message, panels

EXAMPLES = {"generation": "#0072B2", "refine": "#E69F00", "explain_refine": "#009E73"}


def example_lengths(lengths: pd.DataFrame, limit: int) -> Figure:
    """How long the training conversations are, in tokens, beside the longest that is trained on."""
    if lengths.empty:
        return message("No conversation to train on.")
    fig, (ax,) = panels(1, 3.4)
    histogram(ax, {kind: lengths[lengths["kind"] == kind]["tokens"] for kind in EXAMPLES}, EXAMPLES, shares=False)
    if lengths["tokens"].max() > limit / 2:
        ax.axvline(limit, color=WRONG, linestyle="--", label=f"limit {limit:,}")
    ax.yaxis.get_major_locator().set_params(integer=True)
    ax.set(title=f"Lengths of {len(lengths):,} conversations", xlabel="tokens", ylabel="conversations")
    legend(fig, columns=4)
    return fig


def training(log: pd.DataFrame) -> Figure:
    """Loss on training and held-out examples, learning rate and speed, by step. Columns as in ``sft.Measurement``."""
    fig, (loss, rate, speed) = panels(3, 2.6, columns=1, sharex=True)
    train = log[log["series"] == "train"]
    loss.plot(train["step"], train["loss"], color="0.6", label="training, all kinds")
    for kind, colour in EXAMPLES.items():
        part = log[log["series"] == kind]
        if len(part):
            loss.plot(part["step"], part["loss"], color=colour, marker="o", markersize=4, label=f"held out: {kind}")
    loss.set(title="Loss", ylabel="nats a token\nof the answer")
    for ax, column, unit in ((rate, "learning_rate", "learning rate"), (speed, "tokens_per_second", "tokens a second")):
        ax.plot(train["step"], train[column], color=NEUTRAL)
        ax.set(title=unit.capitalize(), ylabel=unit, ylim=(0, None))
    rate.ticklabel_format(axis="y", scilimits=(0, 0))
    speed.set_xlabel("step")
    legend(fig, columns=2)
    return fig


PANELS: list[tuple[str, str, dict[str, str]]] = [  # title, unit, columns of the log with their names
    ("Rewards", "points", {
        "rollout/reward": "R(e) + R(r)", "rollout/code reward": "R(r)", "rollout/explanation reward": "R(e)",
    }),
    ("Scores", "0 to 1", {"rollout/s_ut": "S_ut", "rollout/s_cb": "S_cb", "rollout/s_ex": "S_ex"}),
    ("Outcomes", "share of answers", {
        "rollout/repaired": "repaired", "rollout/invalid": "invalid", "rollout/unscored": "no verdict",
        "unfinished": "unfinished",
    }),
    ("KL from the SFT model", "nats an answer", {"rollout/kl": "KL"}),
    ("Entropy", "nats a token", {"entropy": "entropy"}),
    ("Steps", "share; ratio − 1", {"clip fraction": "tokens clipped", "ratio − 1": "ratio − 1"}),
    ("Value", "variance explained", {"explained variance": "explained variance"}),
    ("Lengths", "tokens", {"rollout/tokens": "answer", "rollout/explanation tokens": "explanation"}),
]  # fmt: skip
LIMITS = {"Value": (-1.05, 1.05), "Outcomes": (-0.02, 1.02)}  # the explained variance is far below at first


def reinforcement(log: pd.DataFrame) -> Figure:
    """Curves of a training by reinforcement, by batch of answers; thick lines are running means."""
    log = log.assign(**{"ratio − 1": log["ratio"] - 1}).dropna(axis="columns", how="all")
    shown = [(title, unit, {c: n for c, n in names.items() if c in log}) for title, unit, names in PANELS]
    shown = [panel for panel in shown if panel[2]]  # without a critic there is no value
    fig, axes = panels(len(shown), 2.75)
    look = {"frameon": False, "fontsize": "small", "handlelength": 1.0, "columnspacing": 0.9, "handletextpad": 0.4}
    for ax, (title, unit, names) in zip(axes, shown, strict=True):
        for colour, (name, label) in zip(LINES, names.items(), strict=False):
            ax.plot(log["step"], log[name], color=colour, alpha=0.25, linewidth=1)
            ax.plot(log["step"], _smooth(log[name]), color=colour, linewidth=2, label=label)
        ax.set(title=title, ylabel=unit, ylim=LIMITS.get(title))
        if title == "Steps":
            low, high = ax.get_ylim()
            ax.set_ylim(min(low, -0.01), max(high, 0.01))  # or rounding looks like steps where there are none
        if len(names) > 1:
            columns = 3 if len(names) == 3 else 2
            ax.legend(loc="upper center", bbox_to_anchor=(0.45, -0.12), ncols=columns, **look)  # below the panel
    fig.supxlabel("batch of answers", fontsize="medium")
    return fig


def _smooth(values: pd.Series) -> pd.Series:
    """Running means over a tenth of the batches."""
    return values.rolling(max(1, len(values) // 10), center=True, min_periods=1).mean()


def update_seconds(log: pd.DataFrame) -> Figure:
    """Where the time of a batch goes, in means: the parts of an update in a row, and what ran beside them."""
    mean = {name.removeprefix("seconds/"): log[name].mean() for name in log if name.startswith("seconds/")}
    passes = mean["rollouts"] - mean["generation"] - mean["waiting for rewards"]
    parts = {
        "generation": mean["generation"], "log-probabilities": passes, "waiting": mean["waiting for rewards"],
        "forward": mean["forward"], "backward": mean["backward"],
    }  # fmt: skip
    beside = {"verification": mean["verification"], "similarity": mean["similarity"]}
    fig, (ax,) = panels(1, 2.6)
    for row, (shown, colours) in enumerate(((beside, ("0.45", "0.7")), (parts, LINES))):
        left = 0.0
        for colour, (name, seconds) in zip(colours, shown.items(), strict=False):
            ax.barh(row, seconds, left=left, color=colour, label=f"{name}, {seconds:.2f} s")
            left += seconds
    ax.set(title="Time of an update", xlabel="seconds, mean over batches")
    ax.set_yticks((0, 1), ("beside it", "update"))
    legend(fig)
    return fig


def ablation(gained: pd.DataFrame) -> Figure:
    """What variants change over the SFT model, and over the run's own settings. Columns as in ``ablation.gains``."""
    rates, variants = list(dict.fromkeys(gained["rate"])), list(dict.fromkeys(gained["variant"]))
    shown = [(than, rate) for than in dict.fromkeys(gained["than"]) for rate in rates]
    shown = shown[: len(rates) + 1]  # over the SFT model all rates, over the run's own settings the first
    if not shown:
        return message("No variant was trained.")
    fig, axes = panels(len(shown), 1.5 + 0.3 * len(variants), sharey=True)
    for ax, (than, rate) in zip(axes, shown, strict=True):
        part = gained[(gained["than"] == than) & (gained["rate"] == rate)].set_index("variant").reindex(variants)
        errors = [(part["value"] - part["low"]).clip(lower=0), (part["high"] - part["value"]).clip(lower=0)]
        colour = LINES[rates.index(rate) % len(LINES)]
        ax.errorbar(part["value"], range(len(variants)), xerr=errors, fmt="o", color=colour, capsize=3)
        ax.axvline(0, color="0.6", linewidth=1)
        other = "the run's own settings" if than == "own" else "the fine-tuned model"
        ax.set_title(f"{rate}\nless {other}", fontsize="medium")
        ax.set(xlabel="points, 95 % interval")
        ax.set_yticks(range(len(variants)), variants)
    axes[0].invert_yaxis()
    return fig


def variants(logs: Sequence[pd.DataFrame]) -> Figure:
    """Curves of several trainings by reinforcement, means over the seeds of each ``variant``."""
    if not logs:
        return message("No variant was trained.")
    log = pd.concat(logs, ignore_index=True)
    columns = {"rollout/s_ex": "S_ex, explanations", "rollout/s_cb": "S_cb, programs", "rollout/repaired": "repaired"}
    fig, axes = panels(len(columns), 2.4, columns=1, sharex=True)
    for ax, (column, title) in zip(axes, columns.items(), strict=True):
        for number, name in enumerate(dict.fromkeys(log["variant"])):
            mean = _smooth(log[log["variant"] == name].groupby("step")[column].mean())
            line = ("-", "--", ":")[number // len(LINES) % 3]
            ax.plot(mean.index, mean, color=LINES[number % len(LINES)], linestyle=line, label=name)
        ax.set(title=title, ylabel="share of answers" if title == "repaired" else "0 to 1")
    axes[-1].set_xlabel("batch of answers")
    legend(fig, columns=4)
    return fig
