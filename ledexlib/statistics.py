"""The arithmetic of evaluation: pass@k and bootstrap intervals. Pure functions on arrays."""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

EDGES = (1 - 0.95) / 2, (1 + 0.95) / 2  # of every interval: 95 %


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

    Raises ValueError unless 0 <= c <= n and 1 <= k <= n."""
    if not (0 <= c <= n and 1 <= k <= n):
        raise ValueError(f"pass@k needs 0 <= c <= n and 1 <= k <= n, got n={n}, c={c}, k={k}")
    return float(1.0 - np.prod(1.0 - k / np.arange(n - c + 1, n + 1)))  # a factor is 0 where fewer than k are wrong


def _estimate(rows: np.ndarray, statistic: Callable[[np.ndarray], float], draws: np.ndarray) -> Estimate:
    """A statistic of rows, with the interval of its values on bootstrap draws."""
    low, high = np.quantile(draws, EDGES) if len(draws) else (np.nan, np.nan)
    return Estimate(float(statistic(rows)), float(low), float(high), len(rows))


def bootstrap(rows: np.ndarray, statistic: Callable[[np.ndarray], float], draws: int = 2000, seed: int = 0) -> Estimate:
    """A statistic of rows with its percentile bootstrap interval; raises ValueError without rows.

    Rows (problems) are resampled whole, so that samples of one stay together; draws on which it is NaN are left out."""
    if len(rows) == 0:
        raise ValueError("a bootstrap needs at least one row")
    rng = np.random.default_rng(seed)
    values = np.array([statistic(rows[rng.integers(len(rows), size=len(rows))]) for _ in range(draws)])
    return _estimate(rows, statistic, values[~np.isnan(values)])


def ratio(rows: np.ndarray) -> float:
    """100 × sum of the first column ÷ sum of the second; NaN if that is 0."""
    top, bottom = rows.sum(axis=0)[:2]
    return 100.0 * float(top) / float(bottom) if bottom else float("nan")


@lru_cache(maxsize=4)
def resamples(n: int, draws: int, seed: int = 0) -> np.ndarray:
    """How often each of ``n`` rows is drawn in each bootstrap sample, shape (draws, n)."""
    drawn = np.random.default_rng(seed).integers(n, size=(draws, n))
    return np.stack([np.bincount(row, minlength=n) for row in drawn]).astype(float)


def bootstrap_ratio(rows: np.ndarray) -> Estimate:
    """``bootstrap(rows, ratio)`` in one matrix product, for tables of many figures."""
    top, bottom = (resamples(len(rows), 2000) @ rows[:, :2]).T
    return _estimate(rows, ratio, 100.0 * top[bottom != 0] / bottom[bottom != 0])
