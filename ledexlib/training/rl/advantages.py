"""From two rewards to every token's advantage (paper section 3): placement, KL penalty, δ, advantages, returns.

Tensors are over answer tokens, right-padded: B answers, T tokens, ``mask`` (B, T) 1 on real tokens. An answer's first
``explained`` (B,) tokens are its explanation, the others its refinement (``ledexlib.segments``). Time t counts answer
tokens; V_t is the value before token t is written. The equations, γ and λ as the paper's γ = 0.99, λ = 1:

    r_t = R(e) at t = explained − 1;  R(r) at t = T − 1;  −β (log π(t) − log π_SFT(t)) at every other token
    δ_t = r_t − V_t + γ V_{t+1}
    A_t = Σ_k (γλ)^k δ_{t+k};  return_t = A_t + V_t

Taken literally (``credit: paper``) the sum runs through to R(r), so that the explanation's tokens see it too. With
``isolated`` it stops at the last explanation token, as the paper's prose says. ``single`` puts R(e) + R(r) at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Credit = Literal["paper", "isolated", "single"]
Reduce = Callable[[Tensor], Tensor]  # the sum of a tensor over all processes


def explanation_mask(explained: Tensor, width: int) -> Tensor:
    """(B, width), true on explanation tokens."""
    return torch.arange(width, device=explained.device) < explained[:, None]


def places(explained: Tensor, lengths: Tensor, width: int, credit: Credit) -> tuple[Tensor, Tensor]:
    """Where R(e) and where R(r) are placed: two masks (B, width); an answer without explanation has no place for R(e).

    Raises ValueError for an answer without tokens, or with more explanation than answer.
    """
    if (lengths < 1).any() or (lengths > width).any() or (explained < 0).any() or (explained > lengths).any():
        raise ValueError("expected 0 <= explanation tokens <= tokens and 1 <= tokens <= width in every answer")
    time = torch.arange(width, device=lengths.device)
    last = time == lengths[:, None] - 1
    explanation_end = (time == explained[:, None] - 1) if credit != "single" else last & (explained[:, None] > 0)
    return explanation_end, last


def place(explanation: Tensor, code: Tensor, explained: Tensor, lengths: Tensor, width: int, credit: Credit) -> Tensor:
    """r without the KL penalty, (B, width), from R(e) and R(r), (B,) each; a reward that is NaN is not there."""
    explanation_end, last = places(explained, lengths, width, credit)
    both = (explanation_end, explanation), (last, code)
    return sum(where * torch.nan_to_num(reward)[:, None] for where, reward in both)


def token_kl(logps: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
    """log π − log π_SFT of the sampled tokens, whose expectation is the KL divergence; 0 on padding."""
    return (logps - reference) * mask


def penalise(placed: Tensor, reward_places: Tensor, kl: Tensor, beta: float) -> Tensor:
    """r: the placed rewards, and −β KL at the tokens without a place (paper: "elsewhere")."""
    return torch.where(reward_places, placed, -beta * kl)


def advantages_and_returns(
    rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float, ends: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """A and the returns, (B, T) each, 0 on padding.

    ``ends`` (B, T) marks tokens after which nothing counts, beside the last ones: neither V_{t+1} nor later δ.
    """
    inside = mask.to(values.dtype)
    goes_on = torch.zeros_like(inside)
    goes_on[:, :-1] = inside[:, 1:]
    if ends is not None:
        goes_on = goes_on * ~ends
    after = torch.zeros_like(values)
    after[:, :-1] = values[:, 1:]
    delta = (rewards - values + gamma * after * goes_on) * inside
    advantages = torch.zeros_like(values)
    later = torch.zeros_like(values[:, 0])
    for t in range(values.shape[1] - 1, -1, -1):
        later = delta[:, t] + gamma * lam * goes_on[:, t] * later
        advantages[:, t] = later
    return advantages * inside, (advantages + values) * inside


def explanation_ends(explained: Tensor, width: int, credit: Credit) -> Tensor | None:
    """The ``ends`` of a credit mode: the last explanation tokens where it is isolated."""
    return torch.arange(width, device=explained.device) == explained[:, None] - 1 if credit == "isolated" else None


def group_scores(rewards: Tensor, group: int) -> Tensor:
    """GRPO's baseline: rewards (B,) minus the mean of their group, over its standard deviation + 1e-4.

    Groups of this size are consecutive, one for each prompt. A reward that is NaN stays so and counts for no baseline.
    """
    rows = rewards.view(-1, group)
    centred = rows - rows.nanmean(1, keepdim=True)
    square = centred.nan_to_num().square().sum(1, keepdim=True)
    free = (rows.isfinite().sum(1, keepdim=True) - 1).clamp(min=1)
    return (centred / ((square / free).sqrt() + 1e-4)).view(-1)


class Targets(NamedTuple):
    """What a batch of answers teaches, (B, T) each, 0 on padding."""

    rewards: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor


def ppo_targets(
    explanation: Tensor, code: Tensor, explained: Tensor, mask: Tensor, kl: Tensor, values: Tensor, beta: float,
    credit: Credit, gamma: float, lam: float,
) -> Targets:  # fmt: skip
    """From R(e), R(r), the tokens' KL and values to advantages and returns, by the equations above."""
    width, lengths = mask.shape[1], mask.sum(1)
    explanation_end, last = places(explained, lengths, width, credit)
    placed = place(explanation, code, explained, lengths, width, credit)
    rewards, values = penalise(placed, explanation_end | last, kl, beta) * mask, values * mask
    ends = explanation_ends(explained, width, credit)
    return Targets(rewards, values, *advantages_and_returns(rewards, values, mask, gamma, lam, ends))


