"""Rewards and credit modes against each other: the same training from the same fine-tuned model, one thing changed.

A training is that of a variant and a seed, with the evaluation of its model. Trainings lie in
``outputs/<run>/ablations/`` under a key of all they follow from, so that a killed ablation goes on with the next one,
and a longer list of variants, or more seeds, costs only what is new. Where there are cores or GPUs to spare, some are
made side by side, before the notebook or beside it, by ``python -m ledexlib ablate``."""

import difflib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ledexlib.evaluation import metrics
from ledexlib.evaluation.cache import EvaluatedModel, cache_folder
from ledexlib.evaluation.comparisons import LIKE_FOR_LIKE, like_for_like
from ledexlib.evaluation.evaluate import ByBenchmark, EvaluationSet, check_evaluation_sets, evaluate_model
from ledexlib.params import ParameterError, Params
from ledexlib.runs import Needed, NewProgress, Stage, read_stages, run_folder, stage_key
from ledexlib.statistics import Estimate, ratio, resamples
from ledexlib.training import check_rl

SFT, RL, OWN = "04_sft", "05_ppo", "own"
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
    "same": ("references of the same program", {"reward_references": "solution"})}
EXPLAIN = "explain + refine pass@1"
COMPARED = {  # what is compared: a score's pass@k, a rate's numerator and denominator, or the gain like for like
    EXPLAIN: "explain",
    metrics.REFINEMENT_RATE: metrics.RATES[metrics.REFINEMENT_RATE], LIKE_FOR_LIKE: None,
    "initial pass@1": "initial", metrics.INVENTED: metrics.EXPLANATION_RATES[metrics.INVENTED]}
ENDS = {"rollout/s_ex": "S_ex", "rollout/repaired": "repaired", "rollout/kl": "KL"}  # the same in every variant


@dataclass(frozen=True)
class AblationTraining:
    """A variant and a seed, with the parameters and the folder of its training."""
    variant: str
    seed: int
    params: Params
    folder: Path

    @property
    def label(self) -> str:
        return f"{self.variant}-{self.seed}"


def check_ablations(p: Params) -> None:
    """Refuse, without any work, ablations that cannot be: ParameterError, or ProblemError for a benchmark."""
    if len(set(p.ablations)) < len(p.ablations):
        raise ParameterError(f"ablations = {p.ablations}: a variant is listed twice")
    for variant in p.ablations:
        check_rl(_changed(variant, p))
    if p.ablations:
        check_evaluation_sets(p, few_shot=False)


def _changed(variant: str, p: Params) -> Params:
    """The parameters of a variant."""
    if variant not in VARIANTS:
        near = difflib.get_close_matches(variant, VARIANTS, n=1, cutoff=0.0)[0]
        raise ParameterError(f"ablations: '{variant}' is none of {', '.join(VARIANTS)}; did you mean '{near}'?")
    changes = VARIANTS[variant][1]
    if variant != OWN and all(getattr(p, name) == value for name, value in changes.items()):
        stated = ", ".join(f"{name} = {value}" for name, value in changes.items())
        raise ParameterError(f"ablations: '{variant}' changes nothing, the run has {stated} already; '{OWN}' is that")
    return p.model_copy(update=changes)


def ablation_trainings(p: Params, need: Callable[[str], Needed]) -> list[AblationTraining]:
    """The trainings that the parameters name, variant by variant; ``need`` finds the stages that they start from.
    Raises ParameterError or ProblemError for one that cannot be."""
    check_ablations(p)
    (spec,) = (stage for stage in read_stages() if stage.name == RL)
    needs = {name: need(name).key for name in (SFT, "03_rewards")}
    found = []
    for variant in p.ablations:
        for seed in range(p.seed, p.seed + p.ablation_seeds):
            mine = _changed(variant, p).model_copy(update={"seed": seed})
            folder = run_folder(p) / "ablations" / f"{variant}-{seed}-{stage_key(spec, mine, needs)[:8]}"
            found.append(AblationTraining(variant, seed, mine, folder))
    return found


def run_ablations(
    trainings: list[AblationTraining], sets: list[EvaluationSet], stage: Stage) -> Iterator[tuple[str, ByBenchmark]]:
    """Train and evaluate what is not there yet; the SFT model's trajectories, then each training's, by label."""
    if not trainings:
        return
    p = stage.params
    sft = EvaluatedModel(SFT, str(stage.need(SFT).path("model")), "chat")
    yield SFT, evaluate_model(sft, sets, p, cache_folder(run_folder(p) / "evaluations", sft, p), stage.progress)
    for training in trainings:
        yield training.label, run_training(training, trainings, sets, p, stage.progress)


def run_training(
    training: AblationTraining, trainings: Sequence[AblationTraining], sets: Sequence[EvaluationSet], p: Params,
    progress: NewProgress) -> ByBenchmark:
    """Make one of the trainings, and evaluate its model, unless that is there already; the trajectories.
    Raises StageError if another process works in its folder."""
    from ledexlib.training.rl import copy_on_policy_programs, train_policy

    first = next(other for other in trainings if other.seed == training.seed)
    if first is not training and training.params.ppo_programs == "own":
        copy_on_policy_programs(first.folder, training.folder)  # a seed's trainings repair the same programs
    model = EvaluatedModel(training.label, str(train_policy(training.params, training.folder)), "chat")
    return evaluate_model(model, sets, p, cache_folder(training.folder, model, p), progress)


def ablation_log(training: AblationTraining) -> pd.DataFrame:
    """The training log, with columns ``variant`` and ``seed``."""
    from ledexlib.training.rl import read_rl_log

    return read_rl_log(training.folder).assign(variant=training.variant, seed=training.seed)


