"""What a repair changed in a program, line by line, and how much of that was needed."""

import re
from collections.abc import Callable, Hashable, Iterable, Mapping
from difflib import SequenceMatcher
from typing import NamedTuple

ALIKE = 0.5  # Dice similarity of two lines' tokens above which one can be a changed version of the other
Passing = Callable[[Mapping[Hashable, str]], Mapping[Hashable, bool]]  # programs by name: which of them pass


class Edit(NamedTuple):
    """The lines from ``start`` to before ``end`` of a program are replaced by ``lines``."""
    start: int
    end: int
    lines: tuple[str, ...]


def line_edits(before: str, after: str) -> list[Edit]:
    """The changes from one program to another, as small as lines allow; trailing blanks do not count."""
    a, b = (_lines(code) for code in (before, after))
    found = []
    for kind, i, j, k, m in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if kind == "replace":
            found += _aligned(a[i:j], b[k:m], i)
        elif kind != "equal":
            found.append(Edit(i, j, tuple(b[k:m])))
    return found


def _lines(code: str) -> list[str]:
    return [line.rstrip() for line in code.strip().splitlines()]


def _aligned(old: list[str], new: list[str], start: int) -> list[Edit]:
    """A block that replaces another, line by line where lines resemble each other."""
    found, i, k = [], 0, 0
    for x, y in [*_pairs(old, new), (len(old), len(new))]:
        if x > i or y > k:
            found.append(Edit(start + i, start + x, tuple(new[k:y])))
        if x < len(old) and y < len(new):
            found.append(Edit(start + x, start + x + 1, (new[y],)))
        i, k = x + 1, y + 1
    return found


def _pairs(old: list[str], new: list[str]) -> list[tuple[int, int]]:
    """The alignment of two blocks of lines with the greatest sum of similarities, in order."""
    a, b = ([set(re.findall(r"\w+|[^\w\s]", line)) for line in lines] for lines in (old, new))
    best: list[list[tuple[float, list[tuple[int, int]]]]] = [[(0.0, [])] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, left in enumerate(a):
        for k, right in enumerate(b):
            alike = 2 * len(left & right) / max(1, len(left) + len(right))
            score, pairs = best[i][k]
            paired = (score + alike, [*pairs, (i, k)]) if alike > ALIKE else (0.0, [])
            best[i + 1][k + 1] = max(best[i][k + 1], best[i + 1][k], paired, key=lambda choice: choice[0])
    return best[len(a)][len(b)][1]


def edit_size(changes: Iterable[Edit]) -> int:
    """Lines changed: of lines that replace others, the longer side counts."""
    return sum(max(edit.end - edit.start, len(edit.lines)) for edit in changes)


def apply_edits(before: str, changes: Iterable[Edit]) -> str:
    """The program with these changes."""
    lines = _lines(before)
    for edit in sorted(changes, reverse=True):
        lines[edit.start : edit.end] = edit.lines
    return "\n".join(lines)


def needed_edits(repairs: Mapping[Hashable, tuple[str, str]], passing: Passing) -> dict[Hashable, list[Edit]]:
    """The changes of each correct repair (wrong program, right program) that it cannot do without: each is taken back
    in turn, from the last to the first, and stays out if the program still passes. What is left passes too, and is
    often, not always, the smallest such set."""
    left = {name: line_edits(*pair) for name, pair in repairs.items()}
    for place in reversed(range(max(map(len, left.values()), default=0))):
        # Alone, a change is needed: without it the program is the wrong one.
        several = {name: changes for name, changes in left.items() if len(changes) > max(place, 1)}
        less = {name: changes[:place] + changes[place + 1 :] for name, changes in several.items()}
        passed = passing({name: apply_edits(repairs[name][0], changes) for name, changes in less.items()})
        left |= {name: changes for name, changes in less.items() if passed[name]}
    return left
