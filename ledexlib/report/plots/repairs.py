"""Programs and their repairs: how they fail, how many pass, how long they are, and what they are rewarded with."""

import pandas as pd
from matplotlib.axes import Axes

from ledexlib.report.plots.style import LINES, NEUTRAL, VERDICTS, WRONG, Chart, bars, errors, histogram, message, panels


def failure_kinds(failures: pd.DataFrame) -> Chart:
    """How many wrong solutions there are of each kind of failure (column ``kind``)."""
    if failures.empty:
        return message("No program is wrong.")
    title = f"How {len(failures):,} wrong solutions fail"
    return bars(failures["kind"].value_counts(), "{:,.0f}", title, "wrong solutions")


def fixes_by_kind(table: pd.DataFrame, overall: float | None = None) -> Chart:
    """The share of wrong programs repaired, by kind of failure, for several models; a line at the ``overall`` share.

    Columns model, kind, wrong solutions, rate, low, high."""
    if table.empty:
        return message("Too few failures of any kind for a rate.")
    models = list(dict.fromkeys(table["model"]))
    kinds = list(dict.fromkeys(table.sort_values("wrong solutions", ascending=False)["kind"]))
    fig, (ax,) = panels(1, 1.7 + 0.15 * len(kinds) + 0.25 * len(models) * len(kinds))
    for number, (model, color) in enumerate(zip(models, LINES, strict=False)):
        rows = table[table["model"] == model]
        places = [kinds.index(kind) + 0.8 / len(models) * (number - (len(models) - 1) / 2) for kind in rows["kind"]]
        ax.errorbar(rows["rate"], places, xerr=errors(rows, "rate"), fmt="o", color=color, capsize=3, label=model)
        for place, count in zip(places, rows["wrong solutions"], strict=True):
            where = ax.get_yaxis_transform()  # beside the panel, at the height of its point
            ax.text(1.01, place, f"n = {count:,}", transform=where, va="center", fontsize="x-small")
    if overall is not None:
        ax.axvline(overall, color=WRONG, linestyle="--", label=f"all kinds: {overall:.1f} %")
    ax.set(title="Which failures get repaired", xlabel="repaired (%), 95 % interval by problem", xlim=(-3, 103))
    fig.name_rows(kinds)
    return fig.with_legend()


def rates(table: pd.DataFrame, overall: float) -> Chart:
    """Refinement rate by kind of failure, with 95 % intervals, beside the rate over all kinds."""
    return fixes_by_kind(table.assign(model="refinement rate"), overall)


def by_problem(failures: pd.DataFrame) -> Chart:
    """How evenly repairs are spread: the share of each problem's wrong solutions that were refined."""
    if failures.empty:
        return message("No program is wrong.")
    share = failures.groupby("task")["refined"].mean()
    return _shares(share, "Refinement rate", "wrong solutions of the problem that were refined (%)")


def pass_rates(by_task: pd.Series) -> Chart:
    """How hard the problems are for the model: the share of each problem's samples that pass."""
    return _shares(by_task, "Pass rate", "samples of the problem that pass (%)")


def _shares(values: pd.Series, what: str, label: str) -> Chart:
    """How many problems there are at each share."""
    fig, (ax,) = panels(1, 3.2)
    histogram(ax, {"problems": 100 * values}, (0, 100), shares=False)
    ax.set(title=f"{what} of each of {len(values):,} problems", xlabel=label, ylabel="problems")
    return fig


def text_lengths(lengths: pd.DataFrame) -> Chart:
    """Lengths of programs and explanations, correct and wrong (columns ``of``, ``verdict``, ``length``)."""
    parts = [part for part in ("solution", "refinement", "explanation") if (lengths["of"] == part).any()]
    if not parts:
        return message("No texts to measure.")
    fig, axes = panels(len(parts), 2.8, "How long the distinct texts are")
    for ax, part in zip(axes, parts, strict=True):
        data = lengths[lengths["of"] == part]
        _by_verdict(ax, data, "length")
        ax.set(title=f"{part}s (n = {len(data):,})", xlabel="words" if part == "explanation" else "lines")
    return fig.with_legend()


def rounds(solved: pd.Series, total: int) -> Chart:
    """Tasks solved after so many rounds of repair."""
    fig, (ax,) = panels(1, 3.2)
    ax.plot(solved.index, solved, marker="o", color=NEUTRAL)
    for x in dict.fromkeys((solved.index[0], solved.index[-1])):
        ax.annotate(f"{solved[x]:,}", (x, solved[x]), textcoords="offset points", xytext=(0, 8), ha="center")
    ax.set(title=f"Solved of {total:,} sequences of attempts", xlabel="rounds of repair", ylabel="sequences solved")
    ax.margins(y=0.2)
    for axis in (ax.xaxis, ax.yaxis):
        axis.get_major_locator().set_params(integer=True)
    return fig


