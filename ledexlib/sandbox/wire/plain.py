"""Plain data between processes: None, bool, int, float, complex, str, bytes, Ellipsis, and the builtin containers.

``encode`` runs in the program's process and takes values of exactly these types, in a tree: all else goes as an object
graph (``graph``), with its type. ``decode`` runs in a trusted process and trusts no byte: it builds these types only,
and checks every length against the bytes that are there, so that a short message cannot ask for much memory or time.
The format is ``marshal``'s, version 2. ``marshal`` writes it at C speed, with sets in a stable order, so that equal
bytes mean equal values. The code below reads it, because ``marshal.loads`` is unsafe on hostile bytes. Keys crafted to
share a hash are refused: a table of them would take quadratic time.
"""

from __future__ import annotations

import marshal
import struct
from collections.abc import Iterable, Iterator

VERSION = 2
MAX_DEPTH = 400  # nested containers
MAX_CONTAINERS = 2_000_000  # in one value: each takes a microsecond and 60 bytes or more, however short it is
FEW = 1000  # items: fewer are read one by one, and their hashes are not checked
MAX_PER_HASH = 4  # items that share a hash, on average
SCALARS = frozenset((type(None), bool, int, float, complex, str, bytes, type(...)))
_CONTAINERS = {ord("("): tuple, ord("["): list, ord("<"): set, ord(">"): frozenset}
INT, LIST, TUPLE, DICT = ord("i"), ord("["), ord("("), ord("{")
_RUNS = {INT: struct.Struct("<xi"), ord("g"): struct.Struct("<xd")}
_CONSTANTS = {ord("N"): None, ord("T"): True, ord("F"): False, ord("."): ...}


def refuse_collisions(items: list) -> list:
    """Return the hashable items; raise NotPlain if so many share a hash that a table of them is slow to build."""
    if len(items) > FEW and MAX_PER_HASH * len(set(map(hash, items))) < len(items):
        raise NotPlain("items made to collide in a hash table")
    return items


class NotPlain(ValueError):
    """Bytes that are not plain data."""


def encode(value: object, exactly: bool = False, elsewhere: Iterable[object] = ()) -> bytes | None:
    """The value's bytes, or None if it is not plain data in a tree.

    ``exactly``: what has an order of iteration or more than one place must keep that, so that sets, and lists and
    dictionaries in two places, are no plain data; ``elsewhere`` has objects that are in one place already.
    """
    if type(value) not in SCALARS and not _is_tree(value, exactly, set(map(id, elsewhere))):
        return None
    try:
        return marshal.dumps(value, VERSION)
    except ValueError:  # nested too deeply
        return None


def _is_tree(root: object, exactly: bool, seen: set[int]) -> bool:
    """Whether a container holds plain data of exact types only, and not much of it in more than one place.

    ``marshal`` takes more (arrays and numpy's scalars as bytes, code), and writes what is shared once for each place:
    containers that refer to each other without end, or exponentially often.
    """
    todo, visits = [root], 0
    while todo:
        value = todo.pop()
        kind = type(value)
        visits += 1
        if exactly and id(value) in seen and kind is not tuple and kind is not frozenset:
            return False
        seen.add(id(value))
        if kind is list or kind is tuple:
            items = value
        elif kind is dict:
            if not SCALARS.issuperset(map(type, value)):
                todo += [key for key in value if type(key) not in SCALARS]
            items = value.values()
        elif kind is set or kind is frozenset:
            if exactly and len(value) > 1:
                return False
            items = value
        else:
            return False
        if not SCALARS.issuperset(map(type, items)):
            todo += [item for item in items if type(item) not in SCALARS]
            if visits > 1000 + 8 * len(seen):
                return False
    return True


def decode(data: bytes) -> object:
    """Return the value that ``encode`` wrote; raise NotPlain for anything else."""
    reader = _Reader(data)
    try:
        value = reader.value(MAX_DEPTH)
    except (IndexError, struct.error, UnicodeDecodeError, TypeError, OverflowError, RecursionError) as error:
        raise NotPlain(str(error)) from None
    if reader.at != len(data):
        raise NotPlain(f"{len(data) - reader.at} bytes too many")
    return value


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.containers = MAX_CONTAINERS

    def take(self, count: int) -> bytes:
        if not 0 <= count <= len(self.data) - self.at:
            raise NotPlain("a length beyond the end")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self) -> int:
        return struct.unpack("<i", self.take(4))[0]

    def value(self, depth: int) -> object:
        if depth < 0:
            raise NotPlain("nested too deeply")
        tag = self.data[self.at]
        self.at += 1
        if tag == INT:
            return self.number()
        if tag in _CONSTANTS:
            return _CONSTANTS[tag]
        if tag in _CONTAINERS or tag == DICT:
            self.containers -= 1
            if self.containers < 0:
                raise NotPlain("too many containers")
            return self.container(tag, depth)
        match chr(tag):
            case "g":
                return struct.unpack("<d", self.take(8))[0]
            case "u":
                return self.take(self.number()).decode("utf-8", "surrogatepass")
            case "s":
                return self.take(self.number())
            case "l":
                return self.long()
            case "y":
                return complex(*struct.unpack("<dd", self.take(16)))
        raise NotPlain(f"unknown tag {tag}")

    def container(self, tag: int, depth: int) -> object:
        if tag == DICT:
            pairs = list(self.pairs(depth))
            refuse_collisions([key for key, _ in pairs])
            return dict(pairs)
        count = self.number()
        if not 0 <= count <= len(self.data) - self.at:  # an item takes at least a byte
            raise NotPlain("more items than bytes")
        items = self.run(count) if count > FEW else None
        if items is None:
            items = [self.value(depth - 1) for _ in range(count)]
        if tag == LIST:
            return items
        return _CONTAINERS[tag](items if tag == TUPLE else refuse_collisions(items))

    def run(self, count: int) -> list | None:
        """Read ``count`` numbers of one kind at once; None if something else follows."""
        for tag, form in _RUNS.items():
            end = self.at + count * form.size
            if self.data[self.at : end : form.size] == bytes([tag]) * count and end <= len(self.data):
                items = [item for (item,) in form.iter_unpack(memoryview(self.data)[self.at : end])]
                self.at = end
                return items
        return None

    def pairs(self, depth: int) -> Iterator[tuple[object, object]]:
        while self.data[self.at] != ord("0"):
            yield self.value(depth - 1), self.value(depth - 1)
        self.at += 1

    def long(self) -> int:
        """Read an integer of more than 32 bits: the signed number of its 15-bit digits, then the digits."""
        size = self.number()
        digits = struct.unpack(f"<{abs(size)}H", self.take(2 * abs(size)))
        magnitude = int("".join(format(digit & 0x7FFF, "015b") for digit in reversed(digits)) or "0", 2)
        return -magnitude if size < 0 else magnitude
