"""Rollout scoring: what a policy's answers are worth, by the same verdicts and rewards as collected refinements."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

from ledexlib.params import Params
from ledexlib.records import Problem, Refinement, Sampling
from ledexlib.repair import VerdictCache, next_turn
from ledexlib.rewards import Reward, Scorer
from ledexlib.training.rl.segments import Decode, Segmented, segment


class ScoredRollout(NamedTuple):
    """An answer as segments of tokens, as a repair with its verdict, and its rewards, if there are any to give."""

    answer: Segmented
    refinement: Refinement
    reward: Reward | None


@dataclass(frozen=True)
class ScoredBatch:
    """A batch of scored answers, and the seconds it took to verify and to compare them."""

    rollouts: list[ScoredRollout]
    verification: float
    similarity: float


def segment_rewards(rollouts: Iterable[ScoredRollout], weight: float = 1.0) -> tuple[list[float], list[float]]:
    """R(e), ``weight`` times, and R(r) of answers; NaN where there is none."""
    rewards = [rollout.reward for rollout in rollouts]
    explanation = [math.nan if r is None or r.explanation is None else weight * r.explanation for r in rewards]
    return explanation, [math.nan if r is None else r.code for r in rewards]


class RolloutScorer:
    """Verifies and scores answers, in a thread: programs run while the models compute log-probabilities."""

    def __init__(self, scorer: Scorer, problems: Iterable[Problem], decode: Decode, p: Params) -> None:
        self.scorer, self.decode = scorer, decode
        self.problems = {problem.task_id: problem for problem in problems}
        self.sampling = Sampling(temperature=p.ppo_temperature, max_tokens=p.ppo_max_tokens, seed=p.seed)
        self.verdicts = VerdictCache(p)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="rollout-scorer")

    def start(self, asked: Sequence[Mapping], answers: Sequence[Sequence[int]]) -> Future[ScoredBatch]:
        """Score answers, as tokens, to rows with ``solution_id``, ``task_id`` and ``explain``."""
        return self._thread.submit(self.score, list(asked), [list(ids) for ids in answers])

    def score(self, asked: Sequence[Mapping], answers: Sequence[Sequence[int]]) -> ScoredBatch:
        """The verdicts and rewards of answers, in their order."""
        began = time.perf_counter()
        read = self._verified(asked, answers)
        verified = time.perf_counter()
        rewards = self.scorer.score([refinement for _, refinement in read])
        rollouts = [ScoredRollout(*parts, reward) for parts, reward in zip(read, rewards, strict=True)]
        return ScoredBatch(rollouts, verified - began, time.perf_counter() - verified)

    def feedback(self, asked: Sequence[Mapping], answers: Sequence[Sequence[int]]) -> list[str | None]:
        """What the user says to each answer that failed, to have it tried again; None to the others."""
        return [
            next_turn(self.problems[row["task_id"]], refinement.code, refinement.verdict, row["explain"])
            for row, (_, refinement) in zip(asked, self._verified(asked, answers), strict=True)
        ]

    def _verified(
        self, asked: Sequence[Mapping], answers: Sequence[Sequence[int]]
    ) -> list[tuple[Segmented, Refinement]]:
        """Answers, read and run; equal programs run once."""
        read = [
            segment(ids, self.decode, self.problems[row["task_id"]], row["explain"])
            for row, ids in zip(asked, answers, strict=True)
        ]
        programs = [(row["task_id"], answer.code) for row, answer in zip(asked, read, strict=True)]
        verdicts = self.verdicts(self.problems.values(), programs)
        return [
            (answer, Refinement(
                id="", solution_id=row["solution_id"], task_id=row["task_id"], explanation=answer.explanation,
                code=answer.code, completion="", teacher="policy", sampling=self.sampling, verdict=verdict,
                way="explain" if row["explain"] else "refine", tokens=answer.tokens,
            ))
            for row, answer, verdict in zip(asked, read, verdicts, strict=True)
        ]  # fmt: skip
