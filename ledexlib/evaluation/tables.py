"""Tables 2, 3 and 4 as the paper lays them out, this run's rows above the paper's."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ledexlib.evaluation.metrics import (
    ALL_SENT,
    EXPLANATION_RATES,
    RATES,
    REFINEMENT_RATE,
    SCORE_NAMES,
    pass_at_k_scores,
)

PAPER = Path(__file__).with_name("paper")  # its tables
PAPER_STAGES = {"base": "prompt", "04_sft": "SFT", "05_ppo": "RL"}  # the models of a run, in the paper's words
PAPER_BENCHMARKS = ("MBPP", "HumanEval", "MBPP+", "HumanEval+")
PAPER_PAIRS = ("MBPP & HumanEval", "MBPP+ & HumanEval+")

# Problems of each benchmark. The paper does not say how many of MBPP+ it used; with 239, the tasks that it shares with
# MBPP's test split, Table 2 gives the paper's headline figures (+15.92 and +9.30 for SFT, +3.54 for RL).
PAPER_PROBLEMS = (500, 164, 239, 164)


def paper_table_2() -> pd.DataFrame:
    """The paper's Table 2 in long form: model, stage, score, benchmark, k, value in %."""
    table = pd.read_csv(PAPER / "table_2.csv").melt(["model", "stage", "score"])
    table[["benchmark", "k"]] = table.pop("variable").str.split(expand=True)
    return table.astype({"k": int})


def paper_table_4() -> pd.DataFrame:
    """The paper's Table 4 in long form: model, way, stage, rate (success refinement rate in %, mean of benchmarks)."""
    wide = pd.read_csv(PAPER / "table_4.csv").set_index(["model", "way"]).rename_axis(columns="stage")
    return wide.stack().rename("rate").reset_index()


def paper_overall() -> pd.DataFrame:
    """The paper's Table 3 as it follows from its Table 2: the problem-weighted means of the base and the plus pair."""
    weights = dict(zip(PAPER_BENCHMARKS, PAPER_PROBLEMS, strict=True))
    table = paper_table_2()
    table["weight"] = table["benchmark"].map(weights)
    table["weighted"] = table["value"] * table["weight"]
    table["benchmark"] = table["benchmark"].map(lambda name: PAPER_PAIRS[name.endswith("+")])
    keys = ["model", "stage", "score", "benchmark", "k"]
    sums = table.groupby(keys, sort=False)[["weighted", "weight"]].sum()
    return (sums["weighted"] / sums["weight"]).rename("value").reset_index()


# This run in the paper's layout


def paper_stage(model: str) -> str:
    """What the paper calls the model of a stage; any other model keeps its name."""
    return PAPER_STAGES.get(model, model)


def _as_paper(scores: pd.DataFrame, run: str) -> pd.DataFrame:
    """Scores with the run in the place of the paper's model, and a column for the stage."""
    return scores.assign(stage=scores["model"].map(paper_stage), model=run)


def _laid_out(scores: pd.DataFrame, prefix: str = "") -> pd.DataFrame:
    """A row for each model, stage and score with a column for each benchmark."""
    rows = []
    for (model, stage, score), mine in scores.groupby(["model", "stage", "score"], sort=False):
        by_benchmark = {name: _pass_at_text(part) for name, part in mine.groupby("benchmark", sort=False)}
        rows.append({"model": f"{prefix}{model}", "stage": stage, "score": SCORE_NAMES[score], **by_benchmark})
    return pd.DataFrame(rows)


def _pass_at_text(found: pd.DataFrame) -> str:
    """pass@1 / pass@10; where the intervals are known, on a line each."""
    rows = list(found.sort_values("k").itertuples())
    if "low" in found:
        return "\n".join(f"{row.value:.1f} [{row.low:.1f}, {row.high:.1f}]" for row in rows)
    return " / ".join(f"{row.value:.2f}" for row in rows)


def table_2(scores: pd.DataFrame, run: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Table 2: pass@1 / pass@10 in % of each stage on each benchmark; this run's, with 95 % intervals, and the paper's.

    ``scores`` is `metrics.pass_at_k_scores`.
    """
    ours = _as_paper(scores[scores["benchmark"] != "overall"], run)
    return _laid_out(ours), _laid_out(paper_table_2(), "paper: ")


def table_3(counts: pd.DataFrame, run: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Table 3: the problem-weighted means over the benchmarks and over their plus versions, ours and the paper's.

    ``counts`` is `metrics.task_counts`.
    """
    pairs = counts["benchmark"].str.endswith("plus").map({False: "base benchmarks", True: "plus benchmarks"})
    ours = _as_paper(pass_at_k_scores(counts.assign(benchmark=pairs)), run)
    return _laid_out(ours), _laid_out(paper_overall(), "paper: ")


def table_4(rates: pd.DataFrame, scores: pd.DataFrame, run: str) -> pd.DataFrame:
    """Table 4 both ways, ours and the paper's: success refinement rate in % as the mean over benchmarks.

    ``counted`` is repaired ÷ wrong programs. ``from Table 2`` is (refined - initial) ÷ (100 - initial) in pass@1, which
    is the same for one benchmark whose every wrong program was sent to repair; the paper's two differ.
    """
    counted = rates[(rates["rate"] == REFINEMENT_RATE) & (rates["benchmark"] != "overall")]
    ours = _as_paper(scores[scores["benchmark"] != "overall"], run)
    rows = []
    for (model, way), part in counted.groupby(["model", "way"], sort=False):
        stage = paper_stage(model)
        rows.append((run, SCORE_NAMES[way], stage, part["value"].mean(), _rate_from(ours, run, stage, way)))
    paper = paper_table_2()
    for model, way, stage, rate in paper_table_4().itertuples(index=False):
        rows.append((f"paper: {model}", SCORE_NAMES[way], stage, rate, _rate_from(paper, model, stage, way)))
    return pd.DataFrame(rows, columns=["model", "way", "stage", "counted", "from Table 2"])


def _rate_from(scores: pd.DataFrame, model: str, stage: str, way: str) -> float:
    """The success refinement rate that follows from pass@1 before and after repair, the mean over benchmarks."""
    mine = scores[(scores["model"] == model) & (scores["stage"] == stage) & (scores["k"] == 1)]
    values = mine.set_index(["score", "benchmark"])["value"]
    initial, refined = values["initial"], values[way]
    return float((100 * (refined - initial) / (100 - initial)).mean())


def repair_rate_table(rates: pd.DataFrame) -> pd.DataFrame:
    """The rates of repair, a row for each model, benchmark and way: value and 95 % interval in %."""
    return _wide(rates, [*RATES, ALL_SENT])


def explanation_rate_table(rates: pd.DataFrame) -> pd.DataFrame:
    """The rates of explanations in the same form."""
    return _wide(rates, list(EXPLANATION_RATES))


def _wide(rates: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    keys = ["model", "benchmark", "way"]
    rates = rates[rates["rate"].isin(names)]
    texts = [
        f"{row.value:.1f} [{row.low:.1f}, {row.high:.1f}]" if row.value == row.value else "–"  # NaN: there are none
        for row in rates.itertuples()
    ]
    wide = rates.assign(text=texts).pivot(index=keys, columns="rate", values="text").reindex(columns=names)
    wide = wide.loc[list(rates.drop_duplicates(keys)[keys].itertuples(index=False, name=None))].reset_index()
    wide.columns.name = None
    return wide.assign(model=wide["model"].map(paper_stage), way=wide["way"].map(SCORE_NAMES))
