"""What steers a training by reinforcement: the weight of the KL penalty, and when to stop early."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass
class KLController:
    """β, the weight of the KL penalty; adaptive with a ``target`` in nats an answer (Ziegler et al. 2019, eq. 4)."""

    beta: float
    target: float | None = None  # None: β is fixed
    horizon: int = 10_000  # answers over which β may grow by about a fifth

    def update(self, kl: float, answers: int) -> None:
        """Move β after ``answers`` answers with this mean KL, the sum over an answer's tokens."""
        if self.target is not None and math.isfinite(kl):
            error = min(max(kl / self.target - 1, -0.2), 0.2)
            self.beta *= 1 + error * answers / self.horizon


@dataclass
class Watch:
    """Looks at each batch of rollouts: is the policy better than ever, has it drifted off, has it collapsed?

    Rewards are smoothed over ``window`` batches. ``max_kl`` is in nats an answer, ``max_drop`` in points of reward
    below the best smoothed one; None switches a rule off.
    """

    max_kl: float | None = None
    max_drop: float | None = None
    window: int = 5
    recent: list[float] = field(default_factory=list)
    highest: float = -math.inf  # of all smoothed rewards
    saved: float = -math.inf  # the smoothed reward of the best checkpoint

    @property
    def smoothed(self) -> float:
        """The mean reward of the last batches; -inf before the window is full."""
        return sum(self.recent) / self.window if len(self.recent) == self.window else -math.inf

    def see(self, reward: float, kl: float) -> str | None:
        """Take a batch's mean reward and KL; the reason to stop, if there is one. NaN says nothing."""
        if self.max_kl is not None and kl > self.max_kl:
            return f"KL {kl:.2f} nats an answer is above {self.max_kl}"
        if math.isfinite(reward):
            self.recent = [*self.recent, reward][-self.window :]
        self.highest = max(self.highest, self.smoothed)
        if self.max_drop is not None and self.highest - self.smoothed > self.max_drop:
            return f"reward {self.smoothed:.2f} is more than {self.max_drop} below its best, {self.highest:.2f}"
        return None

    def is_best(self) -> bool:
        """Whether the policy is the best one saved so far; if so, it is remembered as that."""
        if self.smoothed <= self.saved:
            return False
        self.saved = self.smoothed
        return True
