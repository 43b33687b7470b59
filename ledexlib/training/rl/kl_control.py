"""KL-coefficient control and early stopping."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

HORIZON = 10_000  # answers over which β may grow by about a fifth
WINDOW = 5  # batches over which rewards are smoothed


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
    recent: list[float] = field(default_factory=list)
    best: float = -math.inf  # the smoothed reward of the best policy that was saved

    @property
    def smoothed(self) -> float:
        """The mean reward of the last batches; -inf before there are enough."""
        return sum(self.recent) / WINDOW if len(self.recent) == WINDOW else -math.inf

    def see(self, reward: float, kl: float) -> str | None:
        """Take a batch's mean reward and KL; the reason to stop, if there is one. NaN says nothing."""
        if self.max_kl is not None and kl > self.max_kl:
            return f"KL {kl:.2f} nats an answer is above {self.max_kl}"
        if math.isfinite(reward):
            self.recent = [*self.recent, reward][-WINDOW:]
        return None

    def is_best(self) -> bool:
        """Whether the policy is the best one saved so far; if so, it is remembered as that."""
        if self.smoothed <= self.best:
            return False
        self.best = self.smoothed
        return True
