"""The examples of supervised fine-tuning (paper section 2): verified trajectories as conversations.

Three kinds: *generation*, a problem answered by a correct first program; *refine*, a wrong program with its feedback
answered by a correct refinement; *explain_refine*, the same answered by the explanation and the refinement. The last
turn of a conversation is the answer, the only part with loss."""

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple, get_args

import pandas as pd

from ledexlib.models import Message, answer_text, refine_messages, solve_messages
from ledexlib.params import ParameterError, Params
from ledexlib.records import Problem, Record, Trajectory, content_id

Kind = Literal["generation", "refine", "explain_refine"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class SFTExample(Record):
    """A conversation whose last turn is learned; ``copies`` times an epoch, ``tokens`` long (0: not counted yet)."""
    id: str
    kind: Kind
    task_id: str
    solution_id: str
    messages: tuple[Message, ...]
    copies: int = 1
    tokens: int = 0


class SFTExamples(NamedTuple):
    """The examples of a training. Those that are longer than ``sft_max_length`` are in none of the other two lists."""
    train: list[SFTExample]
    held_out: list[SFTExample]
    too_long: list[SFTExample]


def conversations(trajectories: Iterable[Trajectory], problems: Iterable[Problem]) -> list[SFTExample]:
    """Every example that verified trajectories give, equal conversations once, in the trajectories' order."""
    by_task = {problem.task_id: problem for problem in problems}
    found: dict[str, SFTExample] = {}

    def add(kind: Kind, t: Trajectory, messages: list[Message]) -> None:
        names = {"id": content_id(kind, messages), "task_id": t.solution.task_id, "solution_id": t.id}
        found.setdefault(names["id"], SFTExample(kind=kind, messages=tuple(messages), **names))

    for t in trajectories:
        problem, code, told = by_task[t.solution.task_id], t.solution.code, t.solution.told
        if t.solution.verdict.passed:
            add("generation", t, solve_messages(problem, answer_text(None, code)))
            continue
        for r in t.correct:
            add("refine", t, refine_messages(problem, code, told, False, answer_text(None, r.code)))
            if r.explanation:
                explained = answer_text(r.explanation, r.code)
                add("explain_refine", t, refine_messages(problem, code, told, True, explained))
    return list(found.values())


def capped(found: Sequence[SFTExample], cap: int | None, seed: int) -> list[SFTExample]:
    """At most ``cap`` examples of each kind for each problem, spread over its solutions; order is kept.

    A solution's second example is taken only after the first ones of all the problem's solutions."""
    if cap is None:
        return list(found)
    rows = [(e.id, e.task_id, e.kind, e.solution_id) for e in _shuffled(found, f"cap {seed}")]
    drawn = pd.DataFrame(rows, columns=["id", "task", "kind", "solution"])
    turns = drawn.groupby(["task", "kind", "solution"]).cumcount()
    chosen = set(drawn.loc[turns.sort_values(kind="stable").index].groupby(["task", "kind"]).head(cap)["id"])
    return [example for example in found if example.id in chosen]


def weighted(found: Sequence[SFTExample], weights: dict[Kind, float], seed: int) -> list[SFTExample]:
    """The examples with their copies an epoch: a weight of 2.25 gives each 2, a random quarter 3; 0 gives none."""
    extra: set[str] = set()
    for kind, weight in weights.items():
        names = [example.id for example in _shuffled(found, f"weights {seed}") if example.kind == kind]
        extra.update(names[: round(len(names) * (weight % 1))])
    copies = [int(weights[example.kind]) + (example.id in extra) for example in found]
    return [e.model_copy(update={"copies": n}) for e, n in zip(found, copies, strict=True) if n]


def held_out_tasks(found: Iterable[SFTExample], share: float, seed: int) -> set[str]:
    """The problems kept for the held-out loss: this share of them, at least one if any (and never the only one)."""
    tasks = sorted({example.task_id for example in found})
    if share == 0 or len(tasks) < 2:
        return set()
    random.Random(f"held out {seed}").shuffle(tasks)
    return set(tasks[: min(len(tasks) - 1, max(1, round(share * len(tasks))))])


def build_examples(
    trajectories: Iterable[Trajectory], problems: Iterable[Problem], count: Callable[..., int], p: Params
) -> SFTExamples:
    """The examples of a training: what fits, capped, weighted and divided by problem into training and held-out data.

    ``count`` gives the tokens of a conversation. Raises ParameterError if nothing is left to train on."""
    weights: dict[Kind, float] = {kind: getattr(p, f"sft_{kind}") for kind in KINDS}
    wanted = [example for example in conversations(trajectories, problems) if weights[example.kind]]
    counted = [example.model_copy(update={"tokens": count(example.messages)}) for example in wanted]
    too_long = [example for example in counted if example.tokens > p.sft_max_length]
    fitting = [example for example in counted if example.tokens <= p.sft_max_length]
    chosen = weighted(capped(fitting, p.sft_per_problem, p.seed), weights, p.seed)
    apart = held_out_tasks(chosen, p.sft_held_out, p.seed)
    train = [example for example in chosen if example.task_id not in apart]
    if not train:
        reason = f"all {len(too_long)} examples are longer than sft_max_length" if too_long else "none was collected"
        raise ParameterError(f"no example to train on for {weights}: {reason}")
    held_out = [e.model_copy(update={"copies": 1}) for e in chosen if e.task_id in apart]
    return SFTExamples(train, held_out, too_long)


def training_order(lengths: Sequence[int], copies: Sequence[int], batch: int, epochs: float, seed: int) -> list[int]:
    """The examples' numbers in the order of training: ``epochs`` random passes, each batch sorted by length.

    Examples of similar length are on the device together: little is padded, and a batch's gradient stays as it is."""
    each = [number for number, n in enumerate(copies) for _ in range(n)]
    numbers: list[int] = []
    for epoch in range(int(epochs) + 1):
        random.Random(f"order {seed} {epoch}").shuffle(each)
        numbers += each
    numbers = numbers[: round(epochs * len(each))]
    batches = (numbers[start : start + batch] for start in range(0, len(numbers), batch))
    return [number for part in batches for number in sorted(part, key=lambda n: -lengths[n])]


def example_table(examples: SFTExamples) -> pd.DataFrame:
    """What is trained on, held out and left out as too long, by kind; ``seen`` and ``tokens`` are an epoch's."""
    rows = []
    for kind in KINDS:
        train, held_out, too_long = ([e for e in part if e.kind == kind] for part in examples)
        rows.append({
            "kind": kind, "examples": len(train), "problems": len({e.task_id for e in train}),
            "seen": sum(e.copies for e in train), "tokens": sum(e.copies * e.tokens for e in train),
            "longest": max((e.tokens for e in train), default=0), "held out": len(held_out), "too long": len(too_long)})
    return pd.DataFrame(rows)


def example_lengths(examples: SFTExamples) -> pd.DataFrame:
    """Kind and tokens of every example, those that are too long included."""
    return pd.DataFrame([(e.kind, e.tokens) for part in examples for e in part], columns=["kind", "tokens"])


def _shuffled(found: Sequence[SFTExample], seed: str) -> list[SFTExample]:
    shuffled = list(found)
    random.Random(seed).shuffle(shuffled)
    return shuffled
