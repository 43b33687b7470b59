"""The headline figures of an evaluation, with what made them: the ``metrics.json`` of a run.

``python -m ledexlib.headline outputs/RUN`` prints those of a run: where its reinforcement was repeated with several
seeds (09_ablations, variant ``own``), what it adds is over all of them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from ledexlib.runs.storage import read_json
from ledexlib.evaluation.comparisons import gain, repair_gains, sources_of_gain
from ledexlib.evaluation.metrics import ks_of
from ledexlib.runs.stage import needed, run_folder
from ledexlib.evaluation.tables import stage_of
from ledexlib.params.vocabulary import Params

STEPS = {"sft_over_prompting": ("base", "04_sft"), "rl_over_sft": ("04_sft", "05_ppo")}


def gains(table: pd.DataFrame, score: str = "explain") -> dict[str, dict[str, Any]]:
    """What fine-tuning and reinforcement learning add, over all benchmarks weighted by problems, where both were
    evaluated: by default of pass@1 and pass@10 after explaining and refining, and of the success refinement rate.

    ``n_problems`` counts the tasks of all benchmarks, ``n_samples`` the programs of each of the two models.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, (before, after) in STEPS.items():
        pair = table[table["model"].isin((before, after))]
        if pair["model"].nunique() == 2:
            found[name] = {f"pass@{k}": _rounded(gain(pair, before, after, score, k)._asdict()) for k in ks_of(pair)}
            found[name]["from"] = _rounded(sources_of_gain(pair, before, after, score))
            repair = repair_gains(pair, before, after, score)
            found[name] |= {rate: _rounded(gained._asdict()) for rate, gained in repair.items()}
    return found


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4 if name == "p" else 2) for name, value in values.items()}


def metrics(table: pd.DataFrame, scores: pd.DataFrame, rates: pd.DataFrame, p: Params) -> dict[str, Any]:
    """All figures of the stage; the first of them single values, for the table of runs."""
    overall = scores if table["benchmark"].nunique() == 1 else scores[scores["benchmark"] == "overall"]
    singles = {
        f"{stage_of(row.model)} {row.score} pass@{row.k} %": round(row.value, 2)
        for row in overall.itertuples()
        if row.score != "refine" and row.k == 1
    }
    about = read_json(run_folder(p) / "run.json") or {}
    return {
        **singles,
        "gains": gains(table),
        "feedback_from": p.feedback_from,
        "scores": scores.round(2).to_dict("records"),
        "rates": rates.round(2).to_dict("records"),
        "command": about.get("command") or f"notebooks/06_evaluate.ipynb with run = {p.run!r}",
        "parameters": about.get("parameters", {}),
    }


def of_run(folder: Path) -> dict[str, Any]:
    """The metrics of the run's evaluation, with gains over seeds in the place of those of one seed.

    Raises StageError if a stage is missing, damaged or older than what it was made from.
    """
    found = needed(folder, "06_evaluate", by="the headline").metrics
    repeated: dict[str, Any] = {}
    if (folder / "09_ablations" / "done.json").exists():
        repeated = needed(folder, "09_ablations", by="the headline").metrics.get("gains", {})
    return {**found, "gains": {**found["gains"], **repeated}}


if __name__ == "__main__":
    print(json.dumps(of_run(Path(sys.argv[1])), indent=2))
