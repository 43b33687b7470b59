"""Rewards and credit modes against each other: the same training from the same fine-tuned model, one thing changed.

A cell is a variant and a seed: a training by reinforcement and the evaluation of what it left. Cells lie in
``outputs/<run>/ablations/`` under a key of all they follow from, so that a killed ablation goes on cell by cell, and a
longer list of variants, or more seeds, costs only what is new.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ledexlib import evaluate, ppo, ppo_log
from ledexlib.attempts import Attempts
from ledexlib.comparisons import LIKE_FOR_LIKE, RATE, like_for_like
from ledexlib.kept import Candidate, settings
from ledexlib.metrics import Estimate, ratio, resamples
from ledexlib.params import ParameterError
from ledexlib.records import content_id
from ledexlib.repair_metrics import interval, ks_of, task_table, with_pass_at
from ledexlib.runs import NOT_IN_KEY, Stage, run_folder
from ledexlib.vocabulary import Params

SFT = "04_sft"
PAPER = {
    "ppo_algorithm": "ppo", "ppo_credit": "paper", "code_reward": "both", "explanation_weight": 1.0,
    "explanation_when_passed": False,
}  # fmt: skip
VARIANTS: Mapping[str, tuple[str, dict[str, Any]]] = {  # what each one is, and how it differs from the paper's
    "paper": ("as the paper's formula", {}),
    "isolated": ("the explanation sees R(e) alone", {"ppo_credit": "isolated"}),
    "single": ("one reward at the end", {"ppo_credit": "single"}),
    "grpo": ("GRPO instead of PPO", {"ppo_algorithm": "grpo"}),
    "codebleu": ("R(r) from CodeBLEU only", {"code_reward": "codebleu"}),
    "tests": ("R(r) from tests only", {"code_reward": "tests"}),
    "silent": ("no explanation reward", {"explanation_weight": 0.0}),
    "gated": ("R(e) only if the tests pass", {"explanation_when_passed": True}),
}
OWN = "own"  # no variant of the paper's setting: the run's own parameters, to see them with several seeds
WHAT = {OWN: "the run's own settings", **{variant: what for variant, (what, _) in VARIANTS.items()}}


@dataclass(frozen=True)
class Cell:
    """A training: a variant, its seed, its parameters and its folder."""

    variant: str
    seed: int
    params: Params
    folder: Path

    @property
    def label(self) -> str:
        return f"{self.variant}-{self.seed}"


def cells(p: Params, stage: Stage) -> list[Cell]:
    """The cells that the parameters name, variant by variant; raises ParameterError for one that cannot be."""
    if len(set(p.ablations)) < len(p.ablations):
        raise ParameterError(f"ablations = {p.ablations}: a variant is listed twice")
    found = []
    for variant in p.ablations:
        if variant not in WHAT:
            near = difflib.get_close_matches(variant, WHAT, n=1, cutoff=0.0)[0]
            raise ParameterError(f"ablations: '{variant}' is none of {', '.join(WHAT)}; did you mean '{near}'?")
        changes = {} if variant == OWN else {**PAPER, **VARIANTS[variant][1]}
        for seed in range(p.seed, p.seed + p.ablation_seeds):
            mine = p.model_copy(update={**changes, "seed": seed})
            ppo.check(mine)
            found.append(Cell(variant, seed, mine, _folder(mine, variant, stage)))
    return found


def _folder(p: Params, variant: str, stage: Stage) -> Path:
    trained = [name for name in Params.model_fields if name.startswith(TRAINED) and name not in NOT_IN_KEY]
    needs = [stage.need(name).key for name in (SFT, "03_rewards")]
    key = content_id({name: getattr(p, name) for name in trained}, needs)
    return run_folder(p) / "ablations" / f"{variant}-{p.seed}-{key[:8]}"


TRAINED = (  # how the names begin of what a training follows from
    "seed", "ppo_", "sft_lora", "code_reward", "codebleu", "explanation_", "encoder", "reward_", "copy_guard",
    "n_solutions", "solution_", "top_p", "prompts_per_batch", "timeout", "memory_mb",
)  # fmt: skip


def make(found: list[Cell], p: Params, stage: Stage) -> Iterator[tuple[str, Attempts]]:
    """Train and evaluate what is not there yet; the SFT model's attempts, then each cell's, by label."""
    benchmarks = evaluate.load_benchmarks(p, ["chat"])

    def tried(label: str, model: Path, folder: Path) -> tuple[str, Attempts]:
        candidate = Candidate(label, str(model), "chat")
        kept = folder / f"{label}-{content_id(settings(candidate, p))[:8]}"
        return label, evaluate.evaluate(candidate, benchmarks, p, kept, stage.progress)

    yield tried(SFT, stage.need(SFT).path("model"), run_folder(p) / "evaluations")  # where 06_evaluate keeps them too
    for cell in found:
        cell.folder.mkdir(parents=True, exist_ok=True)
        ppo.prepare(cell.params, cell.folder)
        yield tried(cell.label, ppo.TRAINING.run(cell.params, cell.folder), cell.folder)


# The table


def contrast(after: np.ndarray, before: np.ndarray, draws: int = 2000) -> Estimate:
    """The mean over seeds of a rate in %, less the rate before, with an interval over seeds and problems.

    ``after`` (S, P, 2) and ``before`` (P, 2) hold each problem's numerator and denominator. A draw takes the same
    problems for both, and S of the seeds; with one seed the interval is over problems alone.
    """
    after, before = np.asarray(after, float), np.asarray(before, float)
    problems, seeds = resamples(len(before), draws), resamples(len(after), draws, 1)
    sums = np.einsum("ds,dp,spk->dk", seeds, problems, after, optimize=True)
    drawn = 100 * (sums[:, 0] / sums[:, 1] - np.divide(*(problems @ before).T))
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Estimate(ratio(after.reshape(-1, 2)) - ratio(before), float(low), float(high), len(before))


def _sums(table: pd.DataFrame, model: str, kind: str, k: int) -> pd.DataFrame:
    """A rate's numerators and denominators by problem; like for like, those of the gain over the SFT model."""
    if kind == "alike":
        return like_for_like(table, SFT, model, "explain")[["gain", "weight"]]
    mine = table[table["model"] == model]
    if kind == "repair":
        columns = ["explain fixed", "explain sent"]
    else:
        mine, columns = with_pass_at(mine, kind, k), ["pass", "one"]
    return mine.groupby("problem")[columns].sum()


