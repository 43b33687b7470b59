"""Rewards and credit modes against each other: the same training from the same fine-tuned model, one thing changed.

A training is that of a variant and a seed, with the evaluation of its model. Trainings lie in
``outputs/<run>/ablations/`` under a key of all they follow from, so that a killed ablation goes on with the next one,
and a longer list of variants, or more seeds, costs only what is new. Where there are cores or GPUs to spare, some are
made side by side, before the notebook or beside it, by ``python -m ledexlib ablate``.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ledexlib.evaluation.cache import EvaluatedModel, cache_folder
from ledexlib.evaluation.evaluate import ByBenchmark, EvaluationSet, check_evaluation_sets, evaluate_model
from ledexlib.params import ParameterError, Params
from ledexlib.runs import Needed, NewProgress, Stage, read_stages, run_folder, stage_key
from ledexlib.training import check_rl

if TYPE_CHECKING:
    import pandas as pd

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
    "same": ("references of the same program", {"reward_references": "solution"}),
}


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


# What is trained


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

    Raises ParameterError or ProblemError for one that cannot be.
    """
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


# Training and evaluation


def run_ablations(
    trainings: Sequence[AblationTraining], sets: Sequence[EvaluationSet], stage: Stage
) -> Iterator[tuple[str, ByBenchmark]]:
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
    progress: NewProgress,
) -> ByBenchmark:  # fmt: skip
    """Make one of the trainings, and evaluate its model, unless that is there already; the trajectories.

    Raises TrainingError or EvaluationError if another process works in its folder.
    """
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
