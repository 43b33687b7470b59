"""What a repair changed in a program, line by line, and how much of that was needed."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from difflib import SequenceMatcher
from typing import NamedTuple

Passing = Callable[[Mapping[Hashable, str]], Mapping[Hashable, bool]]  # programs by name: which of them pass


class Edit(NamedTuple):
    """The lines from ``start`` to before ``end`` of a program give place to ``lines``."""

    start: int
    end: int
    lines: tuple[str, ...]


def edits(before: str, after: str) -> list[Edit]:
    """The changes from one program to another, as small as lines allow; trailing blanks do not count."""
    a, b = ([line.rstrip() for line in code.strip().splitlines()] for code in (before, after))
    found = []
    for kind, i, j, k, m in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if kind == "replace" and j - i == m - k:
            found += [Edit(i + n, i + n + 1, (b[k + n],)) for n in range(j - i)]
        elif kind != "equal":
            found.append(Edit(i, j, tuple(b[k:m])))
    return found


def size(changes: Iterable[Edit]) -> int:
    """Lines changed: of lines that replace others, the longer side counts."""
    return sum(max(edit.end - edit.start, len(edit.lines)) for edit in changes)


def applied(before: str, changes: Iterable[Edit]) -> str:
    """The program with these changes."""
    lines = [line.rstrip() for line in before.strip().splitlines()]
    for edit in sorted(changes, reverse=True):
        lines[edit.start : edit.end] = edit.lines
    return "\n".join(lines)


def needed(repairs: Mapping[Hashable, tuple[str, str]], passing: Passing) -> dict[Hashable, list[Edit]]:
    """The changes of each correct repair (wrong program, right program) that it cannot do without.

    Every change is taken back in turn, from the last to the first, and stays out if the program still passes. What is
    left passes too, and is often, not always, the smallest such set.
    """
    kept = {name: edits(*pair) for name, pair in repairs.items()}
    rounds = max(map(len, kept.values()), default=0)
    for place in range(rounds - 1, -1, -1):
        # Alone, a change is needed: without it the program is the wrong one.
        less = {
            name: changes[:place] + changes[place + 1 :]
            for name, changes in kept.items()
            if len(changes) > max(place, 1)
        }
        passed = passing({name: applied(repairs[name][0], changes) for name, changes in less.items()})
        kept |= {name: changes for name, changes in less.items() if passed[name]}
    return kept
