"""The headline figures of a run's evaluation, with the command and parameters that made them."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from ledexlib.evaluation.comparisons import pass_at_gain, repair_gains, sources_of_gain
from ledexlib.evaluation.metrics import ks_of
from ledexlib.evaluation.tables import paper_stage
from ledexlib.params import Params
from ledexlib.runs import ArtifactError, StageError, needed, read_json, run_folder

STEPS = {"sft_over_prompting": ("base", "04_sft"), "rl_over_sft": ("04_sft", "05_ppo")}


def headline_gains(counts: pd.DataFrame, score: str = "explain") -> dict[str, dict[str, Any]]:
    """What fine-tuning and reinforcement learning add, over all benchmarks weighted by problems, where both were
    evaluated: by default to pass@1 and pass@10 after explain + refine, and to the success refinement rate.

    ``n_problems`` counts the tasks of all benchmarks, ``n_samples`` the programs of each of the two models.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, (before, after) in STEPS.items():
        pair = counts[counts["model"].isin((before, after))]
        if pair["model"].nunique() == 2:
            gains = {f"pass@{k}": pass_at_gain(pair, before, after, score, k)._asdict() for k in ks_of(pair)}
            gains["from"] = sources_of_gain(pair, before, after, score)
            gains |= {rate: gain._asdict() for rate, gain in repair_gains(pair, before, after, score).items()}
            found[name] = {metric: _rounded(values) for metric, values in gains.items()}
    return found


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4 if name == "p" else 2) for name, value in values.items()}


def evaluation_metrics(counts: pd.DataFrame, scores: pd.DataFrame, rates: pd.DataFrame, p: Params) -> dict[str, Any]:
    """The stage's ``metrics.json``: pass@1 of each model by name, for the table of runs, then all figures."""
    overall = scores if counts["benchmark"].nunique() == 1 else scores[scores["benchmark"] == "overall"]
    singles = {
        f"{paper_stage(row.model)} {row.score} pass@{row.k} %": round(row.value, 2)
        for row in overall.itertuples()
        if row.score != "refine" and row.k == 1
    }
    about = read_json(run_folder(p) / "run.json") or {}
    return {
        **singles,
        "gains": headline_gains(counts),
        "feedback_from": p.feedback_from,
        "scores": scores.round(2).to_dict("records"),
        "rates": rates.round(2).to_dict("records"),
        "command": about.get("command") or f"notebooks/06_evaluate.ipynb with run = {p.run!r}",
        "parameters": about.get("parameters", {}),
    }


def run_headline(folder: Path) -> dict[str, Any]:
    """The metrics of the evaluation of the run in ``folder``.

    Where its reinforcement was repeated with several seeds (09_ablations, variant ``own``), the gain of reinforcement
    is over all of them. Raises StageError if a stage is missing, damaged or older than what it was made from.
    """
    found = needed(folder, "06_evaluate", by="the headline").metrics
    repeated: dict[str, Any] = {}
    if (folder / "09_ablations" / "done.json").exists():
        repeated = needed(folder, "09_ablations", by="the headline").metrics.get("gains", {})
    return {**found, "gains": {**found["gains"], **repeated}}


def add_headline_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the subcommand ``headline``."""
    parser.description = "Print the headline figures of a run's evaluation as JSON."
    parser.add_argument("folder", type=Path, metavar="outputs/RUN", help="the run's folder")


def headline_command(args: argparse.Namespace) -> int:
    """The subcommand ``headline``: exit status 0, or 2 if the run has no evaluation that can be used."""
    try:
        print(json.dumps(run_headline(args.folder), indent=2))
    except (StageError, ArtifactError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