RATES = {
    "explain": "explain + refine pass@1", "repair": RATE, "alike": LIKE_FOR_LIKE, "initial": "initial pass@1"
}  # fmt: skip


def _gain(tasks: pd.DataFrame, found: list[Cell], kind: str, k: int = 1) -> Estimate:
    """What a variant's trainings change over the SFT model, in points."""
    before = _sums(tasks, SFT, kind, k)  # like for like: 0 of what was repaired
    after = [_sums(tasks, cell.label, kind, k).reindex(before.index, fill_value=0) for cell in found]
    return contrast(np.stack(after), before.to_numpy())


def _tasks(attempts: Mapping[str, Attempts], p: Params) -> pd.DataFrame:
    return task_table(attempts, {b.name: b.problems for b in evaluate.load_benchmarks(p, ["chat"])})


def gains(found: list[Cell], attempts: Mapping[str, Attempts], p: Params) -> pd.DataFrame:
    """What each variant changes over the SFT model, in points: columns variant, what, seeds, rate, value, low, high."""
    tasks = _tasks(attempts, p)
    rows = []
    for variant in dict.fromkeys(cell.variant for cell in found):
        mine = [cell for cell in found if cell.variant == variant]
        about = {"variant": variant, "what": WHAT[variant], "seeds": len(mine)}
        for kind, name in RATES.items():
            rows.append({**about, "rate": name, **interval(_gain(tasks, mine, kind))})
    return pd.DataFrame(rows, columns=["variant", "what", "seeds", "rate", "value", "low", "high"])


def headline(found: list[Cell], attempts: Mapping[str, Attempts], p: Params) -> dict[str, dict[str, Any]]:
    """The gains of the run's own settings after explain + refine, over seeds, as ``headline.gains`` has one seed's."""
    mine = [cell for cell in found if cell.variant == OWN]
    if not mine:
        return {}
    tasks = _tasks(attempts, p)
    before = tasks[tasks["model"] == SFT]
    about = {"n_problems": len(before), "n_samples": int(before["samples"].sum()), "n_seeds": len(mine)}
    wanted = {f"pass@{k}": ("explain", k) for k in ks_of(tasks)} | {RATE: ("repair", 1), LIKE_FOR_LIKE: ("alike", 1)}
    over = {}
    for name, (kind, k) in wanted.items():
        gained = _gain(tasks, mine, kind, k)
        values = {"points": gained.value, "low": gained.low, "high": gained.high}
        over[name] = {key: round(value, 2) for key, value in values.items()} | about
    return {"rl_over_sft": over}


def table(gained: pd.DataFrame, found: list[Cell]) -> pd.DataFrame:
    """A row for each variant: its gains with intervals, and where rewards and KL ended, means over seeds."""
    rows = []
    for (variant, what, seeds), part in gained.groupby(["variant", "what", "seeds"], sort=False):
        gain = {f"{r.rate}, gain": f"{r.value:+.1f} [{r.low:+.1f}, {r.high:+.1f}]" for r in part.itertuples()}
        logs = [log(cell) for cell in found if cell.variant == variant]
        lasts = pd.concat([one[-max(1, len(one) // 5) :] for one in logs])
        ends = {f"{name} at the end": lasts[column].mean() for column, name in ENDS.items() if column in lasts}
        rows.append({"variant": variant, "what": what, "seeds": seeds, **gain, **ends})
    return pd.DataFrame(rows)


ENDS = {"rollout/explanation reward": "R(e)", "rollout/code reward": "R(r)", "rollout/kl": "KL"}


def log(cell: Cell) -> pd.DataFrame:
    """A cell's training log, with columns ``variant`` and ``seed``."""
    return ppo_log.frame(ppo_log.read_log(cell.folder)).assign(variant=cell.variant, seed=cell.seed)
