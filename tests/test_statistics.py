"""pass@k against its definition, and intervals that cover what they claim."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledexlib.statistics import bootstrap, bootstrap_ratio, pass_at_k, ratio, resamples


@given(st.integers(1, 9).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_share_of_draws_with_a_correct_one(case):
    n, c, k = case
    draws = list(combinations([True] * c + [False] * (n - c), k))
    assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, draws)) / len(draws))


@pytest.mark.parametrize("case", [(10, 11, 1), (10, -1, 1), (10, 5, 0), (10, 5, 11)])
def test_pass_at_k_refuses_impossible_counts(case):
    with pytest.raises(ValueError, match="pass@k needs"):
        pass_at_k(*case)


def test_a_bootstrap_interval_holds_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    held = 0
    for seed in range(200):
        estimate = bootstrap(rng.normal(3.0, 1.0, size=(40, 1)), lambda rows: rows.mean(), draws=300, seed=seed)
        held += estimate.low <= 3.0 <= estimate.high
    assert 0.88 <= held / 200 <= 0.99


def test_a_bootstrap_resamples_rows_whole():
    """Two columns that are equal in every row stay equal in every draw."""
    estimate = bootstrap(
        np.array([[1.0, 1.0], [5.0, 5.0], [9.0, 9.0]]), lambda rows: rows[:, 0].sum() / rows[:, 1].sum()
    )
    assert (estimate.value, estimate.low, estimate.high, estimate.n) == (1.0, 1.0, 1.0, 3)


def test_ratio_weighs_by_counts():
    assert ratio(np.array([[1.0, 4.0], [2.0, 2.0]])) == 50.0
    assert np.isnan(ratio(np.array([[0.0, 0.0]])))
    with pytest.raises(ValueError, match="at least one row"):
        bootstrap(np.empty((0, 2)), ratio)


def test_the_fast_bootstrap_of_a_ratio_is_the_plain_one():
    rng = np.random.default_rng(0)
    rows = np.column_stack([rng.integers(0, 5, 80), rng.integers(5, 9, 80)])
    fast, plain = bootstrap_ratio(rows), bootstrap(rows, ratio, seed=1)
    assert fast.value == plain.value and fast.n == plain.n
    assert (fast.low, fast.high) == pytest.approx((plain.low, plain.high), abs=0.6)
    assert (resamples(7, 50).sum(axis=1) == 7).all()
