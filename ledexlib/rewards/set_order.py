"""Sets of names whose order is the same in every process, for CodeBLEU's data flow.

The package codebleu takes the parents of a value from a Python set of names, whose order follows from the seed of the
process's string hashes: the data-flow part changed by up to 0.19 from process to process. Here names have the hashes
that CPython 3.11 and later give them under ``PYTHONHASHSEED=0`` (SipHash-1-3 with a zero key), and the package's own
functions run with such sets.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Collection, Iterable
from functools import lru_cache
from typing import Any

from codebleu.dataflow_match import get_data_flow as package_get_data_flow
from codebleu.parser import DFG_python
from tree_sitter import Node

MASK = 2**64 - 1
KEPT = 1 << 15  # names, and orders of names, that are remembered
LOOPS = ("for_statement", "while_statement")
LOOP, MANY_LOOPS = re.compile(r"\b(?:for|while)\b"), 5  # beyond which the package's function needs help


def _rotate(x: int, bits: int) -> int:
    return (x << bits | x >> (64 - bits)) & MASK


def _half_round(a: int, b: int, c: int, d: int, s: int, t: int) -> tuple[int, int, int, int]:
    a, c = (a + b) & MASK, (c + d) & MASK
    return _rotate(a, 32), _rotate(b, s) ^ a, c, _rotate(d, t) ^ c


def _round(v0: int, v1: int, v2: int, v3: int) -> tuple[int, int, int, int]:
    v0, v1, v2, v3 = _half_round(v0, v1, v2, v3, 13, 16)
    v2, v1, v0, v3 = _half_round(v2, v1, v0, v3, 17, 21)
    return v0, v1, v2, v3


def string_hash(text: str) -> int:
    """``hash(text)`` under ``PYTHONHASHSEED=0`` on a little-endian machine of 64 bits."""
    if not text:
        return 0
    widest = ord(max(text))
    encoding = "latin-1" if widest < 256 else "utf-16-le" if widest < 65536 else "utf-32-le"
    data = text.encode(encoding, "surrogatepass")
    state = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)
    whole = len(data) - len(data) % 8
    words = [int.from_bytes(data[i : i + 8], "little") for i in range(0, whole, 8)]
    words.append((len(data) & 255) << 56 | int.from_bytes(data[whole:], "little"))
    for word in words:
        v0, v1, v2, v3 = _round(*state[:3], state[3] ^ word)
        state = v0 ^ word, v1, v2, v3
    state = state[0], state[1], state[2] ^ 0xFF, state[3]
    for _ in range(3):
        state = _round(*state)
    found = state[0] ^ state[1] ^ state[2] ^ state[3]
    found -= (found >> 63) << 64  # signed
    return -2 if found == -1 else found  # -1 is CPython's sign of an error


class _Name(str):
    """A string with the hash of ``string_hash``."""

    __slots__ = ("fixed",)

    def __hash__(self) -> int:
        return self.fixed


@lru_cache(maxsize=KEPT)
def _name(text: str) -> _Name:
    name = _Name(text)
    name.fixed = string_hash(text)
    return name


@lru_cache(maxsize=KEPT)
def _ordered(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(str(name) for name in set(map(_name, names)))


def ordered_set(items: Iterable[Any] = ()) -> Collection[Any]:
    """What ``set`` is to the package's functions: names each once in the order above, other things as a set."""
    items = tuple(items)
    return _ordered(items) if items and isinstance(items[0], str) else set(items)


def _with_globals(function: Callable, **changed: Any) -> Callable:
    """A copy of a function that sees other globals under these names."""
    return types.FunctionType(function.__code__, {**function.__globals__, **changed})


package_follow = _with_globals(DFG_python, set=ordered_set)
package_follow.__globals__["DFG_python"] = package_follow  # its own, of this copy: it calls itself
get_data_flow = _with_globals(package_get_data_flow, set=ordered_set)


def follower(code: str) -> Callable[[Node, dict, dict], tuple[list, dict]]:
    """The package's ``DFG_python``; for code with many loops, of which it walks the inner ones 2^depth times, a copy
    whose calls to itself remember what a loop gave in the same states."""
    if len(LOOP.findall(code)) <= MANY_LOOPS:
        return package_follow
    known: dict[Any, tuple[list, dict]] = {}

    def remembering(node: Node, tokens: dict, states: dict) -> tuple[list, dict]:
        if node.type not in LOOPS:
            return follow(node, tokens, states)
        key = node.id, tuple((name, tuple(places)) for name, places in states.items())
        if key not in known:
            known[key] = follow(node, tokens, states)
        edges, after = known[key]
        return edges, dict(after)  # the caller may change the states

    follow = _with_globals(package_follow, DFG_python=remembering)
    return remembering