def grpo_targets(
    explanation: Tensor, code: Tensor, explained: Tensor, mask: Tensor, credit: Credit, gamma: float
) -> Targets:
    """The same with group scores (``group_scores``) for rewards and no values: discounted sums of what lies ahead."""
    nothing = torch.zeros(mask.shape, device=mask.device)
    return ppo_targets(explanation, code, explained, mask, nothing, nothing, 0.0, credit, gamma, 1.0)


def whiten(advantages: Tensor, part: Tensor, reduce: Reduce = lambda x: x) -> Tensor:
    """The advantages with mean 0 and variance 1 over the tokens of ``part`` (B, T), over all processes; others as is.

    Done for each segment by itself, so that what moves one segment's rewards never moves the other's advantages.
    """
    part = part.bool()
    inside = torch.where(part, advantages, torch.zeros_like(advantages)).double()
    count, total = reduce(torch.stack([part.sum().double(), inside.sum()]))
    mean = total / count.clamp(min=1)
    square = reduce((torch.where(part, advantages.double() - mean, inside.new_zeros(())).square()).sum())
    scale = (square / count.clamp(min=1) + 1e-8).rsqrt()
    return torch.where(part, ((advantages.double() - mean) * scale).to(advantages.dtype), advantages)


def value_loss(values: Tensor, returns: Tensor) -> Tensor:
    """½ (V − return)² of each token."""
    return 0.5 * (values - returns).square()


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor, reduce: Reduce = lambda x: x) -> float:
    """1 − Var(return − V) ÷ Var(return) over the tokens of mask; NaN if the returns do not vary."""
    inside = mask.bool()
    y, error = returns[inside].double(), (returns - values)[inside].double()
    n, y1, y2, e1, e2 = reduce(torch.stack([
        inside.sum().double(), y.sum(), y.square().sum(), error.sum(), error.square().sum(),
    ]))  # fmt: skip
    if n == 0:
        return float("nan")
    total, rest = y2 / n - (y1 / n) ** 2, e2 / n - (e1 / n) ** 2
    return float(1 - rest / total) if total > 1e-12 else float("nan")
