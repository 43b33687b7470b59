"""Models: how they learn by fine-tuning and reinforcement, what variants change, what they solve and repair."""

from collections.abc import Sequence

import pandas as pd

from ledexlib.report.plots.style import EXAMPLES, LINES, NEUTRAL, WRONG, Chart, bars, errors, histogram, message, panels

SCORES = {"initial": "#999999", "refine": "#56B4E9", "explain": NEUTRAL}  # by how often a program was repaired
NAMES = {"explain": "explain + refine"}


def example_lengths(lengths: pd.DataFrame, limit: int) -> Chart:
    """How long the training conversations are, in tokens, beside the longest that is trained on."""
    if lengths.empty:
        return message("No conversation to train on.")
    fig, (ax,) = panels(1, 3.4)
    histogram(ax, {kind: lengths[lengths["kind"] == kind]["tokens"] for kind in EXAMPLES}, shares=False)
    if lengths["tokens"].max() > limit / 2:
        ax.axvline(limit, color=WRONG, linestyle="--", label=f"limit {limit:,}")
    ax.set(title=f"Lengths of {len(lengths):,} conversations", xlabel="tokens", ylabel="conversations")
    return fig.with_legend(columns=4)


def training(log: pd.DataFrame) -> Chart:
    """Loss on training and held-out examples, learning rate and speed, by step. Columns as in ``sft.Measurement``."""
    fig, (loss, rate, speed) = panels(3, 2.6, columns=1, sharex=True)
    train = log[log["series"] == "train"]
    loss.plot(train["step"], train["loss"], color="0.6", label="training, all kinds")
    for kind, part in log[log["series"] != "train"].groupby("series", sort=False):
        loss.plot(part["step"], part["loss"], color=EXAMPLES[kind], marker="o", markersize=4, label=f"held out: {kind}")
    loss.set(title="Loss", ylabel="nats a token\nof the answer")
    for ax, column, unit in ((rate, "learning_rate", "learning rate"), (speed, "tokens_per_second", "tokens a second")):
        ax.plot(train["step"], train[column], color=NEUTRAL)
        ax.set(title=unit.capitalize(), ylabel=unit, ylim=(0, None))
    rate.ticklabel_format(axis="y", scilimits=(0, 0))
    speed.set_xlabel("step")
    return fig.with_legend(columns=2)


PANELS = [  # title, unit, columns of the log with their names
    ("Rewards", "points", {"reward": "R(e) + R(r)", "code reward": "R(r)", "explanation reward": "R(e)"}),
    ("Scores", "0 to 1", {"s_ut": "S_ut", "s_cb": "S_cb", "s_ex": "S_ex"}),
    ("Outcomes", "share of answers", {
        "repaired": "repaired", "invalid": "invalid", "unscored": "no verdict", "unfinished": "unfinished"}),
    ("KL from the SFT model", "nats an answer", {"kl": "KL"}),
    ("Entropy", "nats a token", {"entropy": "entropy"}),
    ("Steps", "share; ratio − 1", {"clip fraction": "tokens clipped", "ratio − 1": "ratio − 1"}),
    ("Value", "variance explained", {"explained variance": "explained variance"}),
    ("Lengths", "tokens", {"tokens": "answer", "explanation tokens": "explanation"})]
LIMITS = {"Value": (-1.05, 1.05), "Outcomes": (-0.02, 1.02)}  # the explained variance is far below at first


def reinforcement(log: pd.DataFrame) -> Chart:
    """Curves of a training by reinforcement, by batch of answers; thick lines are running means."""
    log = log.assign(**{"ratio − 1": log["ratio"] - 1}).dropna(axis="columns", how="all")
    log = log.rename(columns=lambda name: name.removeprefix("rollout/"))
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
            ax.axhspan(-0.01, 0.01, color="none")  # unseen; without it rounding looks like steps where there are none
        if len(names) > 1:
            columns = 3 if len(names) == 3 else 2
            ax.legend(loc="upper center", bbox_to_anchor=(0.45, -0.12), ncols=columns, **look)  # below the panel
    fig.supxlabel("batch of answers", fontsize="medium")
    return fig


