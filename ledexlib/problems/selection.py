"""The problems that a run's parameters name: those it collects from, and the solved ones shown to a base model."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from ledexlib.params import Params
from ledexlib.problems.decontamination import Overlap, decontaminate
from ledexlib.problems.files import ProblemError
from ledexlib.problems.registry import check_benchmark, find_benchmark, load_problems
from ledexlib.records import Problem

T = TypeVar("T")


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

    They are of ``shots_benchmark``, else of ``entry`` (NAME or NAME=PATH), by default what is collected from.
    """
    return _examples(load_problems, p, entry)[: p.n_shots]


def _examples(use: Callable[[str, str], T], p: Params, entry: str | None) -> T:
    try:
        return use(p.shots_benchmark or entry or _collected(p), "prompt")
    except ProblemError as error:
        advice = "A base model is shown solved problems: set shots_benchmark, such as mbpp"
        raise ProblemError(f"{error}\n{advice}") from None
