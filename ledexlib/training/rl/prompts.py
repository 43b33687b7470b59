"""RL prompts: a wrong program with its feedback, to be repaired with or without an explanation.

Only wrong programs with something to compare a repair with (R_c, and E_c where an explanation is asked for) are used.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import pandas as pd

from ledexlib.models import Message, refine_messages
from ledexlib.params import ParameterError, Params
from ledexlib.records import Problem, Record, Solution
from ledexlib.rewards import Scorer


class RLPrompt(Record):
    """A prompt of reinforcement learning, ``tokens`` long."""

    solution_id: str
    task_id: str
    explain: bool
    messages: tuple[Message, ...]
    tokens: int


class RLPrompts(NamedTuple):
    """The prompts of a training; those that leave no room for an answer are apart."""

    used: list[RLPrompt]
    too_long: list[RLPrompt]


def prompts_for(
    wrong: Sequence[Solution], scorer: Scorer, problems: Iterable[Problem],
    count: Callable[[Sequence[Message]], int], p: Params,
) -> RLPrompts:  # fmt: skip
    """All prompts that wrong programs give, in their order; raises ParameterError if no kind that is wanted is left.

    ``count`` gives the tokens of a conversation that is to be answered.
    """
    by_task = {problem.task_id: problem for problem in problems}
    found = RLPrompts([], [])
    for program in wrong:
        references = scorer.references(program.id)
        kinds = [False] * bool(references or p.code_reward == "tests") + [True] * any(r.explanation for r in references)
        for explain in kinds:
            messages = tuple(refine_messages(by_task[program.task_id], program.code, program.told, explain))
            prompt = RLPrompt(
                solution_id=program.id, task_id=program.task_id, explain=explain, messages=messages,
                tokens=count(messages),
            )  # fmt: skip
            fits = prompt.tokens + p.ppo_max_tokens <= p.ppo_max_length
            (found.used if fits else found.too_long).append(prompt)
    for explain, wanted in ((True, p.ppo_explain > 0), (False, p.ppo_explain < 1)):
        if wanted and not any(prompt.explain == explain for prompt in found.used):
            raise ParameterError(
                f"no prompt to {_kind(explain)} is left: of {len(wrong)} wrong programs, those with a correct "
                f"refinement give {sum(prompt.explain == explain for prompt in found.too_long)} prompts, all longer "
                f"than ppo_max_length ({p.ppo_max_length}) less ppo_max_tokens ({p.ppo_max_tokens})"
            )
    return found


def _kind(explain: bool) -> str:
    return "explain and refine" if explain else "refine"


def typical_prompt(prompts: Sequence[RLPrompt]) -> RLPrompt:
    """A prompt to look at: of median length, among those that ask for an explanation if any do."""
    among = [prompt for prompt in prompts if prompt.explain] or prompts
    return sorted(among, key=lambda prompt: prompt.tokens)[len(among) // 2]


def prompt_order(prompts: Sequence[RLPrompt], share: float, n: int, seed: int) -> list[int]:
    """The numbers of ``n`` prompts in the order of training, of which this share, evenly spread, are explained.

    Each kind is gone through in random passes, so that no prompt comes again before all others have come.
    """
    streams = {
        explain: _passes([i for i, prompt in enumerate(prompts) if prompt.explain == explain], f"{seed} {explain}")
        for explain in (False, True)
    }
    return [next(streams[int((k + 1) * share) > int(k * share)]) for k in range(n)]


def _passes(numbers: list[int], seed: str) -> Iterator[int]:
    draw = random.Random(f"prompts {seed}")
    while numbers:
        yield from draw.sample(numbers, len(numbers))


def prompt_table(prompts: RLPrompts) -> pd.DataFrame:
    """Prompts, tasks and tokens of each kind."""
    rows = []
    for explain in (False, True):
        used, too_long = ([prompt for prompt in part if prompt.explain == explain] for part in prompts)
        rows.append({
            "asks to": _kind(explain), "prompts": len(used), "tasks": len({prompt.task_id for prompt in used}),
            "longest, in tokens": max((prompt.tokens for prompt in used), default=0), "too long": len(too_long),
        })  # fmt: skip
    return pd.DataFrame(rows)
