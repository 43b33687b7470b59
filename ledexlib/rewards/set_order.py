"""Sets of names whose order is the same in every process, for CodeBLEU's data flow.

The package codebleu takes the parents of a value from a Python set of names, whose order follows from the seed of the
process's string hashes: the data-flow part changed by up to 0.19 from process to process. Here names have the hashes
that CPython 3.11 and later give them under ``PYTHONHASHSEED=0`` (SipHash-1-3 with a zero key), and the package's own
functions run with such sets."""

import re
import struct
import types
from collections.abc import Callable, Collection, Iterable
from functools import lru_cache
from typing import Any

from codebleu.dataflow_match import get_data_flow as package_get_data_flow
from codebleu.parser import DFG_python
from tree_sitter import Node

MASK = 2**64 - 1
KEPT = 1 << 15  # names, and orders of names, that are remembered
FEW_LOOPS = 5  # with which the package's function needs no help


def _rotate(x: int, bits: int) -> int:
    return (x << bits | x >> (64 - bits)) & MASK


def _round(a: int, b: int, c: int, d: int) -> tuple[int, int, int, int]:
    for s, t in ((13, 16), (17, 21)):
        a, c = (a + b) & MASK, (c + d) & MASK
        b, d = _rotate(b, s) ^ a, _rotate(d, t) ^ c
        a, c = c, _rotate(a, 32)
    return a, b, c, d


@lru_cache(maxsize=KEPT)
def string_hash(text: str) -> int:
    """``hash(text)`` under ``PYTHONHASHSEED=0`` on a little-endian machine of 64 bits."""
    if not text:
        return 0
    widest = ord(max(text))
    encoding = "latin-1" if widest < 256 else "utf-16-le" if widest < 65536 else "utf-32-le"
    data = text.encode(encoding, "surrogatepass")
    data += bytes(7 - len(data) % 8) + bytes([len(data) & 255])
    a, b, c, d = 0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573
    for (word,) in struct.iter_unpack("<Q", data):
        a, b, c, d = _round(a, b, c, d ^ word)
        a ^= word
    c ^= 0xFF
    for _ in range(3):
        a, b, c, d = _round(a, b, c, d)
    found = a ^ b ^ c ^ d
    found -= (found >> 63) << 64  # signed
    return -2 if found == -1 else found  # -1 is CPython's sign of an error


class _Name(str):
    __slots__ = ()

    def __hash__(self) -> int:
        return string_hash(str(self))


@lru_cache(maxsize=KEPT)
def _ordered(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(str(name) for name in set(map(_Name, names)))


def ordered_set(items: Iterable[Any] = ()) -> Collection[Any]:
    """What ``set`` is to the package's functions: names each once in the order above, other things as a set."""
    items = tuple(items)
    return _ordered(items) if items and isinstance(items[0], str) else set(items)


def _with_globals(function: Callable, **changed: Any) -> Callable:
    """A copy of a function that sees other globals under these names."""
    return types.FunctionType(function.__code__, {**function.__globals__, **changed})


get_data_flow = _with_globals(package_get_data_flow, set=ordered_set)
package_follow = _with_globals(DFG_python, set=ordered_set)
package_follow.__globals__["DFG_python"] = package_follow  # its own, of this copy: it calls itself


def follower(code: str) -> Callable[[Node, dict, dict], tuple[list, dict]]:
    """The package's ``DFG_python``; for code with many loops, of which it walks the inner ones 2^depth times, a copy
    whose calls to itself remember what a loop gave in the same states."""
    if len(re.findall(r"\b(?:for|while)\b", code)) <= FEW_LOOPS:
        return package_follow
    known: dict[Any, tuple[list, dict]] = {}

    def remembering(node: Node, tokens: dict, states: dict) -> tuple[list, dict]:
        if node.type not in ("for_statement", "while_statement"):
            return follow(node, tokens, states)
        key = node.id, tuple((name, tuple(places)) for name, places in states.items())
        if key not in known:
            known[key] = follow(node, tokens, states)
        edges, after = known[key]
        return edges, dict(after)  # the caller may change the states

    follow = _with_globals(DFG_python, set=ordered_set, DFG_python=remembering)
    return remembering