def _by_verdict(ax: Axes, data: pd.DataFrame, column: str, ends: tuple[float, ...] = ()) -> None:
    """Histograms of a column for correct and for wrong ones."""
    data = data.dropna(subset=[column])
    histogram(ax, {verdict: data[data["verdict"] == verdict][column] for verdict in VERDICTS}, ends)
    ax.set_ylabel("share of each verdict")


def _points(ax: Axes, scores: pd.DataFrame, x: str, y: str) -> None:
    """A point for each refinement, correct or wrong."""
    for (verdict, colour), marker in zip(VERDICTS.items(), "ox", strict=True):
        part = scores[scores["verdict"] == verdict]
        ax.scatter(part[x], part[y], s=24, alpha=0.5, color=colour, marker=marker, label=verdict)


def _counted(scores: pd.DataFrame) -> str:
    return " and ".join(f"{(scores['verdict'] == verdict).sum():,} {verdict}" for verdict in VERDICTS)


def reward_histograms(scores: pd.DataFrame) -> Chart:
    """Figure 3 of the paper: the scores and rewards of correct and wrong refinements, those that there are."""
    columns = [c for c in ("S_cb", "S_ut", "S_ex", "R(r)", "R(e)") if c in scores and scores[c].notna().any()]
    if not columns:
        return message("No refinement has anything to be scored against.")
    fig, axes = panels(len(columns), 2.6, f"Rewards of {_counted(scores)} refinements")
    for ax, column in zip(axes, columns, strict=True):
        label, ends = ("score", (0.0, 1.0)) if column.startswith("S_") else ("reward", (-5.0, 5.0))
        _by_verdict(ax, scores, column, ends)
        ax.set(title=column, xlabel=label)
    return fig.with_legend()


def aucs(table: pd.DataFrame) -> Chart:
    """AUC of every score with 95 % intervals, over all refinements and within a wrong program."""
    if table.empty:
        return message("No score has both correct and wrong refinements to tell apart.")
    table = table.reset_index(drop=True)
    fig, (ax,) = panels(1, 1.7 + 0.4 * len(table))
    series = (("", -0.13, NEUTRAL, "o", "all refinements"), (" within", 0.13, WRONG, "s", "pairs of one wrong program"))
    for within, shift, color, marker, label in series:
        part = table[table[f"AUC{within}"].notna()]
        reach = errors(part, f"AUC{within}", f"low{within}", f"high{within}")
        look = {"fmt": marker, "color": color, "capsize": 3, "label": label}
        ax.errorbar(part[f"AUC{within}"], part.index + shift, xerr=reach, **look)
    ax.axvline(0.5, color="grey", linestyle="--", linewidth=1)
    fig.name_rows(table["score"])
    ax.set(title="How well a score tells correct from wrong", xlabel="AUC, 95 % interval by problem", xlim=(0, 1.02))
    return fig.with_legend()


def two_rewards(scores: pd.DataFrame) -> Chart:
    """The reward of the explanation against the reward of the code, a point for each refinement."""
    fig, (ax,) = panels(1, 4.2)
    _points(ax, scores, "R(r)", "R(e)")
    title = f"The two rewards of {_counted(scores)} refinements"
    ax.set(title=title, xlabel="R(r), of the code", ylabel="R(e), of the explanation")
    return fig.with_legend()


def explanation_maps(scores: pd.DataFrame, ends: dict[str, tuple[float, float]]) -> Chart:
    """The maps from similarity to R(e), above where the similarities of the data lie."""
    fig, (top, below) = panels(2, 2.6, columns=1, sharex=True)
    for (name, (low, high)), color, line in zip(ends.items(), (NEUTRAL, WRONG), ("-", "--"), strict=False):
        label = f"map, {name}: {low:.2f} to {high:.2f}"
        top.plot([low, high], [-5, 5], color=color, linestyle=line, marker="o", label=label)
    top.axhline(0, color="grey", linewidth=1)
    top.set(title="What a similarity is worth", ylabel="R(e)")
    _by_verdict(below, scores, "S_ex")
    label = "S_ex, mean cosine with the references' explanations"
    below.set(title=f"Similarities of {_counted(scores)} refinements", xlabel=label)
    return fig.with_legend(columns=2)


def rewards_by_length(scores: pd.DataFrame) -> Chart:
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
    return fig.with_legend()
