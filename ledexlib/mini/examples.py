"""Inputs of every type of the mini world, and what programs of this package's own making give for them."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

WORDS = (
    "apple", "banana", "cat", "dog", "echo", "fig", "green", "hat", "ice", "jam", "kite", "lemon", "mango", "night",
    "ocean", "pear", "queen", "river", "sun", "tree", "under", "violet", "wind", "yes", "zoo", "area", "blue", "egg",
)  # fmt: skip


def an_input(kind: str, rng: random.Random, wide: bool = False) -> Any:
    """A random input; ``wide`` ones reach the edges: empty, single, repeated, larger."""
    size = rng.choice((0, 1, 1, 2, 3, 7, 9)) if wide else rng.randint(4, 6)
    low, high = (-12, 20) if wide else (-4, 12)
    if kind == "ints":
        values = [rng.randint(low, high) for _ in range(size)]
        return values * 2 if wide and rng.random() < 0.2 else values
    if kind == "int":
        return rng.randint(-9, 200) if wide else rng.randint(4, 40)
    if kind == "strs":
        return [rng.choice(WORDS) for _ in range(size if wide else rng.randint(3, 5))]
    if kind == "str":
        return " ".join(an_input("strs", rng, wide)[: None if wide else 3])
    if kind == "dict":
        return {rng.choice(WORDS): rng.randint(-3 if wide else 0, 9) for _ in range(size if wide else 4)}
    return [
        [rng.randint(low, high) for _ in range(rng.randint(1, 4))] for _ in range(size if wide else rng.randint(2, 4))
    ]


def compiled(code: str, name: str) -> Callable[[Any], Any]:
    """The function that a program of this package's own making defines (never call it with a model's program)."""
    namespace: dict[str, Any] = {}
    exec(code, namespace)
    return namespace[name]


def results(function: Callable[[Any], Any], inputs: list[Any]) -> list[Any]:
    """Results by input, None where the function is not defined there (such as the maximum of nothing)."""
    results = []
    for value in inputs:
        try:
            results.append(function(value))
        except (ValueError, IndexError, ZeroDivisionError, TypeError, KeyError):
            results.append(None)
    return results
