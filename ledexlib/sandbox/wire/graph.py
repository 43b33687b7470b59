"""Object graphs as plain data: values that are more than a tree of plain data, each part with its own type.

``encode_graph`` runs in the program's process, ``graph_decoder`` in a trusted one. That builds from a graph only: plain
data, standard types (``standard``), named tuples, members of enumerations, exceptions, objects of classes that the
problem's setup defines (its class, the program's attributes), references to the arguments of the call, and proxies for
everything else. A value of a program's own subclass of a plain type crosses as a value of a subclass that adds nothing.

A node is a tuple: ("=", plain value), ("[", nodes) and likewise "(", "{", "f" for tuples, sets and frozensets,
(":", pairs of nodes), ("m", index of a mutable argument), ("o", index in the table), ("x", standard type, node of its
parts), ("t", name of a type), ("n", name of a named tuple, its fields, nodes), ("e", module, enumeration, member),
("!", exception), ("s", name of a subclass, sign of its base, node), ("h", object handle, type). The table has what is
in more than one place, as nodes, and objects of the setup's classes: ("o", class, attributes).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from enum import Enum
from typing import Any

from .exceptions import describe_exception
from .plain import SCALARS, encode
from .protocol import GRAPH, OPAQUE, VALUE, FrameWriter
from .standard import parts, standard_module, type_name
from .text import short_repr

MAX_DEPTH = 150  # nested containers; each takes two levels of plain data
_SIGNS = {list: "[", tuple: "(", set: "{", frozenset: "f", dict: ":"}
CONTAINERS = {"[": list, "(": tuple, "{": set, "f": frozenset}
BASES = {**CONTAINERS, ":": dict, "i": int, "d": float, "j": complex, "u": str, "b": bytes}
_HELD: dict[str, Callable] = {  # by a value of a subclass, without its overloaded methods
    "[": lambda v: list(list.__iter__(v)), "(": lambda v: tuple(tuple.__iter__(v)), "{": lambda v: set(set.__iter__(v)),
    "f": lambda v: frozenset(frozenset.__iter__(v)), ":": lambda v: dict(dict.items(v)), "i": int.__index__,
    "d": float.__float__, "j": complex.__pos__, "u": lambda v: str.__getitem__(v, slice(None)),
    "b": lambda v: bytes.__getitem__(v, slice(None)),
}  # fmt: skip
_MUTABLE_STANDARD = frozenset((
    "builtins.bytearray", "array.array", "collections.deque", "collections.Counter", "collections.OrderedDict",
    "collections.defaultdict", "numpy.ndarray",
))  # fmt: skip


# Attributes that exceptions of Python's own keep elsewhere than in their dictionaries.
STRUCTURED = (
    "code", "errno", "strerror", "filename", "filename2", "name", "path", "value", "obj", "msg", "lineno", "offset",
    "text",
)  # fmt: skip


class Opaque(Exception):
    """A value that cannot cross, where no handle can stand for it; its argument is the name of its type."""


def slots_of(kind: type) -> list[str]:
    """The names of a class's slots, its bases' too."""
    found = []
    for base in kind.__mro__:
        slots = base.__dict__.get("__slots__", ())
        found += [slots] if isinstance(slots, str) else slots
    return [name for name in found if name not in ("__dict__", "__weakref__")]


def attributes_of(value: object) -> dict[str, object]:
    """What an object holds, in its dictionary and its slots."""
    found = dict(getattr(value, "__dict__", ()))
    for name in slots_of(type(value)):
        if hasattr(value, name):
            found[name] = getattr(value, name)
    return found


def mutable_objects(root: object, classes: Collection[str], skip: Collection[int]) -> list[object]:
    """List what can change inside a value, each once, in a fixed order: containers and objects of ``classes``.

    Both processes index the mutable arguments of a call by it. ``skip`` has the ``id`` of objects to leave out.
    """
    found: list[object] = []
    seen: set[int] = set(skip)
    todo = [root]
    while todo:
        value = todo.pop()
        kind = type(value)
        if kind in SCALARS or id(value) in seen:
            continue
        seen.add(id(value))
        items: Any = ()
        if kind is tuple or kind is list:
            items = value
        elif kind is dict:
            items = value.values()
        elif kind.__name__ in classes and not isinstance(value, Enum):
            items = attributes_of(value).values()
        elif kind is not set and f"{kind.__module__}.{kind.__qualname__}" not in _MUTABLE_STANDARD:
            continue
        if kind is not tuple:
            found.append(value)
        if not SCALARS.issuperset(map(type, items)):
            todo.extend(items)
    return found


def encode_graph(
    value: object, register: Callable[[object], int] | None, classes: Collection[str] = (),
    originals: Collection[object] = (), changed: bool = False,
) -> bytes:  # fmt: skip
    """Encode a value and, if ``changed``, the new contents of the call's mutable arguments ``originals``.

    ``register`` keeps an object that must stay in this process and returns its handle; without it, such an object
    raises Opaque.
    """
    encoder = _GraphEncoder(register, classes, originals)
    encoder.find_shared(value, originals if changed else ())
    node = encoder.node(value, MAX_DEPTH)
    contents = [encoder.content(original, MAX_DEPTH) for original in originals] if changed else None
    encoder.finish()
    data = encode((node, encoder.table, contents))
    if data is None:  # the graph cannot be encoded: one handle for all of it
        data = encode((encoder.handle_node(value), [], None))
    return data


def send_result(report: FrameWriter, index: int, value: object, comparison: str) -> None:
    """Report a call's result: as plain data, as a graph of what crosses, or as text.

    Compared as a set, any iterable will do, and may raise what it likes.
    """
    try:
        data, kind = encode(value), VALUE
        if data is None:
            data, kind = _crossing(value, comparison), GRAPH
    except Opaque:
        report.send_texts(OPAQUE, index, type(value).__name__, short_repr(value))
    else:
        report.send(kind, index, data)


def _crossing(value: object, comparison: str) -> bytes:
    try:
        return encode_graph(value, None)
    except Opaque:
        if comparison != "set":
            raise
        return encode_graph(list(value), None)


class _GraphEncoder:
    def __init__(self, register: Callable | None, classes: Collection[str], originals: Collection[object]) -> None:
        self.register = register
        self.classes = classes
        self.nodes = {id(original): ("m", index) for index, original in enumerate(originals)}
        self.shared: set[int] = set()  # the ids of what is in more than one place
        self.objects: list[object] = []
        self.table: list[tuple] = []

    def find_shared(self, *roots: object) -> None:
        todo, seen = list(roots), set()
        while todo:
            value = todo.pop()
            kind = type(value)
            if kind in SCALARS:
                continue
            if id(value) in seen:
                self.shared.add(id(value))
                continue
            if kind in _SIGNS:
                items = [*value.keys(), *value.values()] if kind is dict else value
            elif kind.__name__ in self.classes and not isinstance(value, Enum):
                items = attributes_of(value).values()
            else:
                continue
            seen.add(id(value))
            if not SCALARS.issuperset(map(type, items)):
                todo.extend(items)

    def node(self, value: object, depth: int) -> tuple:
        if type(value) in SCALARS:
            return ("=", value)
        return self.nodes.get(id(value)) or self.content(value, depth)

    def content(self, value: object, depth: int) -> tuple:
        """The node of the value's contents, even if it is a mutable argument."""
        kind = type(value)
        if depth == 0:
            return self.handle_node(value)
        if kind in _SIGNS:
            if id(value) in self.shared and id(value) not in self.nodes:
                return self.table_node(value)
            return self.container(value, depth)
        if isinstance(value, Enum):
            return self.member(value, kind)
        if kind.__name__ in self.classes and not isinstance(value, tuple(_SIGNS)):
            return ("=:", self.attributes(value)) if id(value) in self.nodes else self.table_node(value)
        if isinstance(value, type):
            name = type_name(value)
            return self.handle_node(value) if name is None else ("t", name)
        if (found := parts(value)) is not None:
            return ("x", found[0], self.container(found[1], depth))
        if isinstance(value, BaseException):
            return ("!", exception_payload(value))
        return self.subclass(value, kind, depth)

    def container(self, value: Any, depth: int) -> tuple:
        kind = type(value)
        if kind is dict:
            if SCALARS.issuperset(map(type, value)) and SCALARS.issuperset(map(type, value.values())):
                return ("=", value)
            return (":", [(self.node(k, depth - 1), self.node(v, depth - 1)) for k, v in value.items()])
        if SCALARS.issuperset(map(type, value)) and (kind in (list, tuple) or len(value) < 2):
            return ("=", value)
        return (_SIGNS[kind], [self.node(item, depth - 1) for item in value])  # a set in its own order

    def member(self, value: Any, kind: type) -> tuple:
        is_known = kind.__name__ in self.classes or standard_module(kind.__module__) is not None
        if not is_known or not isinstance(value._name_, str):
            return self.handle_node(value)
        return ("e", "" if kind.__name__ in self.classes else kind.__module__, kind.__qualname__, value._name_)

    def subclass(self, value: Any, kind: type, depth: int) -> tuple:
        """A named tuple, or another value of a subclass of a plain type."""
        sign = next((sign for sign, base in BASES.items() if isinstance(value, base)), None)
        if sign is None or not issubclass(kind, BASES[sign]):  # an object that only says that it is one
            return self.handle_node(value)
        held = _HELD[sign](value)
        fields = kind.__dict__.get("_fields") if sign == "(" else None
        if type(fields) is tuple and all(type(field) is str for field in fields) and len(fields) == len(held):
            return ("n", kind.__name__, fields, [self.node(item, depth - 1) for item in held])
        return ("s", kind.__name__, sign, self.node(held, depth))

    def attributes(self, value: object) -> tuple:
        """An object's attributes. Linked objects go to the table one by one, so that a long chain does not recurse."""
        return (":", [(("=", name), self.node(item, MAX_DEPTH - 1)) for name, item in attributes_of(value).items()])

    def table_node(self, value: object) -> tuple:
        self.nodes[id(value)] = ("o", len(self.objects))
        self.objects.append(value)
        return self.nodes[id(value)]

    def finish(self) -> None:
        for value in self.objects:  # grows while it is walked
            if type(value) in _SIGNS:
                self.table.append(self.container(value, MAX_DEPTH))
            else:
                self.table.append(("o", type(value).__name__, self.attributes(value)))

    def handle_node(self, value: object) -> tuple:
        if self.register is None:
            raise Opaque(type(value).__name__)
        kind = type(value)
        return ("h", self.register(value), kind.__name__, kind.__module__ == "builtins")


def exception_payload(error: BaseException, depth: int = 3) -> tuple:
    """An exception as the trusted side takes it, and those that caused it.

    Description; names of its classes that are Python's own, nearest first; arguments and attributes as a graph; cause.
    """
    bases = [
        (base.__module__, base.__qualname__) for base in type(error).__mro__
        if base.__module__.partition(".")[0] in sys.stdlib_module_names and base is not object
    ]  # fmt: skip
    own = {name: value for name in STRUCTURED if (value := getattr(error, name, None)) is not None}
    cause = error.__cause__
    return (
        *describe_exception(error)[:4],
        bases,
        _graph(error.args, ()),
        _graph({**own, **getattr(error, "__dict__", {})}, {}),
        exception_payload(cause, depth - 1) if depth and isinstance(cause, BaseException) else None,
    )


def _graph(value: object, otherwise: object) -> bytes:
    try:
        return encode_graph(value, None)
    except Opaque:
        return encode_graph(otherwise, None)
