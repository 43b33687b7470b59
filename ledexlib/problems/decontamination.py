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

from ledexlib.problems.registry import NAMES, ProblemError, load_problems, splits_of
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


class _Index:
    """The runs of the test problems: for the hash of each, the first text that has it, and where."""

    def __init__(self, problems: Iterable[Problem], ngram: int) -> None:
        self.ngram = ngram
        self.texts: list[tuple[Problem, str, Words]] = []
        self.places: dict[int, tuple[int, int]] = {}
        for problem in problems:
            for field in TEXTS:
                text = words(getattr(problem, field))
                for start, run in runs(text, ngram):
                    self.places.setdefault(hash(run), (len(self.texts), start))
                self.texts.append((problem, field, text))

    def find(self, run: Words) -> tuple[Problem, str, Words] | None:
        """The problem and field that have the run, and their words from there on."""
        number, start = self.places.get(hash(run), (None, 0))
        if number is None:
            return None
        problem, field, text = self.texts[number]
        if text[start : start + self.ngram] != run:  # two runs of one hash
            return None
        return problem, field, text[start:]


def _common(ours: Words, theirs: Words) -> Words:
    """The words that both begin with."""
    pairs = enumerate(zip(ours, theirs, strict=False))
    length = next((i for i, (a, b) in pairs if a != b), min(len(ours), len(theirs)))
    return ours[:length]


def _overlap(problem: Problem, index: _Index) -> Overlap | None:
    longest, overlap = 0, None
    for field in TEXTS:
        text = words(getattr(problem, field))
        for start, run in runs(text, index.ngram):
            found = index.find(run)
            if found is None:
                continue
            other, other_field, theirs = found
            shared = _common(text[start:], theirs)
            if len(shared) > longest:
                longest = len(shared)
                overlap = Overlap(
                    train_id=problem.task_id,
                    test_id=other.task_id,
                    test_benchmark=other.benchmark,
                    train_field=field,
                    test_field=other_field,
                    text=" ".join(shared),
                )
    return overlap


def decontaminate(
    train: Iterable[Problem], test: Iterable[Problem], ngram: int = NGRAM
) -> tuple[list[Problem], list[Overlap]]:
    """The training problems that share no run of ``ngram`` words with a test problem, and why the others were dropped.

    Keeps the order. Time and memory grow linearly with the texts: the test problems' runs are held as hashes, about
    250 bytes for each word of the test problems.
    """
    if ngram < 1:
        raise ValueError(f"ngram is a number of words, at least 1: {ngram}")
    index = _Index(test, ngram)
    kept, dropped = [], []
    for problem in train:
        overlap = _overlap(problem, index)
        if overlap is None:
            kept.append(problem)
        else:
            dropped.append(overlap)
    return kept, dropped


def load_held_out(specs: Iterable[str]) -> list[Problem]:
    """The problems that ``decontaminate_against`` names: each NAME, or NAME=PATH for its data at a path.

    A benchmark's test split is taken; of a file in the project's own format, everything.
    """
    problems = []
    for spec in specs:
        name, _, path = spec.partition("=")
        if name not in NAMES:
            load_problems(name)  # raises the error that names the nearest benchmark
        if name == "jsonl" and not path:
            raise ProblemError(f"decontaminate_against: '{spec}' needs a path: jsonl=PATH")
        split = "test" if "test" in splits_of(name) else None
        problems += load_problems(name, split, path or None)
    return problems
