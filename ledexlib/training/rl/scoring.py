"""What PPO asks, and what its answers are worth: prompts from wrong programs; verdicts and rewards on answers.

A prompt shows a wrong program with its feedback and asks for a repair, with or without explanation.
Only wrong programs with something to compare a repair with (R_c, and E_c where an explanation is asked for) are used.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from ledexlib.models import prompts
from ledexlib.repair.collection import limits
from ledexlib.params.layers import ParameterError
from ledexlib.models.prompts import Message
from ledexlib.records import Problem, Record, Solution, Verdict
from ledexlib.rewards.rewards import Reward, Rollout, Scorer
from ledexlib.training.rl.segments import Decode, Segmented, segment
from ledexlib.problems.verdicts import verify_programs
from ledexlib.params.vocabulary import Params


class Ask(Record):
    """A prompt of reinforcement learning, ``tokens`` long."""

    solution_id: str
    task_id: str
    explain: bool
    messages: tuple[Message, ...]
    tokens: int


class Asks(NamedTuple):
    """The prompts of a run; those that leave no room for an answer are apart."""

    used: list[Ask]
    too_long: list[Ask]


def build_asks(
    wrong: Sequence[Solution], scorer: Scorer, problems: Iterable[Problem],
    count: Callable[[Sequence[Message]], int], p: Params,
) -> Asks:  # fmt: skip
    """All prompts that wrong programs give, in their order; raises ParameterError if no kind that is wanted is left.

    ``count`` gives the tokens of a conversation that is to be answered.
    """
    by_task = {problem.task_id: problem for problem in problems}
    used: list[Ask] = []
    too_long: list[Ask] = []
    for program in wrong:
        references = scorer.references(program.id)
        kinds = [False] * bool(references or p.code_reward == "tests") + [True] * any(r.explanation for r in references)
        for explain in kinds:
            messages = ask_messages(by_task[program.task_id], program, explain)
            ask = Ask(
                solution_id=program.id, task_id=program.task_id, explain=explain, messages=messages,
                tokens=count(messages),
            )  # fmt: skip
            (used if ask.tokens + p.ppo_max_tokens <= p.ppo_max_length else too_long).append(ask)
    for explain, wanted in ((True, p.ppo_explain > 0), (False, p.ppo_explain < 1)):
        if wanted and not any(ask.explain == explain for ask in used):
            kind = "explain and refine" if explain else "refine"
            raise ParameterError(
                f"no prompt to {kind} is left: of {len(wrong)} wrong programs, those with a correct refinement "
                f"give {sum(a.explain == explain for a in too_long)} prompts, all longer than ppo_max_length "
                f"({p.ppo_max_length}) less ppo_max_tokens ({p.ppo_max_tokens})"
            )
    return Asks(used, too_long)


def ask_messages(problem: Problem, wrong: Solution, explain: bool) -> tuple[Message, ...]:
    """The conversation that asks to repair a wrong program."""
    return tuple(prompts.refine_messages(problem, wrong.code, wrong.verdict.feedback, explain))


def typical(asks: Sequence[Ask]) -> Ask:
    """A prompt to look at: of median length, among those that ask for an explanation if any do."""
    among = [ask for ask in asks if ask.explain] or asks
    return sorted(among, key=lambda ask: ask.tokens)[len(among) // 2]


def order(asks: Sequence[Ask], share: float, n: int, seed: int) -> list[int]:
    """The numbers of ``n`` prompts in the order of training, of which this share, evenly spread, are explained.

    Each kind is gone through in random passes, so that no prompt comes again before all others have come.
    """
    streams = {
        explain: _passes([i for i, ask in enumerate(asks) if ask.explain == explain], f"{seed} {explain}")
        for explain in (False, True)
    }
    return [next(streams[int((k + 1) * share) > int(k * share)]) for k in range(n)]


def _passes(numbers: list[int], seed: str) -> Iterator[int]:
    draw = random.Random(f"prompts {seed}")
    while numbers:
        yield from draw.sample(numbers, len(numbers))


@dataclass(frozen=True)
class Scored:
    """An answer with its verdict and rewards; ``reward`` is None where there is none to give (a verdict ``infra``)."""

    answer: Segmented
    verdict: Verdict
    reward: Reward | None


def two_rewards(scored: Iterable[Scored], weight: float = 1.0) -> tuple[list[float], list[float]]:
    """R(e), ``weight`` times, and R(r) of answers; NaN where there is none."""
    rewards = [s.reward for s in scored]
    explanation = [math.nan if r is None or r.explanation is None else weight * r.explanation for r in rewards]
    return explanation, [math.nan if r is None else r.code for r in rewards]


@dataclass(frozen=True)
class Judged:
    """A batch of scored answers, and the seconds it took to verify and to compare them."""

    scored: list[Scored]
    verification: float
    similarity: float


class Judge:
    """Verifies and scores answers, in a thread: programs run while the models compute log-probabilities.

    A program that was run before is not run again; a verdict ``infra`` is not remembered.
    """

    def __init__(self, scorer: Scorer, problems: Iterable[Problem], decode: Decode, p: Params) -> None:
        self.scorer, self.decode, self.params = scorer, decode, p
        self.problems = {problem.task_id: problem for problem in problems}
        self._verdicts: dict[tuple[str, str], Verdict] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="judge")

    def start(self, asks: Sequence[Mapping], answers: Sequence[Sequence[int]]) -> Future[Judged]:
        """Judge answers, as tokens, to rows with ``solution_id``, ``task_id`` and ``explain``."""
        return self._thread.submit(self.judge, list(asks), [list(ids) for ids in answers])

    def judge(self, asks: Sequence[Mapping], answers: Sequence[Sequence[int]]) -> Judged:
        """The verdicts and rewards of answers, in their order."""
        began = time.perf_counter()
        read = [
            segment(ids, self.decode, self.problems[ask["task_id"]], ask["explain"])
            for ask, ids in zip(asks, answers, strict=True)
        ]
        verdicts = self.verdicts([(ask["task_id"], answer.code) for ask, answer in zip(asks, read, strict=True)])
        verified = time.perf_counter()
        attempts = [
            Rollout(ask["solution_id"], answer.code, answer.explanation, verdict)
            for ask, answer, verdict in zip(asks, read, verdicts, strict=True)
        ]
        rewards = self.scorer.score(attempts)
        scored = [Scored(*parts) for parts in zip(read, verdicts, rewards, strict=True)]
        return Judged(scored, verified - began, time.perf_counter() - verified)

    def feedback(self, asks: Sequence[Mapping], answers: Sequence[Sequence[int]]) -> list[str | None]:
        """What the user says to each answer that failed, to have it tried again; None to the others."""
        read = [
            segment(ids, self.decode, self.problems[ask["task_id"]], ask["explain"])
            for ask, ids in zip(asks, answers, strict=True)
        ]
        verdicts = self.verdicts([(ask["task_id"], answer.code) for ask, answer in zip(asks, read, strict=True)])
        said: list[str | None] = []
        for ask, answer, verdict in zip(asks, read, verdicts, strict=True):
            failed = verdict.status not in ("passed", "infra")
            problem = self.problems[ask["task_id"]]
            again = prompts.refine_messages(problem, answer.code, verdict.feedback, ask["explain"])[-1]["content"]
            said.append(again if failed else None)
        return said

    def verdicts(self, programs: Sequence[tuple[str, str]]) -> list[Verdict]:
        """The verdicts on (task, program) pairs; equal ones run once."""
        new = [key for key in dict.fromkeys(programs) if key not in self._verdicts]
        jobs = ((key, self.problems[key[0]], key[1]) for key in new)
        found = dict(verify_programs(jobs, workers=self.params.workers, limits=limits(self.params)))
        self._verdicts.update({key: verdict for key, verdict in found.items() if verdict.status != "infra"})
        return [found[key] if key in found else self._verdicts[key] for key in programs]


def table(asks: Asks) -> pd.DataFrame:
    """Prompts, wrong programs, tasks and tokens of each kind."""
    rows = []
    for explain in (False, True):
        used, too_long = ([ask for ask in part if ask.explain == explain] for part in asks)
        rows.append({
            "asks to": "explain and refine" if explain else "refine", "prompts": len(used),
            "tasks": len({ask.task_id for ask in used}),
            "longest, in tokens": max((ask.tokens for ask in used), default=0), "too long": len(too_long),
        })  # fmt: skip
    return pd.DataFrame(rows)