def contrast(after: np.ndarray, before: np.ndarray) -> Estimate:
    """The mean over seeds of a rate in %, less the rate before, with an interval over seeds and problems.

    ``after`` (S, P, 2) holds each seed's and problem's numerator and denominator, ``before`` (1, P, 2) those of one
    model or (S, P, 2) those of one for each seed. A draw takes the same problems, and the same S of the seeds, for
    both; with one seed the interval is over problems alone."""
    after = np.asarray(after, float)
    before = np.broadcast_to(np.asarray(before, float), after.shape)
    problems, seeds = resamples(after.shape[1], 2000), resamples(len(after), 2000, 1)

    def rates(counts: np.ndarray) -> np.ndarray:
        top, bottom = np.einsum("ds,dp,spk->kd", seeds, problems, counts, optimize=True)
        return 100 * top / bottom

    low, high = np.quantile(rates(after) - rates(before), (0.025, 0.975))
    value = ratio(after.reshape(-1, 2)) - ratio(before.reshape(-1, 2))
    return Estimate(value, float(low), float(high), after.shape[1])


def _gain(counts: pd.DataFrame, labels: Sequence[str], rate: str, k: int = 1, than: Sequence[str] = (SFT,)) -> Estimate:
    """What trainings change, in points: over the SFT model, or over other trainings with the same seeds."""
    problems = _sums(counts, SFT, rate, k).index

    def sums(some: Sequence[str]) -> np.ndarray:
        return np.stack([_sums(counts, label, rate, k).reindex(problems, fill_value=0) for label in some])

    return contrast(sums(labels), sums(than))


def _sums(counts: pd.DataFrame, model: str, rate: str, k: int) -> pd.DataFrame:
    """A rate's numerators and denominators by problem; like for like, those of the gain over the SFT model."""
    what, mine = COMPARED[rate], counts[counts["model"] == model]
    if what is None:
        return like_for_like(counts, SFT, model, "explain")[["gain", "weight"]]
    if isinstance(what, str):
        return metrics.with_pass_at(mine, what, k).groupby("problem")[["pass", "one"]].sum()
    return mine.groupby("problem")[[f"explain {name}" for name in what]].sum()


def ablation_gains(trainings: Sequence[AblationTraining], counts: pd.DataFrame) -> pd.DataFrame:
    """What each variant changes, in points: columns variant, what, seeds, than, rate, value, low, high. ``than`` is the
    SFT model or, where the run's own settings were trained too, those with the same seeds. ``counts`` is
    `metrics.task_counts` of the SFT model and all trainings."""
    labels: dict[str, list[str]] = defaultdict(list)
    for training in trainings:
        labels[training.variant].append(training.label)
    rows = []
    for variant, mine in labels.items():
        others = {SFT: [SFT]} | ({OWN: labels[OWN]} if OWN in labels and variant != OWN else {})
        for than, rate in product(others, COMPARED):
            found = _gain(counts, mine, rate, than=others[than])
            rows.append((variant, VARIANTS[variant][0], len(mine), than, rate, *found[:3]))
    return pd.DataFrame(rows, columns=["variant", "what", "seeds", "than", "rate", "value", "low", "high"])


def ablation_table(gains: pd.DataFrame, trainings: Sequence[AblationTraining]) -> pd.DataFrame:
    """A row for each variant: gains over the SFT model, for explain + refine pass@1 also over the run's own settings.
    S_ex, the share repaired and KL are those of the last fifth of the batches, means over seeds."""
    rows = []
    for (variant, what), part in gains.groupby(["variant", "what"], sort=False):
        texts = {(r.than, r.rate): f"{r.value:+.1f} [{r.low:+.1f}, {r.high:+.1f}]" for r in part.itertuples()}
        gain = {EXPLAIN: texts[SFT, EXPLAIN], f"less {OWN}": texts.get((OWN, EXPLAIN), "–")}
        gain |= {rate: texts[SFT, rate] for rate in COMPARED if rate != EXPLAIN}
        logs = [ablation_log(training) for training in trainings if training.variant == variant]
        lasts = pd.concat([log[-max(1, len(log) // 5) :] for log in logs])
        ends = {name: lasts[column].mean() for column, name in ENDS.items() if column in lasts}
        rows.append({"variant": variant, "what": what, **gain, **ends})
    return pd.DataFrame(rows)


def ablation_metrics(trainings: list[AblationTraining], gains: pd.DataFrame, counts: pd.DataFrame) -> dict[str, Any]:
    """The stage's ``metrics.json``: each variant's gain over the SFT model in explain + refine pass@1, and under
    ``gains`` those of the run's own settings over seeds, as `comparisons.headline_gains` has one seed's."""
    over = gains[(gains["than"] == SFT) & (gains["rate"] == EXPLAIN)]
    points = {row.variant: round(row.value, 2) for row in over.itertuples()}
    found: dict[str, Any] = {"trainings": len(trainings), **points, "gains": {}}
    if own := [training.label for training in trainings if training.variant == OWN]:
        before = counts[counts["model"] == SFT]
        about = {"n_problems": len(before), "n_samples": int(before["samples"].sum()), "n_seeds": len(own)}
        wanted = {f"pass@{k}": (EXPLAIN, k) for k in metrics.ks_of(counts)}
        wanted |= {rate: (rate, 1) for rate in (metrics.REFINEMENT_RATE, LIKE_FOR_LIKE)}
        over_sft = found["gains"]["rl_over_sft"] = {}
        for name, (rate, k) in wanted.items():
            value, low, high = (round(number, 2) for number in _gain(counts, own, rate, k)[:3])
            over_sft[name] = {"points": value, "low": low, "high": high, **about}
    return found
