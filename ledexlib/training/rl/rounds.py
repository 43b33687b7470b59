"""Episodes of several rounds: a failed refinement is shown its feedback and tries again; the reward is on the last.

An episode is one conversation and, to the trainer, one answer: the rounds' answers with what was said between them,
which the policy did not write and does not learn from."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

Ids = list[int]
QUESTION, ANSWER = "question", "@@answer@@"


class Episode(NamedTuple):
    """``ids`` follow the prompt; ``written`` is 1 where the policy wrote them; the last answer begins at ``start``."""
    prompt: Ids
    ids: Ids
    written: list[int]
    start: int = 0
    rounds: int = 1

    @property
    def answer(self) -> Ids:
        """The last round's answer."""
        return self.ids[self.start :]


Sample = Callable[[Sequence[int], list[Ids], int], list[Ids]]  # rows, their contexts, the round: an answer to each
Reply = Callable[[Sequence[int], list[Episode]], list[Ids | None]]  # rows so far: what is said to each, or nothing


def play(prompts: Sequence[Ids], rounds: int, sample: Sample, reply: Reply) -> list[Episode]:
    """An episode of at most so many rounds for each prompt; ``reply`` ends one by saying nothing."""
    rows: list[int] = list(range(len(prompts)))
    answers = sample(rows, [list(prompt) for prompt in prompts], 0)
    made = [Episode(list(p), ids, [1] * len(ids)) for p, ids in zip(prompts, answers, strict=True)]
    for number in range(1, rounds):
        replies = reply(rows, [made[row] for row in rows])
        said = {row: ids for row, ids in zip(rows, replies, strict=True) if ids is not None}
        rows = list(said)
        if not rows:
            break
        contexts = [made[row].prompt + made[row].ids + said[row] for row in rows]
        for row, answer in zip(rows, sample(rows, contexts, number), strict=True):
            prompt, ids, written, _, n = made[row]
            start, written = len(ids) + len(said[row]), [*written, *[0] * len(said[row]), *[1] * len(answer)]
            made[row] = Episode(prompt, [*ids, *said[row], *answer], written, start, n + 1)
    return made


def continuation(tokenizer: Any, content: str) -> tuple[int, Ids]:
    """The token that ends an answer, and those from there to the next answer if the user says ``content``."""
    turns = ("user", QUESTION), ("assistant", ANSWER), ("user", content)
    messages = [{"role": role, "content": said} for role, said in turns]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    end, *rest = tokenizer(text.split(ANSWER, 1)[1], add_special_tokens=False)["input_ids"]
    return end, rest
