"""The interface of generators: whatever answers prompts, a model in this process, endpoints or a registered teacher."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ledexlib.models.answers import DONE
from ledexlib.models.prompts import Prompt
from ledexlib.records import Sampling

STOP = (DONE,)  # what ends a completion of a text prompt


class Completion(NamedTuple):
    """A model's answer to a prompt."""

    text: str  # without the stop string or end-of-turn token that ended it
    tokens: int  # tokens sampled, with those that ended it
    finished: bool  # ended by itself, not by its length


class Generator(Protocol):
    """Anything that answers prompts. ``name`` is recorded with what it wrote."""

    name: str

    def generate(self, prompts: Sequence[Prompt], n: int, sampling: Sampling) -> list[list[Completion]]:
        """``n`` completions of each prompt, in order; ``sampling.seed`` makes the call repeatable."""
        ...
