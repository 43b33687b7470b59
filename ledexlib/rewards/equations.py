"""The two rewards of LeDex (paper section 3) as pure functions.

For a wrong program w with its correct refinements R_c and their explanations E_c, a refinement r with explanation e:

    (1)  S_cb(r) = mean over r_c in R_c of CodeBLEU(r, r_c)
    (2)  S_ut(r) = passed tests ÷ tests
    (3)  R(r)    = 5 (S_cb + S_ut) − 5                      in [−5, 5]
    (4)  S_ex(e) = mean over e_c in E_c of cos(emb(e), emb(e_c))
    (5)  R(e)    = (50 S_ex − 35) ÷ 3                       0.4 ↦ −5, 0.7 ↦ 0, 1.0 ↦ 5; not clipped

The numbers are this project's; (1) is ``codebleu_parts`` and ``mean_codebleu``. What the paper leaves open is decided
here and changed by parameters: with CodeBLEU or the tests alone, R(r) = 10 S − 5, so that its range stays;
``explanation_map`` moves the two ends of (5)."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ledexlib.params import Params
from ledexlib.records import Verdict

LOWEST, HIGHEST = -5.0, 5.0
PAPER_ENDS = (0.4, 1.0)  # the similarities that (5) sends to LOWEST and HIGHEST
QUANTILES = (0.01, 0.99)  # of the collected similarities: what replaces them where (5) is fitted


def unit_test_share(verdict: Verdict) -> float | None:
    """S_ut, equation 2, in [0, 1]; None for the harness's own trouble. Raises ValueError without tests."""
    if verdict.status == "infra":
        return None
    if not 0 <= verdict.n_passed <= verdict.n_tests or verdict.n_tests == 0:
        raise ValueError(f"S_ut needs 0 <= passed <= tests and a test, got {verdict.n_passed} of {verdict.n_tests}")
    return verdict.n_passed / verdict.n_tests


def code_reward(s_cb: float | None, s_ut: float, kind: str = "both") -> float:
    """R(r), equation 3, in [−5, 5]; ``kind`` codebleu or tests uses one score alone, as 10 S − 5.
    Raises ValueError for a score that is missing, NaN or outside [0, 1]."""
    used = {"both": (s_cb, s_ut), "codebleu": (s_cb, s_cb), "tests": (s_ut, s_ut)}[kind]
    for score in used:
        if score is None or not -1e-9 <= score <= 1 + 1e-9:
            raise ValueError(f"R(r) needs scores in [0, 1], got {score}")
    return 5.0 * sum(used) - 5.0


def explanation_similarity(vector: np.ndarray, others: np.ndarray) -> float:
    """S_ex, equation 4: the mean cosine of a unit vector (d,) with unit vectors (n, d), n >= 1."""
    if not len(others):
        raise ValueError("S_ex needs at least one explanation to compare with")
    return float(np.mean(others @ vector))


def explanation_reward(s_ex: float, ends: tuple[float, float] = PAPER_ENDS, clip: bool = False) -> float:
    """R(e), equation 5: the line that sends the similarities ``ends`` to −5 and 5; unbounded unless clipped.
    Raises ValueError for NaN, a similarity outside [−1, 1], or ends that do not rise."""
    low, high = ends
    if not -1 - 1e-6 <= s_ex <= 1 + 1e-6:
        raise ValueError(f"R(e) needs a similarity in [-1, 1], got {s_ex}")
    if not low < high:
        raise ValueError(f"R(e) needs two rising similarities, got {low} and {high}")
    reward = LOWEST + (HIGHEST - LOWEST) * (s_ex - low) / (high - low)
    return min(max(reward, LOWEST), HIGHEST) if clip else reward


def fit_explanation_map(similarities: Iterable[float]) -> tuple[float, float]:
    """The ``QUANTILES`` of the S_ex of collected data, the ends of (5) for another encoder than the paper's.
    Raises ValueError without finite similarities, or if the two come out equal."""
    values = np.array(list(similarities), float)
    if not len(values) or not np.isfinite(values).all():
        raise ValueError("the map of R(e) is fitted to finite similarities, and there are none or others too")
    low, high = (float(v) for v in np.quantile(values, QUANTILES))
    if not low < high:
        raise ValueError(f"the quantiles {QUANTILES} of the similarities are both {low}: there is no map to fit")
    return low, high


def explanation_map_ends(p: Params, calibration: Mapping[str, Any] | None) -> tuple[float, float]:
    """The ends of (5) that the parameters ask for; ``calibration`` is ``calibration.json`` of 03_rewards.
    Raises ValueError if the fitted ones are wanted and not there, or were fitted with another encoder."""
    if p.explanation_map == "paper":
        return PAPER_ENDS
    if calibration is None or calibration["ends"] is None:
        raise ValueError("explanation_map: quantiles needs the map that 03_rewards fits, and there is none")
    if calibration["encoder"] != p.encoder:
        raise ValueError(f"the map of R(e) was fitted with encoder '{calibration['encoder']}', not '{p.encoder}'")
    return tuple(calibration["ends"])
