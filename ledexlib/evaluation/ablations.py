"""Rewards and credit modes against each other: the same training from the same fine-tuned model, one thing changed.

A cell is a variant and a seed: a training by reinforcement and the evaluation of what it left. Cells lie in
``outputs/<run>/ablations/`` under a key of all they follow from, so that a killed ablation goes on cell by cell, and a
longer list of variants, or more seeds, costs only what is new. Where there are cores or GPUs to spare, cells are filled
side by side, before the notebook or beside it, by ``python -m ledexlib.ablation PARAMS.yaml --run NAME --cells LABEL``.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ledexlib.evaluation import evaluate
from ledexlib.training.rl import on_policy as own_programs
from ledexlib.params import layers as params
from ledexlib.training.rl import setup as ppo
from ledexlib.training.rl import log as ppo_log
from ledexlib.evaluation import metrics as repair_metrics
from ledexlib.runs.progress import Progress
from ledexlib.evaluation.export import Attempts
from ledexlib.repair.collection import NewProgress
from ledexlib.evaluation.comparisons import LIKE_FOR_LIKE, RATE, like_for_like
from ledexlib.evaluation.cache import Candidate, settings
from ledexlib.statistics import Estimate, ratio, resamples
from ledexlib.params.layers import ParameterError
from ledexlib.records import content_id
from ledexlib.evaluation.metrics import INVENTED, interval, ks_of, with_pass_at
from ledexlib.runs.stage import NOT_IN_KEY, Needed, Stage, StageError, needed, run_folder
from ledexlib.params.vocabulary import Params

SFT = "04_sft"
OWN = "own"
VARIANTS: Mapping[str, tuple[str, dict[str, Any]]] = {  # what each one is, and what it changes in the run's settings
    OWN: ("the run's own settings", {}),
    "paper": ("the explanation sees R(e) and later R(r)", {"ppo_credit": "paper"}),
    "isolated": ("the explanation sees R(e) alone", {"ppo_credit": "isolated"}),
    "single": ("one reward at the end", {"ppo_credit": "single"}),
    "ppo": ("PPO with a value head", {"ppo_algorithm": "ppo"}),
    "grpo": ("GRPO, without a critic", {"ppo_algorithm": "grpo"}),
    "codebleu": ("R(r) from CodeBLEU only", {"code_reward": "codebleu"}),
    "tests": ("R(r) from tests only", {"code_reward": "tests"}),
    "silent": ("no explanation reward", {"explanation_weight": 0.0}),
    "gated": ("R(e) only if the tests pass", {"explanation_when_passed": True}),
    "same": ("references of the same program", {"reward_references": "solution"}),
    "pooled": ("scaled by all groups' deviation", {"ppo_group_scale": "batch"}),
}


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


def cells(p: Params, need: Callable[[str], Needed]) -> list[Cell]:
    """The cells that the parameters name, variant by variant; raises ParameterError for one that cannot be."""
    if len(set(p.ablations)) < len(p.ablations):
        raise ParameterError(f"ablations = {p.ablations}: a variant is listed twice")
    found = []
    for variant in p.ablations:
        changed = p.model_copy(update=_changes(variant, p))
        for seed in range(p.seed, p.seed + p.ablation_seeds):
            mine = changed.model_copy(update={"seed": seed})
            ppo.check(mine)
            found.append(Cell(variant, seed, mine, _folder(mine, variant, need)))
    return found


def _changes(variant: str, p: Params) -> dict[str, Any]:
    if variant not in VARIANTS:
        near = difflib.get_close_matches(variant, VARIANTS, n=1, cutoff=0.0)[0]
        raise ParameterError(f"ablations: '{variant}' is none of {', '.join(VARIANTS)}; did you mean '{near}'?")
    changes = VARIANTS[variant][1]
    if variant != OWN and all(getattr(p, name) == value for name, value in changes.items()):
        stated = ", ".join(f"{name} = {value}" for name, value in changes.items())
        raise ParameterError(f"ablations: '{variant}' changes nothing, the run has {stated} already; '{OWN}' is that")
    return changes


def _folder(p: Params, variant: str, need: Callable[[str], Needed]) -> Path:
    trained = [name for name in Params.model_fields if name.startswith(TRAINED) and name not in NOT_IN_KEY]
    needs = [need(name).key for name in (SFT, "03_rewards")]
    key = content_id({name: getattr(p, name) for name in trained}, needs)
    return run_folder(p) / "ablations" / f"{variant}-{p.seed}-{key[:8]}"


TRAINED = (  # how the names begin of what a training follows from
    "seed", "ppo_", "sft_lora", "code_reward", "codebleu", "explanation_", "encoder", "reward_", "copy_guard",
    "n_solutions", "solution_", "teacher", "n_refinements", "refinement_", "top_p", "prompts_per_batch", "timeout",
    "memory_mb",
)  # fmt: skip


def make(found: list[Cell], p: Params, stage: Stage) -> Iterator[tuple[str, Attempts]]:
    """Train and evaluate what is not there yet; the SFT model's attempts, then each cell's, by label."""
    if not found:
        return
    benchmarks = evaluate.load_benchmarks(p, ["chat"])
    tuned = Candidate(SFT, str(stage.need(SFT).path("model")), "chat")
    beside = run_folder(p) / "evaluations"  # where 06_evaluate keeps them too
    yield SFT, _evaluated(tuned, benchmarks, p, beside, stage.progress)
    for cell in found:
        yield cell.label, fill(cell, found, benchmarks, p, stage.progress)


def fill(
    cell: Cell, found: list[Cell], benchmarks: Sequence[evaluate.Benchmark], p: Params, progress: NewProgress
) -> Attempts:
    """Train a cell of those that were found, and evaluate what it left, unless that is there already."""
    cell.folder.mkdir(parents=True, exist_ok=True)
    first = next(other for other in found if other.seed == cell.seed)
    if first is not cell and cell.params.ppo_programs == "own" and first.folder.exists():
        own_programs.take_over(first.folder, cell.folder)  # a seed's cells repair the same programs
    ppo.prepare(cell.params, cell.folder)
    trained = Candidate(cell.label, str(ppo.TRAINING.run(cell.params, cell.folder)), "chat")
    return _evaluated(trained, benchmarks, p, cell.folder, progress)


def _evaluated(
    model: Candidate, benchmarks: Sequence[evaluate.Benchmark], p: Params, folder: Path, progress: NewProgress
) -> Attempts:
    kept = folder / f"{model.label}-{content_id(settings(model, p))[:8]}"
    return evaluate.evaluate(model, benchmarks, p, kept, progress)


# The table


def contrast(after: np.ndarray, before: np.ndarray, draws: int = 2000) -> Estimate:
    """The mean over seeds of a rate in %, less the rate before, with an interval over seeds and problems.

    ``after`` (S, P, 2) holds each seed's and problem's numerator and denominator, ``before`` (P, 2) those of one model
    or (S, P, 2) those of one for each seed. A draw takes the same problems, and the same S of the seeds, for both; with
    one seed the interval is over problems alone.
    """
    after = np.asarray(after, float)
    before = np.broadcast_to(np.asarray(before, float), after.shape)
    problems, seeds = resamples(after.shape[1], draws), resamples(len(after), draws, 1)

    def rates(counts: np.ndarray) -> np.ndarray:
        top, bottom = np.einsum("ds,dp,spk->kd", seeds, problems, counts, optimize=True)
        return 100 * top / bottom

    low, high = np.quantile(rates(after) - rates(before), (0.025, 0.975))
    value = ratio(after.reshape(-1, 2)) - ratio(before.reshape(-1, 2))
    return Estimate(value, float(low), float(high), after.shape[1])


def _sums(tasks: pd.DataFrame, model: str, kind: str, k: int) -> pd.DataFrame:
    """A rate's numerators and denominators by problem; like for like, those of the gain over the SFT model."""
    if kind == "alike":
        return like_for_like(tasks, SFT, model, "explain")[["gain", "weight"]]
    mine = tasks[tasks["model"] == model]
    if kind in COUNTED:
        columns = [f"explain {name}" for name in COUNTED[kind]]
    else:
        mine, columns = with_pass_at(mine, kind, k), ["pass", "one"]
    return mine.groupby("problem")[columns].sum()


