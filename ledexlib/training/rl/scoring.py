"""Rollout scoring: what a policy's answers are worth, by the same verdicts and rewards as collected refinements.

An answer to "explain, then repair" is an explanation segment followed by a refinement segment; R(e) belongs to the last
explanation token (paper section 3). A token that spans the boundary carries the explanation's last character, so it is
the explanation's. Whatever the model wrote, the segments are defined, never overlap and cover the answer."""

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from ledexlib.models import locate_answer
from ledexlib.params import Params
from ledexlib.problems import unify_lines
from ledexlib.records import Problem, Refinement, Sampling
from ledexlib.repair import VerdictCache, next_turn
from ledexlib.rewards import Reward, Scorer

Decode = Callable[[Sequence[int]], str]  # token ids to text, special tokens left out


class Segmented(NamedTuple):
    """An answer read as text, and how many of its tokens are the explanation; the others are the refinement."""
    explanation: str | None  # None: none was asked for; "": asked for, and none stands before the program
    code: str  # "" if there is no program
    explanation_tokens: int
    tokens: int

    @property
    def valid(self) -> bool:
        """Whether the answer has the parts that were asked for, in their order."""
        return bool(self.code) and self.explanation != ""


def segment(ids: Sequence[int], decode: Decode, problem: Problem, explain: bool) -> Segmented:
    """Read an answer's tokens (the end token included, if it came); raises ValueError if there are none.

    An explanation that was asked for has at least its first token: the decision to give none is made there. The last
    token, on which R(r) is placed, belongs to the refinement unless it is that first one."""
    if not len(ids):
        raise ValueError("an answer without tokens has no segments")
    text = unify_lines(decode(ids))
    answer, program_start = locate_answer(text, problem)
    if not explain:
        return Segmented(None, answer.code, 0, len(ids))
    start = text.rfind(answer.explanation, 0, program_start) if answer.explanation else -1
    if start < 0:  # none, or only behind the program
        return Segmented("", answer.code, 1, len(ids))
    needed = tokens_of(ids, lambda part: unify_lines(decode(part)), text[: start + len(answer.explanation)])
    return Segmented(answer.explanation, answer.code, max(1, min(needed, len(ids) - 1)), len(ids))


def tokens_of(ids: Sequence[int], decode: Decode, text: str) -> int:
    """The fewest first tokens whose text begins with ``text``; raises ValueError if all of them do not."""
    if not decode(ids).startswith(text):
        raise ValueError(f"the tokens do not decode to a text that begins with {text[:80]!r}")
    # By halving: once the tokens decode to that beginning, further tokens do not change it
    return bisect_left(range(len(ids)), True, key=lambda n: decode(ids[:n]).startswith(text))


class ScoredRollout(NamedTuple):
    """An answer as segments of tokens, as a repair with its verdict, and its rewards, if there are any to give."""
    answer: Segmented
    refinement: Refinement
    reward: Reward | None


class ScoredBatch(NamedTuple):
    """A batch of scored answers, and the seconds it took to verify and to compare them."""
    rollouts: list[ScoredRollout]
    verification: float
    similarity: float


class RolloutScorer:
    """Verifies and scores answers (tokens) to rows of ``solution_id``, ``task_id``, ``explain``, beside the models."""

    def __init__(self, scorer: Scorer, problems: Iterable[Problem], decode: Decode, p: Params) -> None:
        self.scorer, self.decode = scorer, decode
        self.problems = {problem.task_id: problem for problem in problems}
        self.sampling = Sampling(temperature=p.ppo_temperature, max_tokens=p.ppo_max_tokens, seed=p.seed)
        self.verdicts = VerdictCache(p)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="rollout-scorer")

    def start(self, asked: Sequence[Mapping], answers: Sequence[Sequence[int]]) -> Future[ScoredBatch]:
        """The verdicts and rewards of answers, in their order, once they are there."""
        return self._thread.submit(self._score, list(asked), [list(ids) for ids in answers])

    def _score(self, asked: Sequence[Mapping], answers: Sequence[Sequence[int]]) -> ScoredBatch:
        began = time.perf_counter()
        read = self._verified(asked, answers)
        verified = time.perf_counter()
        rewards = self.scorer.score([refinement for _, refinement in read])
        rollouts = [ScoredRollout(*parts, reward) for parts, reward in zip(read, rewards, strict=True)]
        return ScoredBatch(rollouts, verified - began, time.perf_counter() - verified)

    def feedback(self, asked: Sequence[Mapping], answers: Sequence[Sequence[int]]) -> list[str | None]:
        """What the user says to each answer that failed, to have it tried again; None to the others."""
        found = zip(asked, self._verified(asked, answers), strict=True)
        return [next_turn(self.problems[row["task_id"]], r.code, r.verdict, row["explain"]) for row, (_, r) in found]

    def _verified(self, asked: Sequence[Mapping], answers: Sequence[Sequence[int]]) -> list[tuple]:
        """Answers, each read (Segmented) and run (Refinement); equal programs run once."""
        rows = [(self.problems[row["task_id"]], row["explain"]) for row in asked]
        read = [segment(ids, self.decode, *row) for row, ids in zip(rows, answers, strict=True)]
        programs = [(row["task_id"], answer.code) for row, answer in zip(asked, read, strict=True)]
        verdicts = self.verdicts(self.problems.values(), programs)
        return [
            (answer, Refinement(
                id="", solution_id=row["solution_id"], task_id=row["task_id"], explanation=answer.explanation,
                code=answer.code, completion="", teacher="policy", sampling=self.sampling, verdict=verdict,
                way="explain" if row["explain"] else "refine", tokens=answer.tokens))
            for row, answer, verdict in zip(asked, read, verdicts, strict=True)]
