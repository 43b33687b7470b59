"""From two rewards to every token's advantage (paper section 3): placement, KL penalty, δ, advantages, returns.

Tensors are over answer tokens, right-padded: B answers, T tokens, ``mask`` (B, T) 1 on real tokens. An answer's first
``explained`` (B,) tokens are its explanation, the others its refinement (``ledexlib.segments``). Time t counts answer
tokens; V_t is the value before token t is written. The equations, γ and λ as the paper's γ = 0.99, λ = 1:

    r_t = R(e) at t = explained − 1;  R(r) at t = T − 1;  −β (log π(t) − log π_SFT(t)) at every other token
    δ_t = r_t − V_t + γ V_{t+1}
    A_t = Σ_k (γλ)^k δ_{t+k};  return_t = A_t + V_t

Taken literally (``credit: paper``) the sum runs through to R(r), so that the explanation's tokens see it too. With
``isolated`` it stops at the last explanation token, as the paper's prose says. ``single`` puts R(e) + R(r) at the end.
Last come the control of β by the KL and early stopping."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Credit = Literal["paper", "isolated", "single"]
Reduce = Callable[[Tensor], Tensor]  # the sum of a tensor over all processes
HORIZON = 10_000  # answers over which β may grow by about a fifth
WINDOW = 5  # batches over which rewards are smoothed


def explanation_mask(explained: Tensor, width: int) -> Tensor:
    """(B, width), true on explanation tokens."""
    return torch.arange(width, device=explained.device) < explained[:, None]


def place(
    explanation: Tensor, code: Tensor, explained: Tensor, lengths: Tensor, width: int, credit: Credit
) -> tuple[Tensor, Tensor]:
    """R(e) and R(r), (B,) each, at their places, and the mask of these places, (B, width) each.

    A reward that is NaN is not there; an answer without explanation has no place for R(e). Raises ValueError for an
    answer without tokens, or with more explanation than answer."""
    if (lengths < 1).any() or (lengths > width).any() or (explained < 0).any() or (explained > lengths).any():
        raise ValueError("expected 0 <= explanation tokens <= tokens and 1 <= tokens <= width in every answer")
    time = torch.arange(width, device=lengths.device)
    last = time == lengths[:, None] - 1
    explanation_end = (time == explained[:, None] - 1) if credit != "single" else last & (explained[:, None] > 0)
    both = (explanation_end, explanation), (last, code)
    return sum(where * torch.nan_to_num(reward)[:, None] for where, reward in both), explanation_end | last


def advantages_and_returns(
    rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float, ends: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """A and the returns, (B, T) each, 0 on padding.

    ``ends`` (B, T) marks tokens after which nothing counts, beside the last ones: neither V_{t+1} nor later δ."""
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


def group_scores(rewards: Tensor, group: int) -> Tensor:
    """GRPO's baseline: rewards (B,) minus the mean of their group, over its standard deviation + 1e-4.

    Groups of this size are consecutive, one for each prompt. A reward of NaN stays so and counts for no baseline."""
    rows = rewards.view(-1, group)
    centred = rows - rows.nanmean(1, keepdim=True)
    square = centred.nan_to_num().square().sum(1, keepdim=True)
    free = (rows.isfinite().sum(1, keepdim=True) - 1).clamp(min=1)
    return (centred / ((square / free).sqrt() + 1e-4)).view(-1)


def targets(
    explanation: Tensor, code: Tensor, explained: Tensor, mask: Tensor, kl: Tensor, values: Tensor, beta: float,
    credit: Credit, gamma: float, lam: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """r, V, A and the returns, (B, T) each, 0 on padding, from R(e), R(r), the tokens' KL and V by the equations above.

    For GRPO the rewards are ``group_scores``, β and V are 0 and λ is 1: A is the discounted sum of what lies ahead."""
    width = mask.shape[1]
    placed, places = place(explanation, code, explained, mask.sum(1), width, credit)
    rewards, values = torch.where(places, placed, -beta * kl) * mask, values * mask
    isolated = torch.arange(width, device=mask.device) == explained[:, None] - 1 if credit == "isolated" else None
    return rewards, values, *advantages_and_returns(rewards, values, mask, gamma, lam, isolated)


def whiten(advantages: Tensor, part: Tensor, reduce: Reduce = lambda x: x) -> Tensor:
    """The advantages with mean 0 and variance 1 over the tokens of ``part`` (B, T), over all processes; others as is.

    Done for each segment by itself, so that what moves one segment's rewards never moves the other's advantages."""
    part = part.bool()
    inside = torch.where(part, advantages, torch.zeros_like(advantages)).double()
    count, total = reduce(torch.stack([part.sum().double(), inside.sum()]))
    mean = total / count.clamp(min=1)
    square = reduce((torch.where(part, advantages.double() - mean, inside.new_zeros(())).square()).sum())
    scale = (square / count.clamp(min=1) + 1e-8).rsqrt()
    return torch.where(part, ((advantages.double() - mean) * scale).to(advantages.dtype), advantages)


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor, reduce: Reduce = lambda x: x) -> float:
    """1 − Var(return − V) ÷ Var(return) over the tokens of mask; NaN if the returns do not vary."""
    inside = mask.bool()
    y, error = returns[inside].double(), (returns - values)[inside].double()
    sums = [inside.sum().double(), y.sum(), y.square().sum(), error.sum(), error.square().sum()]
    n, y1, y2, e1, e2 = reduce(torch.stack(sums))
    if n == 0:
        return float("nan")
    total, rest = y2 / n - (y1 / n) ** 2, e2 / n - (e1 / n) ** 2
    return float(1 - rest / total) if total > 1e-12 else float("nan")


@dataclass
class KLController:
    """β, the KL penalty's coefficient; adaptive with a ``target`` in nats an answer (Ziegler et al. 2019, eq. 4)."""
    beta: float
    target: float | None = None  # None: β is fixed

    def update(self, kl: float, answers: int) -> None:
        """Move β after ``answers`` answers with this mean KL, the sum over an answer's tokens."""
        if self.target is not None and math.isfinite(kl):
            error = min(max(kl / self.target - 1, -0.2), 0.2)
            self.beta *= 1 + error * answers / HORIZON


@dataclass
class EarlyStopping:
    """Stops when the KL of a batch, in nats an answer, exceeds ``max_kl`` (None: never), and knows the best policy."""
    max_kl: float | None = None
    recent: tuple[float, ...] = ()  # the mean rewards of the last batches
    best: float = -math.inf  # their mean for the best policy that was saved

    def see(self, reward: float, kl: float) -> str | None:
        """Take a batch's mean reward and KL; the reason to stop, if there is one. NaN says nothing."""
        if self.max_kl is not None and kl > self.max_kl:
            return f"KL {kl:.2f} nats an answer is above {self.max_kl}"
        if math.isfinite(reward):
            self.recent = (*self.recent, reward)[-WINDOW:]
        return None

    def is_best(self) -> bool:
        """Whether the policy is the best one saved so far; if so, it is remembered as that."""
        smoothed = sum(self.recent) / WINDOW if len(self.recent) == WINDOW else -math.inf
        better, self.best = smoothed > self.best, max(smoothed, self.best)
        return better
