"""The arithmetic of evaluation: pass@k and bootstrap intervals. Pure functions on arrays."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np


class Estimate(NamedTuple):
    """A figure with its interval."""

    value: float
    low: float
    high: float
    n: int  # units that were resampled

    def __str__(self) -> str:
        return f"{self.value:.1f} [{self.low:.1f}, {self.high:.1f}]"


def pass_at_k(n: int, c: int, k: int) -> float:
    """Chance that one of ``k`` samples is correct, when ``c`` of ``n`` drawn ones were (unbiased; Codex paper, eq. 1).

    Raises ValueError unless 0 <= c <= n and 1 <= k <= n.
    """
    if not (0 <= c <= n and 1 <= k <= n):
        raise ValueError(f"pass@k needs 0 <= c <= n and 1 <= k <= n, got n={n}, c={c}, k={k}")
    if n - c < k:
        return 1.0
    return float(1.0 - np.prod(1.0 - k / np.arange(n - c + 1, n + 1)))


def bootstrap(
    rows: np.ndarray, statistic: Callable[[np.ndarray], float], draws: int = 2000, level: float = 0.95, seed: int = 0
) -> Estimate:
    """A statistic of rows with its percentile bootstrap interval; rows (problems) are resampled whole.

    ``rows`` has one row for each problem, of whatever numbers the statistic needs, so that samples of one problem stay
    together. Draws on which the statistic is not defined (NaN) are left out. Raises ValueError without rows.
    """
    rows = np.asarray(rows)
    if len(rows) == 0:
        raise ValueError("a bootstrap needs at least one row")
    rng = np.random.default_rng(seed)
    values = np.array([statistic(rows[rng.integers(len(rows), size=len(rows))]) for _ in range(draws)])
    values = values[~np.isnan(values)]
    edges = (1 - level) / 2, (1 + level) / 2
    low, high = np.quantile(values, edges) if len(values) else (np.nan, np.nan)
    return Estimate(float(statistic(rows)), float(low), float(high), len(rows))


def ratio(rows: np.ndarray) -> float:
    """100 × sum of the first column ÷ sum of the second; NaN if that is 0."""
    top, bottom = rows.sum(axis=0)[:2]
    return 100.0 * float(top) / float(bottom) if bottom else float("nan")


@lru_cache(maxsize=4)
def resamples(n: int, draws: int, seed: int = 0) -> np.ndarray:
    """How often each of ``n`` rows is drawn in each bootstrap sample, shape (draws, n)."""
    drawn = np.random.default_rng(seed).integers(n, size=(draws, n))
    return np.stack([np.bincount(row, minlength=n) for row in drawn]).astype(float)


def bootstrap_ratio(rows: np.ndarray, draws: int = 2000, level: float = 0.95) -> Estimate:
    """``bootstrap(rows, ratio)`` in one matrix product, for tables of many figures."""
    rows = np.asarray(rows, dtype=float)
    if len(rows) == 0:
        raise ValueError("a bootstrap needs at least one row")
    top, bottom = (resamples(len(rows), draws) @ rows[:, :2]).T
    values = 100.0 * top[bottom != 0] / bottom[bottom != 0]
    low, high = np.quantile(values, ((1 - level) / 2, (1 + level) / 2)) if len(values) else (np.nan, np.nan)
    return Estimate(ratio(rows), float(low), float(high), len(rows))
