"""Rewards, advantages and returns: numbers worked out by hand, loops that follow the equations, and laws."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import tensor

from ledexlib.training.rl import advantages as adv

NAN = float("nan")


def test_rewards_are_placed_by_hand():
    explanation, code = tensor([2.0, NAN, 3.0]), tensor([-1.0, 4.0, 5.0])
    explained, lengths = tensor([2, 0, 1]), tensor([4, 3, 1])
    args = explanation, code, explained, lengths, 5
    by_segment = [[0, 2, 0, -1, 0], [0, 0, 4, 0, 0], [8, 0, 0, 0, 0]]
    assert adv.place(*args, "paper")[0].tolist() == by_segment
    assert adv.place(*args, "isolated")[0].tolist() == by_segment
    assert adv.place(*args, "single")[0].tolist() == [[0, 0, 0, 1, 0], [0, 0, 4, 0, 0], [8, 0, 0, 0, 0]]


def test_impossible_segments_are_refused():
    for explained, length in ((3, 2), (-1, 2), (0, 0), (0, 6)):
        with pytest.raises(ValueError, match="explanation tokens"):
            adv.place(tensor([1.0]), tensor([1.0]), tensor([explained]), tensor([length]), 5, "paper")


def test_the_penalty_falls_on_tokens_without_a_reward():
    args = tensor([7.0]), tensor([-3.0]), tensor([2]), tensor([[1, 1, 1, 1, 0]])
    kl = tensor([[0.5, 2, -1, 3, 9]])
    r = adv.targets(*args, kl, torch.zeros(1, 5), 0.1, "paper", 0.99, 1.0)[0]
    assert r.tolist() == [[pytest.approx(-0.05), 7, pytest.approx(0.1), -3, 0]]


def test_advantages_by_hand():
    """γ = ½, λ = 1: r = 1, 0, 4 and V = 2, 4, 0 give δ = 1, −4, 4."""
    rewards, values, mask = tensor([[1.0, 0, 4]]), tensor([[2.0, 4, 0]]), tensor([[1, 1, 1]])
    a, returns = adv.advantages_and_returns(rewards, values, mask, 0.5, 1.0)
    assert a.tolist() == [[0, -2, 4]] and returns.tolist() == [[2, 2, 4]]
    a, _ = adv.advantages_and_returns(rewards, values, mask, 0.5, 0.0)
    assert a.tolist() == [[1, -4, 4]], "λ = 0: δ itself"
    a, _ = adv.advantages_and_returns(rewards, values, mask, 0.5, 1.0, ends=tensor([[True, False, False]]))
    assert a.tolist() == [[-1, -2, 4]], "cut after the first token: 1 − 2"


def slow(rewards, values, lengths, ends, gamma, lam):
    """The equations, token by token and sum by sum."""
    result = []
    for row, n in enumerate(lengths):
        bounds = sorted({t for t in range(n) if ends is not None and ends[row][t]} | {n - 1})
        line = []
        for t in range(len(rewards[row])):
            total = 0.0
            if t < n:
                stop = next(b for b in bounds if b >= t)
                for k in range(stop - t + 1):
                    s = t + k
                    following = values[row][s + 1] if s < stop else 0.0
                    total += (gamma * lam) ** k * (rewards[row][s] - values[row][s] + gamma * following)
            line.append(total)
        result.append(line)
    return result


CASES = st.integers(1, 4).flatmap(
    lambda n: st.tuples(
        st.lists(st.lists(st.floats(-5, 5), min_size=7, max_size=7), min_size=n, max_size=n),
        st.lists(st.lists(st.floats(-5, 5), min_size=7, max_size=7), min_size=n, max_size=n),
        st.lists(st.tuples(st.integers(1, 7), st.integers(0, 7)), min_size=n, max_size=n),
        st.floats(0, 1), st.floats(0, 1), st.booleans(),
    )
)  # fmt: skip


@given(CASES)
@settings(max_examples=60, deadline=None)
def test_advantages_equal_the_equations_summed_slowly(case):
    rewards, values, sizes, gamma, lam, cut = case
    lengths = [n for n, _ in sizes]
    explained = tensor([min(e, n) for n, e in sizes])
    mask = (torch.arange(7) < tensor(lengths)[:, None]).int()
    ends = torch.arange(7) == explained[:, None] - 1 if cut else None
    r, v = torch.tensor(rewards, dtype=torch.float64), torch.tensor(values, dtype=torch.float64)
    a, returns = adv.advantages_and_returns(r, v, mask, gamma, lam, ends)
    expected = torch.tensor(slow(rewards, values, lengths, ends, gamma, lam), dtype=torch.float64)
    assert torch.allclose(a, expected, atol=1e-9)
    assert torch.allclose(returns, (expected + v) * mask, atol=1e-9)


@given(CASES)
@settings(max_examples=40, deadline=None)
def test_without_discount_returns_are_the_reward_to_go(case):
    rewards, values, sizes, *_ = case
    mask = (torch.arange(7) < tensor([n for n, _ in sizes])[:, None]).int()
    r, v = torch.tensor(rewards, dtype=torch.float64), torch.tensor(values, dtype=torch.float64)
    _, returns = adv.advantages_and_returns(r, v, mask, 1.0, 1.0)
    to_go = (r * mask).flip(1).cumsum(1).flip(1) * mask
    assert torch.allclose(returns, to_go, atol=1e-9)


def pipeline(explanation, code, credit, whiten):
    """A small batch through placement, penalty, advantages and whitening, as in the trainer."""
    torch.manual_seed(0)
    explained, lengths, width = tensor([3, 0, 1, 2]), tensor([6, 4, 5, 7]), 7
    mask = (torch.arange(width) < lengths[:, None]).int()
    values, kl = torch.randn(4, width), torch.randn(4, width) * mask
    _, _, a, _ = adv.targets(explanation, code, explained, mask, kl, values, 0.05, credit, 0.99, 0.95)
    segment = adv.explanation_mask(explained, width)
    if whiten:
        a = adv.whiten(adv.whiten(a, segment), mask.bool() & ~segment)
    return a, segment, mask.bool() & ~segment


@pytest.mark.parametrize("whiten", [False, True])
def test_where_credit_goes(whiten):
    """isolated: R(r) moves no explanation token. paper: R(e) moves no refinement token, R(r) moves both."""
    e, c = tensor([1.0, NAN, -2.0, 4.0]), tensor([2.0, -3.0, 5.0, 0.0])
    for credit in ("paper", "isolated"):
        base, explanation, refinement = pipeline(e, c, credit, whiten)
        other_e, *_ = pipeline(e + 3 * torch.arange(4), c, credit, whiten)
        other_c, *_ = pipeline(e, c - 7 * torch.arange(4), credit, whiten)
        assert torch.equal(base[refinement], other_e[refinement])
        assert not torch.allclose(base[explanation], other_e[explanation])
        assert not torch.allclose(base[refinement], other_c[refinement])
        assert torch.equal(base[explanation], other_c[explanation]) == (credit == "isolated")


def test_group_scores_by_hand():
    scores = adv.group_scores(tensor([1.0, 3, 2, 2, NAN, 5]), 2)
    assert scores[:4].tolist() == [pytest.approx(-0.70706, abs=1e-4), pytest.approx(0.70706, abs=1e-4), 0, 0]
    assert scores[4].isnan() and scores[5] == 0, "a lone reward is its own baseline"


def test_group_scores_equal_trl_on_whole_groups():
    from trl.trainer.utils import nanstd

    rewards = torch.randn(12)
    rows = rewards.view(3, 4)
    expected = (rows - rows.mean(1, keepdim=True)) / (nanstd(rows, dim=1)[:, None] + 1e-4)
    assert torch.allclose(adv.group_scores(rewards, 4), expected.view(-1), atol=1e-6)


def test_whitening_in_parts_equals_whitening_the_whole():
    torch.manual_seed(0)
    a, part = torch.randn(4, 5), torch.rand(4, 5) < 0.6
    whole = adv.whiten(a, part)
    assert whole[part].mean().abs() < 1e-6 and whole[part].var(unbiased=False) == pytest.approx(1, abs=1e-5)
    assert torch.equal(whole[~part], a[~part])

    shards = [(a[:2], part[:2]), (a[2:], part[2:])]

    def reducer(mine, other):
        """What two processes would see: the other's sum is recomputed from the same steps."""
        steps = iter(range(2))

        def reduce(x):
            if next(steps) == 0:
                inside = torch.where(other[1], other[0], torch.zeros(())).double()
                return x + torch.stack([other[1].sum().double(), inside.sum()])
            error = other[0].double() - a[part].double().mean()
            return x + error[other[1]].square().sum()

        return adv.whiten(*mine, reduce)

    halves = torch.cat([reducer(shards[0], shards[1]), reducer(shards[1], shards[0])])
    assert torch.allclose(halves, whole, atol=1e-6)


def test_explained_variance():
    mask = tensor([[1, 1, 0]])
    returns = tensor([[1.0, 3, 100]])
    assert adv.explained_variance(returns, returns, mask) == pytest.approx(1)
    assert adv.explained_variance(tensor([[2.0, 2, 0]]), returns, mask) == pytest.approx(0)
    assert adv.explained_variance(returns + 5, returns, mask) == pytest.approx(1), "a constant error has no variance"
    assert adv.explained_variance(-returns, returns, mask) == pytest.approx(-3), "1 − Var(2, 6) ÷ Var(1, 3)"
    assert adv.explained_variance(returns, returns * 0, mask) != adv.explained_variance(returns, returns * 0, mask)