def _smooth(values: pd.Series) -> pd.Series:
    """Running means over a tenth of the batches."""
    return values.rolling(max(1, len(values) // 10), center=True, min_periods=1).mean()


def update_seconds(log: pd.DataFrame) -> Chart:
    """Where the time of a batch goes, in means: the parts of an update, and in grey what ran beside them."""
    mean = log.filter(like="seconds/").mean().rename(lambda name: name.removeprefix("seconds/"))
    mean["log-probabilities"] = mean["rollouts"] - mean["generation"] - mean["waiting for rewards"]
    update = ["generation", "log-probabilities", "waiting for rewards", "forward", "backward"]
    beside = ["verification", "similarity"]
    colours = [NEUTRAL] * len(update) + ["0.6"] * len(beside)
    label = "seconds, mean over batches (grey: beside the others)"
    return bars(mean[update + beside], "{:.2f} s", "Time of an update", label, colours)


def ablation(gained: pd.DataFrame) -> Chart:
    """What variants change over the SFT model, and over the run's own settings. Columns as in ``ablation_gains``."""
    rates, variants = list(dict.fromkeys(gained["rate"])), list(dict.fromkeys(gained["variant"]))
    shown = [(than, rate) for than in dict.fromkeys(gained["than"]) for rate in rates]
    shown = shown[: len(rates) + 1]  # over the SFT model all rates, over the run's own settings the first
    if not shown:
        return message("No variant was trained.")
    fig, axes = panels(len(shown), 1.5 + 0.3 * len(variants), sharey=True)
    for ax, (than, rate) in zip(axes, shown, strict=True):
        part = gained[(gained["than"] == than) & (gained["rate"] == rate)].set_index("variant").reindex(variants)
        colour = LINES[rates.index(rate) % len(LINES)]
        ax.errorbar(part["value"], range(len(variants)), xerr=errors(part), fmt="o", color=colour, capsize=3)
        ax.axvline(0, color="0.6", linewidth=1)
        other = "the run's own settings" if than == "own" else "the fine-tuned model"
        ax.set_title(f"{rate}\nless {other}", fontsize="medium")
        ax.set(xlabel="points, 95 % interval")
    fig.name_rows(variants)
    return fig


def variants(logs: Sequence[pd.DataFrame]) -> Chart:
    """Curves of several trainings by reinforcement, means over the seeds of each ``variant``."""
    if not logs:
        return message("No variant was trained.")
    log = pd.concat(logs, ignore_index=True)
    columns = {"rollout/s_ex": "S_ex, explanations", "rollout/s_cb": "S_cb, programs", "rollout/repaired": "repaired"}
    fig, axes = panels(len(columns), 2.4, columns=1, sharex=True)
    for ax, (column, title) in zip(axes, columns.items(), strict=True):
        for number, (name, part) in enumerate(log.groupby("variant", sort=False)):
            mean = _smooth(part.groupby("step")[column].mean())
            line = ("-", "--", ":")[number // len(LINES) % 3]
            ax.plot(mean.index, mean, color=LINES[number % len(LINES)], linestyle=line, label=name)
        ax.set(title=title, ylabel="share of answers" if title == "repaired" else "0 to 1")
    axes[-1].set_xlabel("batch of answers")
    return fig.with_legend(columns=4)


def scores(table: pd.DataFrame, k: int) -> Chart:
    """pass@k of every stage before and after repair, a panel for each benchmark.

    Columns model, benchmark, score, k, value, low, high."""
    table = table[table["k"] == k]
    if table.empty:
        return message(f"Fewer than {k} programs a problem: there is no pass@{k}.")
    models = list(dict.fromkeys(table["model"]))
    benchmarks = table.groupby("benchmark", sort=False)
    title = f"pass@{k} before and after repair, 95 % intervals by problem"
    fig, axes = panels(len(benchmarks), 2.6, title, sharey=True)
    for ax, (benchmark, part) in zip(axes, benchmarks, strict=True):
        for shift, score in enumerate(score for score in SCORES if score in set(table["score"])):
            rows = part[part["score"] == score].set_index("model").reindex(models)
            places = [place + 0.27 * (shift - 1) for place in range(len(models))]
            look = {"color": SCORES[score], "error_kw": {"ecolor": "#333333", "elinewidth": 1}, "capsize": 2}
            ax.bar(places, rows["value"], 0.25, yerr=errors(rows), label=NAMES.get(score, score), **look)
        ax.set_xticks(range(len(models)), models)
        ax.set(title=benchmark, ylim=(0, 100))
        ax.grid(axis="x", visible=False)
    fig.supylabel(f"pass@{k} (%)", fontsize="medium")
    return fig.with_legend()


def budgets(table: pd.DataFrame) -> Chart:
    """Problems solved with so many answers, all of them programs or half of them repairs, a panel for each model.

    Columns model, answers, strategy, value, low, high; without a row a figure that says so."""
    if table.empty:
        return message("Repair against sampling again needs two programs a problem: there are fewer.")
    models = table.groupby("model", sort=False)
    fig, axes = panels(len(models), 2.8, "Repair or sample again: the same number of answers", sharey=True)
    for ax, (model, part) in zip(axes, models, strict=True):
        strategies = zip(part.groupby("strategy", sort=False), SCORES.values(), ("o", "s", "^"), strict=False)
        for (strategy, rows), color, marker in strategies:
            ax.plot(rows["answers"], rows["value"], marker=marker, color=color, label=strategy)
            ax.fill_between(rows["answers"], rows["low"], rows["high"], color=color, alpha=0.15)
        ax.set(title=model, xlabel="answers for each problem", ylim=(0, 100), xticks=sorted(set(part["answers"])))
    fig.supylabel("problems solved (%)", fontsize="medium")
    return fig.with_legend(columns=2)
