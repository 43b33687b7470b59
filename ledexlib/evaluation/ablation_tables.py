"""What each variant of an ablation changes, with intervals over seeds and problems."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ledexlib.evaluation.ablations import OWN, SFT, VARIANTS, AblationTraining, ablation_log
from ledexlib.evaluation.comparisons import LIKE_FOR_LIKE, like_for_like
from ledexlib.evaluation.metrics import (
    EXPLANATION_RATES,
    INVENTED,
    RATES,
    REFINEMENT_RATE,
    interval,
    ks_of,
    with_pass_at,
)
from ledexlib.statistics import Estimate, ratio, resamples

EXPLAIN = "explain + refine pass@1"
COMPARED = {  # what is compared: a score's pass@k, a rate's numerator and denominator, or the gain like for like
    EXPLAIN: "explain",
    REFINEMENT_RATE: RATES[REFINEMENT_RATE],
    LIKE_FOR_LIKE: None,
    "initial pass@1": "initial",
    INVENTED: EXPLANATION_RATES[INVENTED],
}
ENDS = {"rollout/s_ex": "S_ex", "rollout/repaired": "repaired", "rollout/kl": "KL"}  # the same in every variant


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


def _sums(counts: pd.DataFrame, model: str, rate: str, k: int) -> pd.DataFrame:
    """A rate's numerators and denominators by problem; like for like, those of the gain over the SFT model."""
    what = COMPARED[rate]
    if what is None:
        return like_for_like(counts, SFT, model, "explain")[["gain", "weight"]]
    mine = counts[counts["model"] == model]
    if isinstance(what, str):
        mine, columns = with_pass_at(mine, what, k), ["pass", "one"]
    else:
        columns = [f"explain {name}" for name in what]
    return mine.groupby("problem")[columns].sum()


def _gain(
    counts: pd.DataFrame, trainings: Sequence[AblationTraining], rate: str, k: int = 1,
    than: Sequence[AblationTraining] | None = None,
) -> Estimate:  # fmt: skip
    """What trainings change over the SFT model, in points; ``than``: over the trainings with the same seeds."""
    sft = _sums(counts, SFT, rate, k)  # like for like: 0 of what was repaired

    def sums(of: Sequence[AblationTraining]) -> np.ndarray:
        return np.stack([_sums(counts, one.label, rate, k).reindex(sft.index, fill_value=0) for one in of])

    return contrast(sums(trainings), sft.to_numpy() if than is None else sums(than))


def ablation_gains(trainings: Sequence[AblationTraining], counts: pd.DataFrame) -> pd.DataFrame:
    """What each variant changes, in points: columns variant, what, seeds, than, rate, value, low, high.

    ``than`` is the SFT model or, where the run's own settings were trained too, those with the same seeds. ``counts``
    is `metrics.task_counts` of the SFT model and all trainings.
    """
    by_variant: dict[str, list[AblationTraining]] = {}
    for training in trainings:
        by_variant.setdefault(training.variant, []).append(training)
    rows = []
    for variant, mine in by_variant.items():
        about = {"variant": variant, "what": VARIANTS[variant][0], "seeds": len(mine)}
        others = {SFT: None} | ({OWN: by_variant[OWN]} if OWN in by_variant and variant != OWN else {})
        for than, other in others.items():
            for rate in COMPARED:
                rows.append({**about, "than": than, "rate": rate, **interval(_gain(counts, mine, rate, than=other))})
    return pd.DataFrame(rows, columns=["variant", "what", "seeds", "than", "rate", "value", "low", "high"])


def ablation_table(gains: pd.DataFrame, trainings: Sequence[AblationTraining]) -> pd.DataFrame:
    """A row for each variant: gains over the SFT model, for explain + refine pass@1 also over the run's own settings.

    S_ex, the share repaired and KL are those of the last fifth of the batches, means over seeds.
    """
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


def ablation_metrics(
    trainings: Sequence[AblationTraining], gains: pd.DataFrame, counts: pd.DataFrame
) -> dict[str, Any]:
    """The stage's ``metrics.json``: each variant's gain over the SFT model in explain + refine pass@1, and under
    ``gains`` those of the run's own settings over seeds, as `headline.headline_gains` has one seed's."""
    over = gains[(gains["than"] == SFT) & (gains["rate"] == EXPLAIN)]
    variants = {row.variant: round(row.value, 2) for row in over.itertuples()}
    return {"trainings": len(trainings), **variants, "gains": _own_gains(trainings, counts)}


def _own_gains(trainings: Sequence[AblationTraining], counts: pd.DataFrame) -> dict[str, dict[str, Any]]:
    mine = [training for training in trainings if training.variant == OWN]
    if not mine:
        return {}
    before = counts[counts["model"] == SFT]
    about = {"n_problems": len(before), "n_samples": int(before["samples"].sum()), "n_seeds": len(mine)}
    wanted = {f"pass@{k}": (EXPLAIN, k) for k in ks_of(counts)}
    wanted |= {rate: (rate, 1) for rate in (REFINEMENT_RATE, LIKE_FOR_LIKE)}
    over = {}
    for name, (rate, k) in wanted.items():
        value, low, high, _ = _gain(counts, mine, rate, k)
        over[name] = {"points": round(value, 2), "low": round(low, 2), "high": round(high, 2)} | about
    return {"rl_over_sft": over}
