"""Drop training problems that overlap with test problems.

A problem's prompt and reference are normalised to words: case, white space and punctuation vanish, and with them
quotes, comment signs and doctest prompts. A training problem is dropped if its prompt or reference
shares a run of ``ngram`` words (13, as GPT-3's and many later reports use) with the prompt or reference of a test
problem. Runs that are mostly numbers do not count: ``1, 2, 3, …`` stands in the data of unrelated problems. Texts
shorter than a run count only if they are equal as a whole.

What this does not find: a problem retold in other words, or a reference with renamed variables.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import takewhile

from ledexlib.records import Problem, Record

NGRAM = 13
TEXTS = ("prompt", "reference")  # the fields compared, each with each
_WORD = re.compile(r"\w+")

Words = tuple[str, ...]


class Overlap(Record):
    """Why a training problem was dropped: the longest run of words that it shares with a test problem."""

    train_id: str
    test_id: str
    test_benchmark: str
    train_field: str
    test_field: str
    text: str


def words(text: str) -> Words:
    """The text's words and numbers, in lower case."""
    return tuple(_WORD.findall(text.lower()))


def telling(run: Sequence[str]) -> bool:
    """Whether at least half of the run's words are words, not numbers."""
    return 2 * sum(word.isnumeric() for word in run) <= len(run)


def runs(text: Words, ngram: int) -> list[tuple[int, Words]]:
    """The start and words of each run to compare: every n-gram that tells something, or a shorter text as a whole."""
    if len(text) < ngram:
        return [(0, text)] if text else []
    grams = ((start, text[start : start + ngram]) for start in range(len(text) - ngram + 1))
    return [(start, gram) for start, gram in grams if telling(gram)]


def _overlap(problem: Problem, index: dict[int, tuple[Problem, str, Words, int]], ngram: int) -> Overlap | None:
    """The longest overlap of a problem with those indexed, if there is one."""
    longest, overlap = 0, None
    for field in TEXTS:
        text = words(getattr(problem, field))
        for start, run in runs(text, ngram):
            other, other_field, theirs, place = index.get(hash(run), (None, "", (), 0))
            if other is None or theirs[place : place + ngram] != run:  # the second: two runs of one hash
                continue
            pairs = zip(text[start:], theirs[place:], strict=False)
            shared = [ours for ours, _ in takewhile(lambda pair: pair[0] == pair[1], pairs)]
            if len(shared) > longest:
                longest = len(shared)
                overlap = Overlap(
                    train_id=problem.task_id, test_id=other.task_id, test_benchmark=other.benchmark,
                    train_field=field, test_field=other_field, text=" ".join(shared),
                )  # fmt: skip
    return overlap


def decontaminate(
    train: Iterable[Problem], test: Iterable[Problem], ngram: int = NGRAM
) -> tuple[list[Problem], list[Overlap]]:
    """The training problems that share no run of ``ngram`` words with a test problem, and why the others were dropped.

    Keeps the order. Time and memory grow linearly with the texts: of each run of the test problems its hash and its
    place are held, about 250 bytes for each word.
    """
    if ngram < 1:
        raise ValueError(f"ngram is a number of words, at least 1: {ngram}")
    index: dict[int, tuple[Problem, str, Words, int]] = {}
    for problem in test:
        for field in TEXTS:
            text = words(getattr(problem, field))
            for start, run in runs(text, ngram):
                index.setdefault(hash(run), (problem, field, text, start))
    found = [(problem, _overlap(problem, index, ngram)) for problem in train]
    return [problem for problem, overlap in found if not overlap], [overlap for _, overlap in found if overlap]