COUNTED = {"repair": repair_metrics.RATES[RATE], "invented": repair_metrics.TRUTH[INVENTED]}
RATES = {
    "explain": "explain + refine pass@1", "repair": RATE, "alike": LIKE_FOR_LIKE, "initial": "initial pass@1",
    "invented": INVENTED,
}  # fmt: skip


def _gain(tasks: pd.DataFrame, found: list[Cell], kind: str, k: int = 1, than: list[Cell] | None = None) -> Estimate:
    """What trainings change over the SFT model, in points; ``than``: over the trainings with the same seeds."""
    sft = _sums(tasks, SFT, kind, k)  # like for like: 0 of what was repaired

    def sums(cells: list[Cell]) -> np.ndarray:
        return np.stack([_sums(tasks, cell.label, kind, k).reindex(sft.index, fill_value=0) for cell in cells])

    return contrast(sums(found), sft.to_numpy() if than is None else sums(than))


def task_table(attempts: Mapping[str, Attempts], p: Params) -> pd.DataFrame:
    """The attempts counted by model, benchmark and task, as in ``repair_metrics.task_table``."""
    return repair_metrics.task_table(attempts, {b.name: b.problems for b in evaluate.load_benchmarks(p, ["chat"])})


def gains(found: list[Cell], tasks: pd.DataFrame) -> pd.DataFrame:
    """What each variant changes, in points: columns variant, what, seeds, than, rate, value, low, high.

    ``than`` is the SFT model or, where the run's own settings were trained too, those with the same seeds.
    """
    by_variant: dict[str, list[Cell]] = {}
    for cell in found:
        by_variant.setdefault(cell.variant, []).append(cell)
    rows = []
    for variant, mine in by_variant.items():
        about = {"variant": variant, "what": VARIANTS[variant][0], "seeds": len(mine)}
        others = {SFT: None} | ({OWN: by_variant[OWN]} if OWN in by_variant and variant != OWN else {})
        for than, other in others.items():
            for kind, name in RATES.items():
                estimate = interval(_gain(tasks, mine, kind, than=other))
                rows.append({**about, "than": than, "rate": name, **estimate})
    return pd.DataFrame(rows, columns=["variant", "what", "seeds", "than", "rate", "value", "low", "high"])


