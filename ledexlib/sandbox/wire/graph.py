"""Object graphs as plain data: what a call in ``proxy`` mode returns when it is more than plain data.

``encode_graph`` runs in the program's process, ``GraphDecoder`` in the worker. It builds from a graph only: plain data,
a few standard types, objects of classes that the problem's setup defines (its class, the program's attributes),
references to the arguments of the call, and proxies for everything else.

A node is a tuple: ("=", plain value), ("[", nodes) and likewise "(", "{", "f" for tuples, sets and frozensets,
(":", pairs of nodes), ("m", index of a mutable argument), ("o", index in the table of objects), ("x", standard type,
arguments), ("h", object handle, type).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection

from .plain import NotPlain, decode, encode

MAX_DEPTH = 150  # nested containers; each takes two levels of plain data
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


def mutable_objects(root: object, classes: Collection[str], skip: Collection[int]) -> list[object]:
    """List the lists, dictionaries, sets and objects of ``classes`` inside a value, each once, in a fixed order.

    Both processes index the mutable arguments of a call by it. ``skip`` has the ``id`` of objects to leave out.
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


def encode_graph(
    value: object, register: Callable[[object], int], classes: Collection[str], originals: list[object], changed: bool
) -> bytes:
    """Encode a value and, if ``changed``, the new contents of the call's mutable arguments ``originals``.

    ``register`` keeps an object that must stay in this process and returns its handle.
    """
    encoder = _GraphEncoder(register, classes, originals)
    node = encoder.node(value, MAX_DEPTH)
    contents = [encoder.content(original, MAX_DEPTH) for original in encoder.originals] if changed else None
    encoder.finish()
    data = encode((node, encoder.table, contents))
    if data is None:  # the graph cannot be encoded: send one handle for all of it
        data = encode((encoder.handle_node(value), [], None))
    return data


class _GraphEncoder:
    def __init__(self, register: Callable[[object], int], classes: Collection[str], originals: list[object]) -> None:
        self.register = register
        self.classes = classes
        self.originals = originals
        self.nodes = {id(original): ("m", index) for index, original in enumerate(originals)}
        self.objects: list[object] = []
        self.table: list[tuple[str, object]] = []

    def node(self, value: object, depth: int) -> tuple:
        return self.nodes.get(id(value)) or self.content(value, depth)

    def content(self, value: object, depth: int) -> tuple:
        """The node of the value's contents, even if it is a mutable argument."""
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
            return self.attributes(value) if id(value) in self.nodes else self.object_node(value)
        plain = encode(value)  # numbers and texts of subclasses
        if plain is not None:
            return ("=", decode(plain))
        standard = f"{kind.__module__}.{kind.__qualname__}"
        if standard in _STANDARD and encode(arguments := _STANDARD[standard](value)) is not None:
            return ("x", standard, arguments)
        return self.handle_node(value)

    def attributes(self, value: object) -> tuple:
        """An object's attributes. Linked objects go to the table one by one, so that a long chain does not recurse."""
        return (":", [(("=", name), self.node(item, MAX_DEPTH - 1)) for name, item in vars(value).items()])

    def object_node(self, value: object) -> tuple:
        self.nodes[id(value)] = ("o", len(self.objects))
        self.objects.append(value)
        return self.nodes[id(value)]

    def finish(self) -> None:
        for value in self.objects:  # grows while it is walked
            self.table.append((type(value).__name__, self.attributes(value)))

    def handle_node(self, value: object) -> tuple:
        return ("h", self.register(value), type(value).__name__)


class GraphDecoder:
    """Builds values from graphs; ``proxy`` makes a proxy for an object handle and the name of its type."""

    def __init__(self, proxy: Callable[[int, str], object], classes: dict[str, type]) -> None:
        self.proxy = proxy
        self.classes = classes
        self.originals: list[object] = []
        self.objects: list[object] = []

    def value(self, data: bytes, originals: list[object]) -> object:
        """Build the value, and change ``originals`` as the call changed its arguments; raises NotPlain."""
        try:
            node, table, contents = decode(data)
            self.originals = originals
            self.objects = [object.__new__(self.classes[name]) for name, _ in table]
            for made, (_, attributes) in zip(self.objects, table, strict=True):
                vars(made).update(_without_special_names(self._build(attributes)))
            for original, content in zip(self.originals, contents or (), strict=contents is not None):
                self._replace(original, self._build(content))
            return self._build(node)
        except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError, RecursionError) as error:
            raise NotPlain(f"not an object graph: {error}") from None

    def _build(self, node: tuple) -> object:
        match node:
            case ("=", plain):
                return plain
            case ("[" | "(" | "{" | "f" as sign, items):
                return _CONTAINERS[sign](map(self._build, items))
            case (":", pairs):
                return {self._build(key): self._build(value) for key, value in pairs}
            case ("m", int(index)):
                return self.originals[index]
            case ("o", int(index)):
                return self.objects[index]
            case ("x", str(name), arguments) if name in _STANDARD:
                module, _, kind = name.rpartition(".")
                return getattr(importlib.import_module(module), kind)(*arguments)
            case ("h", int(handle), str(kind)):
                return self.proxy(handle, kind)
        raise NotPlain("not a node")

    @staticmethod
    def _replace(original: object, content: object) -> None:
        if isinstance(original, list):
            original[:] = list(content)
        elif isinstance(original, (dict, set)):
            original.clear()
            original.update(content)
        else:
            vars(original).clear()
            vars(original).update(_without_special_names(content))


def _without_special_names(attributes: dict) -> dict:
    """Refuse special names, which would change what pickle or copy does with the object; raises NotPlain."""
    if any(str(name).startswith("__") for name in attributes):
        raise NotPlain("special attributes")
    return attributes
