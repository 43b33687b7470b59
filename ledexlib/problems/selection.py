"""The problems that a run's parameters name: those it collects from, and the solved ones shown to a base model.

Training problems that overlap with test problems are dropped. Prompts and references are normalised to words: case,
white space and punctuation vanish, and with them quotes, comment signs and doctest prompts. A training problem is
dropped if its prompt or reference shares a run of ``ngram`` words (13, as GPT-3's and many later reports use) with the
prompt or reference of a test problem. Runs that are mostly numbers do not count: ``1, 2, 3, …`` stands in the data of
unrelated problems. Texts shorter than a run count only if they are equal as a whole. What this does not find: a problem
retold in other words, or a reference with renamed variables."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import takewhile
from typing import Any

from ledexlib.params import Params
from ledexlib.problems.files import ProblemError
from ledexlib.problems.registry import check_benchmark, find_benchmark, load_problems
from ledexlib.records import Problem, Record

TEXTS = ("prompt", "reference")  # the fields compared, each with each
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
    return tuple(re.findall(r"\w+", text.lower()))


def telling(run: Sequence[str]) -> bool:
    """Whether at least half of the run's words are words, not numbers."""
    return 2 * sum(word.isnumeric() for word in run) <= len(run)


def _runs(problem: Problem, ngram: int) -> Iterator[tuple[str, Words, int, Words]]:
    """Field, its words, start and run of each run to compare: n-grams that tell something, or a shorter text whole."""
    for field in TEXTS:
        text = words(getattr(problem, field))
        for start in range(max(len(text) - ngram, 0) + 1) if text else ():
            run = text[start : start + ngram]
            if len(run) < ngram or telling(run):
                yield field, text, start, run


def _overlap(problem: Problem, index: dict[int, tuple[Problem, str, Words, int]], ngram: int) -> Overlap | None:
    """The longest overlap of a problem with those indexed, if there is one."""
    longest, overlap = 0, None
    for field, text, start, run in _runs(problem, ngram):
        other, other_field, theirs, place = index.get(hash(run), (None, "", (), 0))
        if other is None or theirs[place : place + ngram] != run:  # the second: two runs of one hash
            continue
        pairs = zip(text[start:], theirs[place:], strict=False)
        shared = [ours for ours, _ in takewhile(lambda pair: pair[0] == pair[1], pairs)]
        if len(shared) > longest:
            longest = len(shared)
            overlap = Overlap(
                train_id=problem.task_id, test_id=other.task_id, test_benchmark=other.benchmark,
                train_field=field, test_field=other_field, text=" ".join(shared))
    return overlap


def decontaminate(
    train: Iterable[Problem], test: Iterable[Problem], ngram: int = 13) -> tuple[list[Problem], list[Overlap]]:
    """The training problems that share no run of ``ngram`` words with a test problem, and why the others were dropped.

    Keeps the order. Time and memory grow linearly with the texts: of each run of the test problems its hash and its
    place are held, about 250 bytes for each word."""
    if ngram < 1:
        raise ValueError(f"ngram is a number of words, at least 1: {ngram}")
    index: dict[int, tuple[Problem, str, Words, int]] = {}
    for problem in test:
        for field, text, start, run in _runs(problem, ngram):
            index.setdefault(hash(run), (problem, field, text, start))
    found = [(problem, _overlap(problem, index, ngram)) for problem in train]
    return [problem for problem, overlap in found if not overlap], [overlap for _, overlap in found if overlap]


def _collected(p: Params) -> str:
    return f"{p.benchmark}={p.problems_path}" if p.problems_path else p.benchmark


def selected_problems(p: Params) -> tuple[list[Problem], list[Overlap]]:
    """The problems that are collected from, and why others were dropped: they overlap with test problems."""
    problems, dropped = decontaminate(load_problems(_collected(p), p.split), held_out_problems(p.decontaminate_against))
    return problems[: p.max_problems], dropped


def held_out_problems(entries: Iterable[str]) -> list[Problem]:
    """The test split of each benchmark (NAME or NAME=PATH); of a file in the project's own format, everything."""
    tested = ((entry, "test" if "test" in find_benchmark(entry).splits else None) for entry in entries)
    return [problem for entry, split in tested for problem in load_problems(entry, split)]


def check_solved_examples(p: Params, entry: str | None = None) -> None:
    """Raise ProblemError if the benchmark of ``solved_examples`` is not there, loading nothing."""
    _examples(check_benchmark, p, entry)


def solved_examples(p: Params, entry: str | None = None) -> list[Problem]:
    """The solved problems shown to a base model, from the split ``prompt``, which nothing is collected or tested on.

    They are of ``shots_benchmark``, else of ``entry`` (NAME or NAME=PATH), by default what is collected from."""
    return _examples(load_problems, p, entry)[: p.n_shots]


def _examples(use: Callable[[str, str], Any], p: Params, entry: str | None) -> Any:
    try:
        return use(p.shots_benchmark or entry or _collected(p), "prompt")
    except ProblemError as error:
        advice = "A base model is shown solved problems: set shots_benchmark, such as mbpp"
        raise ProblemError(f"{error}\n{advice}") from None
