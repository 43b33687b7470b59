"""Where the explanation ends in an answer's tokens (paper section 3: R(e) belongs to the last explanation token).

An answer to "explain, then repair" is an explanation segment followed by a refinement segment. A token that spans the
boundary carries the explanation's last character, so it is the explanation's. Whatever the model wrote, the segments
are defined: they are never negative, never overlap and cover the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ledexlib.models import locate_answer, unify_lines
from ledexlib.records import Problem

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
    token, on which R(r) is placed, belongs to the refinement unless it is that first one.
    """
    if not len(ids):
        raise ValueError("an answer without tokens has no segments")
    text = unify_lines(decode(ids))
    answer, program_start = locate_answer(text, problem)
    if not explain:
        return Segmented(None, answer.code, 0, len(ids))
    start = text.rfind(answer.explanation, 0, program_start) if answer.explanation else -1
    if start < 0:  # none, or only behind the program
        return Segmented("", answer.code, 1, len(ids))
    end = start + len(answer.explanation)
    needed = tokens_of(ids, lambda part: unify_lines(decode(part)), text[:end])
    return Segmented(answer.explanation, answer.code, max(1, min(needed, len(ids) - 1)), len(ids))


def tokens_of(ids: Sequence[int], decode: Decode, text: str) -> int:
    """The fewest first tokens whose text begins with ``text``; raises ValueError if all of them do not.

    Found by halving: once the tokens decode to that beginning, further tokens do not change it.
    """
    if not decode(ids).startswith(text):
        raise ValueError(f"the tokens do not decode to a text that begins with {text[:80]!r}")
    low, high = 0, len(ids)
    while low < high:
        middle = (low + high) // 2
        if decode(ids[:middle]).startswith(text):
            high = middle
        else:
            low = middle + 1
    return low
