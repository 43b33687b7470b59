"""Figures of the notebooks. Every function takes a data frame and returns a matplotlib figure."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

# Okabe and Ito's colours: told apart by everyone, and in grey.
CORRECT, WRONG, NEUTRAL = "#009E73", "#D55E00", "#0072B2"
VERDICTS = {"correct": CORRECT, "wrong": WRONG}
EXAMPLES = {"generation": "#0072B2", "refine": "#E69F00", "explain_refine": "#009E73"}


def style() -> None:
    """Set the look of all figures; the first line of every notebook that draws."""
    sns.set_theme(context="notebook", style="whitegrid", rc={"figure.dpi": 100, "axes.titleweight": "bold"})


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


BUDGETS = ("#999999", "#56B4E9", NEUTRAL)


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


# The rewards


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


# Reinforcement learning

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
LINES = ("#0072B2", "#009E73", "#D55E00", "#CC79A7")


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
        if columns:
            ax.legend(fontsize="small")
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
    """What variants change over the SFT model. Columns as in ``ablation.gains``."""
    rates, variants = list(dict.fromkeys(gained["rate"])), list(dict.fromkeys(gained["variant"]))
    width, height = 4.2 * len(rates), 1.6 + 0.35 * len(variants)
    fig, axes = plt.subplots(1, len(rates), figsize=(width, height), sharey=True, squeeze=False)
    for ax, rate, colour in zip(axes.flat, rates, LINES, strict=False):
        part = gained[gained["rate"] == rate].set_index("variant").loc[variants]
        errors = [part["value"] - part["low"], part["high"] - part["value"]]
        ax.errorbar(part["value"], range(len(variants)), xerr=errors, fmt="o", color=colour, capsize=3)
        ax.axvline(0, color="0.6", linewidth=1)
        ax.set(title=f"{rate}\nRL less SFT", xlabel="points, 95 % interval", yticks=range(len(variants)))
        ax.set_yticklabels(variants)
    axes.flat[0].invert_yaxis()
    fig.tight_layout()
    plt.close(fig)
    return fig


def variants(logs: Sequence[pd.DataFrame]) -> Figure:
    """Curves of several trainings by reinforcement, means over the seeds of each ``variant``."""
    log = pd.concat(logs, ignore_index=True)
    panels = {"rollout/explanation reward": "R(e)", "rollout/code reward": "R(r)", "rollout/repaired": "repaired"}
    fig, axes = plt.subplots(1, len(panels), figsize=(13, 3.8))
    names = list(dict.fromkeys(log["variant"]))
    for ax, (column, title) in zip(axes.flat, panels.items(), strict=True):
        for colour, name in zip(sns.color_palette("colorblind", len(names)), names, strict=True):
            mean = log[log["variant"] == name].groupby("step")[column].mean()
            smooth = mean.rolling(max(1, len(mean) // 10), center=True, min_periods=1).mean()
            ax.plot(smooth.index, smooth, color=colour, label=name)
        ax.set(title=title, xlabel="batch of answers", ylabel="share of answers" if title == "repaired" else "points")
    axes.flat[-1].legend(fontsize="small", bbox_to_anchor=(1, 1), loc="upper left", frameon=False)
    fig.tight_layout()
    plt.close(fig)
    return fig
