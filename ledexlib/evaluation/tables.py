"""Tables 2, 3 and 4 as the paper lays them out, this run's rows above the paper's; rates of repair; repairs to read."""

from pathlib import Path

import pandas as pd

from ledexlib.evaluation import metrics
from ledexlib.evaluation.evaluate import WAYS
from ledexlib.evaluation.metrics import SCORE_NAMES
from ledexlib.records import Refinement, Solution

PAPER = Path(__file__).with_name("paper")  # its tables
PAPER_STAGES = {"base": "prompt", "04_sft": "SFT", "05_ppo": "RL"}  # the models of a run, in the paper's words

# Problems of each benchmark. The paper does not say how many of MBPP+ it used; with 239, the tasks that it shares with
# MBPP's test split, Table 2 gives the paper's headline figures (+15.92 and +9.30 for SFT, +3.54 for RL).
PAPER_PROBLEMS = {"MBPP": 500, "HumanEval": 164, "MBPP+": 239, "HumanEval+": 164}
PAPER_PAIRS = ("MBPP & HumanEval", "MBPP+ & HumanEval+")


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
    table = paper_table_2()
    table["weight"] = table["benchmark"].map(PAPER_PROBLEMS)
    table["weighted"] = table["value"] * table["weight"]
    table["benchmark"] = table["benchmark"].map(lambda name: PAPER_PAIRS[name.endswith("+")])
    keys = ["model", "stage", "score", "benchmark", "k"]
    sums = table.groupby(keys, sort=False)[["weighted", "weight"]].sum()
    return (sums["weighted"] / sums["weight"]).rename("value").reset_index()


def _as_paper(scores: pd.DataFrame, run: str) -> pd.DataFrame:
    """Scores with the run in the place of the paper's model, and a column for the stage."""
    return scores.assign(stage=scores["model"].replace(PAPER_STAGES), model=run)


def _laid_out(scores: pd.DataFrame, prefix: str = "") -> pd.DataFrame:
    """A row for each model, stage and score with a column for each benchmark: pass@1 and pass@10."""
    rows = []
    for (model, stage, score), mine in scores.groupby(["model", "stage", "score"], sort=False):
        row = {"model": f"{prefix}{model}", "stage": stage, "score": SCORE_NAMES[score]}
        for benchmark, part in mine.groupby("benchmark", sort=False):
            part = part.sort_values("k")
            plain = " / ".join(f"{value:.2f}" for value in part["value"])  # the paper states no intervals
            row[benchmark] = "\n".join(_texts(part)) if "low" in part else plain
        rows.append(row)
    return pd.DataFrame(rows)


def _texts(found: pd.DataFrame) -> list[str]:
    """Each row's value with its 95 % interval."""
    rows = found[["value", "low", "high"]].itertuples(index=False)
    return ["–" if pd.isna(value) else f"{value:.1f} [{low:.1f}, {high:.1f}]" for value, low, high in rows]


def table_2(scores: pd.DataFrame, run: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Table 2: pass@1 / pass@10 in % of each stage on each benchmark; this run's, from `metrics.pass_at_k_scores` and
    with 95 % intervals, and the paper's."""
    ours = _as_paper(scores[scores["benchmark"] != "overall"], run)
    return _laid_out(ours), _laid_out(paper_table_2(), "paper: ")


def table_3(counts: pd.DataFrame, run: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Table 3: the problem-weighted means over the benchmarks and over their plus versions; this run's, from
    `metrics.task_counts`, and the paper's."""
    pairs = counts["benchmark"].str.endswith("plus").map({False: "base benchmarks", True: "plus benchmarks"})
    scores = metrics.pass_at_k_scores(counts.assign(benchmark=pairs))
    return _laid_out(_as_paper(scores, run)), _laid_out(paper_overall(), "paper: ")


def table_4(rates: pd.DataFrame, scores: pd.DataFrame, run: str) -> pd.DataFrame:
    """Table 4 both ways, ours and the paper's: success refinement rate in % as the mean over benchmarks.

    ``counted`` is repaired ÷ wrong programs. ``from Table 2`` is (refined - initial) ÷ (100 - initial) in pass@1, which
    is the same for one benchmark whose every wrong program was sent to repair; the paper's two differ."""
    counted = rates[(rates["rate"] == metrics.REFINEMENT_RATE) & (rates["benchmark"] != "overall")]
    ours, paper = _as_paper(scores[scores["benchmark"] != "overall"], run), paper_table_2()
    rows = []
    for (model, way), part in counted.groupby(["model", "way"], sort=False):
        stage = PAPER_STAGES.get(model, model)
        rows.append((run, SCORE_NAMES[way], stage, part["value"].mean(), _rate_from(ours, run, stage, way)))
    for model, way, stage, rate in paper_table_4().itertuples(index=False):
        rows.append((f"paper: {model}", SCORE_NAMES[way], stage, rate, _rate_from(paper, model, stage, way)))
    return pd.DataFrame(rows, columns=["model", "way", "stage", "counted", "from Table 2"])


def _rate_from(scores: pd.DataFrame, model: str, stage: str, way: str) -> float:
    """The success refinement rate that follows from pass@1 before and after repair, the mean over benchmarks."""
    mine = scores[(scores["model"] == model) & (scores["stage"] == stage) & (scores["k"] == 1)]
    values = mine.set_index(["score", "benchmark"])["value"]
    initial, refined = values["initial"], values[way]
    return float((100 * (refined - initial) / (100 - initial)).mean())


def rate_table(rates: pd.DataFrame, explanations: bool = False) -> pd.DataFrame:
    """The rates of repair or of explanations, a row for each model, benchmark and way: value and 95 % interval in %."""
    names = list(metrics.EXPLANATION_RATES) if explanations else [*metrics.RATES, metrics.ALL_SENT]
    keys, rates = ["model", "benchmark", "way"], rates[rates["rate"].isin(names)]
    texts = rates.assign(text=_texts(rates)).set_index([*keys, "rate"])["text"]
    wide = texts.unstack(sort=False).reindex(columns=names).reset_index().rename_axis(columns=None)
    return wide.replace({"model": PAPER_STAGES, "way": SCORE_NAMES})


def example_repairs(found: metrics.Evaluated, n: int) -> list[tuple[Solution, Refinement]]:
    """Repairs that pass, to read: of the last model, of different tasks, explained ones where there are some."""
    label, by_benchmark = list(found.items())[-1]
    model = PAPER_STAGES.get(label, label)
    for way in reversed(WAYS):
        picked: dict[str, tuple[Solution, Refinement]] = {}
        for trajectory in (t for trajectories in by_benchmark.values() for t in trajectories):
            solution, repair = trajectory.solution, trajectory.repair(way)
            if solution.needs_repair and repair and repair.verdict.passed:
                picked.setdefault(metrics.problem_of(solution.task_id), (solution, repair))
        if picked:
            shown = list(picked.values())[:: max(1, len(picked) // max(1, n))][:n]
            return [(s.model_copy(update={"model": model}), r.model_copy(update={"teacher": model})) for s, r in shown]
    return []
