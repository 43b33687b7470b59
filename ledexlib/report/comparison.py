"""Runs side by side: the parameters in which they differ, and what came out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ledexlib.report.states import StageState
from ledexlib.report.text import parameter_text

STEPS = {"sft_over_prompting": "SFT over base", "rl_over_sft": "RL over SFT"}
MISSING = "–"
Row = tuple[str, list[str]]  # what is compared, and the text of each run


def _side_by_side(runs: Sequence[Mapping[str, str]]) -> list[Row]:
    """A row for everything that a run has."""
    names = dict.fromkeys(name for run in runs for name in run)
    return [(name, [run.get(name, MISSING) for run in runs]) for name in names]


def differing_parameters(runs: Sequence[Mapping[str, Any]]) -> list[Row]:
    """The parameters in which runs differ; ``runs`` are their parameters by name."""
    rows = _side_by_side([{name: parameter_text(value) for name, value in run.items()} for run in runs])
    return [row for row in rows if row[0] not in ("run", "outputs") and len({*row[1]} - {MISSING}) > 1]


def headline_gains(runs: Sequence[Sequence[StageState]]) -> list[Row]:
    """What each step of training adds, in points with its 95 % interval; over seeds where there are several."""
    return _side_by_side([_gains(stages) for stages in runs])


def _gains(stages: Sequence[StageState]) -> dict[str, str]:
    """The gains of a run by name; those of the ablations, which have seeds, in the place of the evaluation's."""
    steps: dict[str, Any] = {}
    for stage in stages:
        gains = stage.metrics.get("gains")
        steps |= gains if isinstance(gains, dict) else {}
    named = {f"{STEPS.get(step, step)}: {rate}": gain for step, rates in steps.items() for rate, gain in rates.items()}
    return {name: _interval(gain) for name, gain in named.items() if "points" in gain}


def _interval(gain: Mapping[str, Any]) -> str:
    seeds = f", {gain['n_seeds']} seeds" if "n_seeds" in gain else ""
    return f"{gain['points']:+.1f} [{gain['low']:+.1f},\u00a0{gain['high']:+.1f}]".replace("-", "−") + seeds


def metrics_by_stage(runs: Sequence[Sequence[StageState]]) -> dict[str, list[Row]]:
    """For each stage its single-value metrics, side by side."""
    found = [{stage.name: stage.singles for stage in stages if stage.singles} for stages in runs]
    stages = sorted({name for run in found for name in run})
    return {stage: _side_by_side([run.get(stage, {}) for run in found]) for stage in stages}
