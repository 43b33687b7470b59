"""Values that are more than plain data, described as plain data, on their way out of a program's process.

Used in proxy mode (see ``remote``). ``describe`` runs in the program's process, ``Builder`` in the trusted one, which
makes of a description only: plain data, a few standard types, objects of classes that the problem's own setup defines
(its class, the program's attributes), references to the arguments of the call, and proxies for everything else.

A node is a tuple: ("=", plain value), ("[", nodes) and likewise "(", "{", "f" for tuples, sets and frozensets,
(":", pairs of nodes), ("m", number of an argument's container), ("o", number in the table of objects), ("x", standard
type, arguments), ("h", number of a handle, type). Standard library only: the worker loads this file.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection

from plain import NotPlain, decode, encode

DEPTH = 150  # of nested containers; a node of a container takes two levels of plain data
_SCALARS = frozenset((type(None), bool, int, float, complex, str, bytes))
_CONTAINERS = {"[": list, "(": tuple, "{": set, "f": frozenset}
_STANDARD: dict[str, Callable] = {
    "builtins.range": lambda v: (v.start, v.stop, v.step),
    "collections.deque": lambda v: (list(v), v.maxlen),
    "datetime.date": lambda v: (v.year, v.month, v.day),
    "datetime.datetime": lambda v: (v.year, v.month, v.day, v.hour, v.minute, v.second, v.microsecond),
    "datetime.timedelta": lambda v: (v.days, v.seconds, v.microseconds),
    "decimal.Decimal": lambda v: (str(v),),
    "fractions.Fraction": lambda v: (v.numerator, v.denominator),
}


def mutables(root: object, classes: Collection[str], skip: Collection[int] = ()) -> list[object]:
    """The lists, dictionaries, sets and objects of ``classes`` inside a value, each once, in a fixed order.

    Both sides number the containers of a call's arguments so. ``skip`` has the identities of objects to leave out.
    """
    found: list[object] = []
    seen: set[int] = set(skip)
    todo = [root]
    while todo:
        value = todo.pop()
        kind = type(value)
        if kind in _SCALARS or id(value) in seen:
            continue
        seen.add(id(value))
        if kind is tuple or kind is list:
            items = value
        elif kind is dict:
            items = value.values()
        elif kind.__name__ in classes and hasattr(value, "__dict__"):
            items = vars(value).values()
        else:
            items = ()
            if kind is not set:
                continue
        if kind is not tuple:
            found.append(value)
        if not _SCALARS.issuperset(map(type, items)):
            todo.extend(items)
    return found


def describe(
    value: object,
    handle: Callable[[object], int],
    classes: Collection[str] = (),
    originals: list[object] | None = None,
    changed: bool = False,
) -> bytes:
    """A value, and if ``changed`` the new contents of the arguments' containers ``originals``, as bytes.

    ``handle`` keeps an object that must stay in this process and returns its number.
    """
    writer = _Writer(handle, classes, originals or [])
    node = writer.node(value, DEPTH)
    contents = [writer.content(original, DEPTH) for original in writer.originals] if changed else None
    writer.finish()
    data = encode((node, writer.table, contents))
    if data is None:  # what the program made of itself cannot be described: one handle for all of it
        data = encode((writer.handle_node(value), [], None))
    return data


class _Writer:
    def __init__(self, handle: Callable[[object], int], classes: Collection[str], originals: list[object]) -> None:
        self.handle = handle
        self.classes = classes
        self.originals = originals
        self.numbers = {id(original): ("m", number) for number, original in enumerate(originals)}
        self.objects: list[object] = []
        self.table: list[tuple[str, object]] = []

    def node(self, value: object, depth: int) -> tuple:
        return self.numbers.get(id(value)) or self.content(value, depth)

    def content(self, value: object, depth: int) -> tuple:
        """The value itself, were it an argument's container or not."""
        kind = type(value)
        if kind in _SCALARS:
            return ("=", value)
        if depth == 0:
            return self.handle_node(value)
        for sign, base in _CONTAINERS.items():
            if isinstance(value, base):
                items = list(base.__iter__(value))
                if _SCALARS.issuperset(map(type, items)):
                    return ("=", base(items))
                return (sign, [self.node(item, depth - 1) for item in items])
        if isinstance(value, dict):
            return (":", [(self.node(k, depth - 1), self.node(v, depth - 1)) for k, v in dict.items(value)])
        if kind.__name__ in self.classes and isinstance(getattr(value, "__dict__", None), dict):
            return self.attributes(value) if id(value) in self.numbers else self.object_node(value)
        plain = encode(value)  # numbers and texts of subclasses
        if plain is not None:
            return ("=", decode(plain))
        standard = f"{kind.__module__}.{kind.__qualname__}"
        if standard in _STANDARD and encode(arguments := _STANDARD[standard](value)) is not None:
            return ("x", standard, arguments)
        return self.handle_node(value)

    def attributes(self, value: object) -> tuple:
        """An object's attributes. Objects hang together in chains, so they go to the table one after the other."""
        return (":", [(("=", name), self.node(item, DEPTH - 1)) for name, item in vars(value).items()])

    def object_node(self, value: object) -> tuple:
        self.numbers[id(value)] = ("o", len(self.objects))
        self.objects.append(value)
        return self.numbers[id(value)]

    def finish(self) -> None:
        for value in self.objects:  # grows while it is walked
            self.table.append((type(value).__name__, self.attributes(value)))

    def handle_node(self, value: object) -> tuple:
        return ("h", self.handle(value), type(value).__name__)


class Builder:
    """Makes values of descriptions; ``proxy`` makes one of a handle's number and type."""

    def __init__(self, proxy: Callable[[int, str], object], classes: dict[str, type]) -> None:
        self.proxy = proxy
        self.classes = classes
        self.originals: list[object] = []
        self.objects: list[object] = []

    def value(self, data: bytes, originals: list[object]) -> object:
        """The value described; ``originals`` that were changed there are changed here. Raises NotPlain."""
        try:
            node, table, contents = decode(data)
            self.originals = originals
            self.objects = [object.__new__(self.classes[name]) for name, _ in table]
            for made, (_, attributes) in zip(self.objects, table, strict=True):
                vars(made).update(_harmless(self._build(attributes)))
            for original, content in zip(self.originals, contents or (), strict=contents is not None):
                self._replace(original, self._build(content))
            return self._build(node)
        except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError, RecursionError) as error:
            raise NotPlain(f"what the program answered is no value: {error}") from None

    def _build(self, node: tuple) -> object:
        match node:
            case ("=", plain):
                return plain
            case ("[" | "(" | "{" | "f" as sign, items):
                return _CONTAINERS[sign](map(self._build, items))
            case (":", pairs):
                return {self._build(key): self._build(value) for key, value in pairs}
            case ("m", int(number)):
                return self.originals[number]
            case ("o", int(number)):
                return self.objects[number]
            case ("x", str(name), arguments) if name in _STANDARD:
                module, _, kind = name.rpartition(".")
                return getattr(importlib.import_module(module), kind)(*arguments)
            case ("h", int(number), str(kind)):
                return self.proxy(number, kind)
        raise NotPlain("no node")

    @staticmethod
    def _replace(original: object, content: object) -> None:
        if isinstance(original, list):
            original[:] = list(content)
        elif isinstance(original, (dict, set)):
            original.clear()
            original.update(content)
        else:
            vars(original).clear()
            vars(original).update(_harmless(content))


def _harmless(attributes: dict) -> dict:
    """Attributes without special names, which would change what pickle or copy does with the object."""
    if any(str(name).startswith("__") for name in attributes):
        raise NotPlain("special attributes")
    return attributes