def headline(found: list[Cell], tasks: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """The gains of the run's own settings after explain + refine, over seeds, as ``headline.gains`` has one seed's."""
    mine = [cell for cell in found if cell.variant == OWN]
    if not mine:
        return {}
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
    """A row for each variant: gains over the SFT model, for explain + refine pass@1 also over the run's own settings.

    S_ex, the share repaired and KL are those of the last fifth of the batches, means over seeds.
    """
    rows = []
    for (variant, what), part in gained.groupby(["variant", "what"], sort=False):
        cells = {(r.than, r.rate): f"{r.value:+.1f} [{r.low:+.1f}, {r.high:+.1f}]" for r in part.itertuples()}
        explain, *others = RATES.values()
        gain = {explain: cells[SFT, explain], f"less {OWN}": cells.get((OWN, explain), "–")}
        gain |= {rate: cells[SFT, rate] for rate in others}
        logs = [log(cell) for cell in found if cell.variant == variant]
        lasts = pd.concat([one[-max(1, len(one) // 5) :] for one in logs])
        ends = {name: lasts[column].mean() for column, name in ENDS.items() if column in lasts}
        rows.append({"variant": variant, "what": what, **gain, **ends})
    return pd.DataFrame(rows)


ENDS = {"rollout/s_ex": "S_ex", "rollout/repaired": "repaired", "rollout/kl": "KL"}  # the same in every variant


def log(cell: Cell) -> pd.DataFrame:
    """A cell's training log, with columns ``variant`` and ``seed``."""
    return ppo_log.frame(ppo_log.read_log(cell.folder)).assign(variant=cell.variant, seed=cell.seed)


# The command line


def main(words: Sequence[str] | None = None) -> int:
    """``python -m ledexlib.ablation``: fill cells; status 0, or 2 if refused."""
    parser = argparse.ArgumentParser(prog="python -m ledexlib.ablation", description="Fill cells that 09 will find.")
    params.add_arguments(parser, named=True)
    parser.add_argument("--cells", nargs="+", required=True, metavar="LABEL", help="variant and seed, such as own-1")
    arguments = parser.parse_args(words)
    try:
        p = params.from_arguments(arguments)
        found = cells(p, lambda name: needed(run_folder(p), name, by="09_ablations"))
        by_label = {cell.label: cell for cell in found}
        if unknown := [label for label in arguments.cells if label not in by_label]:
            raise ParameterError(f"--cells: {', '.join(unknown)} is none of {', '.join(by_label)}")
    except (ParameterError, StageError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    benchmarks = evaluate.load_benchmarks(p, ["chat"])
    for label in arguments.cells:
        print(label, flush=True)
        cell = by_label[label]
        fill(cell, found, benchmarks, p, partial(Progress, cell.folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
