"""Builds values from object graphs (``graph``) in a trusted process; no byte of theirs is trusted."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from enum import Enum
from functools import lru_cache
from typing import Any

from .graph import BASES, CONTAINERS, attributes_of, slots_of
from .plain import NotPlain, decode
from .standard import build, standard_module, type_of_name
from .text import class_name

UNREADABLE = (
    TypeError, ValueError, LookupError, ArithmeticError, AttributeError, RecursionError, ImportError, OSError,
    MemoryError,
)  # fmt: skip
OF_PROGRAM = "__of_program__"  # attribute of the classes made here


class GraphDecoder:
    """Builds values from graphs.

    ``proxy`` makes a proxy for an object handle, the name of its type and whether that is a builtin one; ``exception``
    an exception from its payload. Without them, a graph has neither.
    """

    def __init__(self, proxy: Callable | None = None, exception: Callable | None = None, classes: dict | None = None):
        self.proxy = proxy
        self.exception = exception
        self.classes: dict[str, type] = classes or {}
        self.originals: list[object] = []
        self.table: list[tuple] = []
        self.objects: dict[int, object] = {}

    def value(self, data: bytes, originals: list[object]) -> object:
        """Build the value, and change ``originals`` as the call changed its arguments; raises NotPlain."""
        try:
            node, self.table, contents = decode(data)
            self.originals, self.objects = originals, {}
            for index in range(len(self.table)):  # one by one, so that a long chain does not recurse
                self._object(index)
            for index, entry in enumerate(self.table):
                self._fill(self.objects[index], entry)
            for original, content in zip(originals, contents or (), strict=contents is not None):
                self._replace(original, content)
            return self._build(node)
        except UNREADABLE as error:
            raise NotPlain(f"not an object graph: {error}") from None

    def _object(self, index: int) -> object:
        """An entry of the table, still empty if it can be changed."""
        if index not in self.objects:
            entry = self.table[index]
            self.objects[index] = None  # an entry that needs itself to be made is refused by its type
            match entry:
                case ("o", str(name), _):
                    self.objects[index] = object.__new__(self.classes[name])
                case ("[" | "{" as sign, _):
                    self.objects[index] = CONTAINERS[sign]()
                case (":", _):
                    self.objects[index] = {}
                case ("=", list() | dict() | set() as plain):
                    self.objects[index] = plain
                case _:
                    self.objects[index] = self._build(entry)
        return self.objects[index]

    def _fill(self, made: Any, entry: tuple) -> None:
        match entry:
            case ("o", _, attributes):
                self._set_attributes(made, attributes)
            case ("[", items):
                made.extend(map(self._build, items))
            case ("{", items):
                made.update(map(self._build, items))
            case (":", _):
                made.update(self._build(entry))

    def _build(self, node: tuple) -> Any:
        match node:
            case ("=", plain):
                return plain
            case ("[" | "(" | "{" | "f" as sign, items):
                return CONTAINERS[sign](map(self._build, items))
            case (":", pairs):
                return {self._build(key): self._build(value) for key, value in pairs}
            case ("m", int(index)):
                return self.originals[index]
            case ("o", int(index)) if 0 <= index < len(self.table):
                return self._object(index)
            case ("x", str(name), arguments):
                return build(name, self._build(arguments))
            case ("t", str(name)):
                return type_of_name(name)
            case ("n", str(name), tuple(fields), items):
                return named_tuple(name, fields)(*map(self._build, items))
            case ("e", str(module), str(kind), str(name)):
                return self._member(module, kind)[name]
            case ("!", payload) if self.exception is not None:
                return self.exception(payload)
            case ("s", str(name), str(sign), content):
                return self._subclass(name, BASES[sign], self._build(content))
            case ("h", int(handle), str(kind), bool(is_builtin)) if self.proxy is not None:
                return self.proxy(handle, kind, is_builtin)
        raise NotPlain("not a node")

    def _member(self, module: str, kind: str) -> Any:
        found = getattr(standard_module(module), kind) if module else self.classes[kind]
        if not isinstance(found, type) or not issubclass(found, Enum):
            raise NotPlain("not an enumeration")
        return found

    def _subclass(self, name: str, base: type, content: Any) -> object:
        kind = self.classes.get(name)
        if kind is None or not issubclass(kind, base):
            kind = subclass(name, base)
        made = base.__new__(kind, content)
        if base in (list, set, dict):
            base.__init__(made, content)
        return made

    def _replace(self, original: Any, content: tuple) -> None:
        """Give a mutable argument its new contents."""
        if content[0] == "=:":
            for name in attributes_of(original):
                object.__delattr__(original, name)
            self._set_attributes(original, content[1])
            return
        new = self._build(content)
        if isinstance(original, (dict, set)):
            original.clear()
            original.update(new)
        elif hasattr(original, "extend") and not isinstance(original, list):  # a deque, an array, a bytearray
            while original:
                original.pop()
            original.extend(new)
        else:  # a list, an array of numpy's
            original[... if hasattr(original, "dtype") else slice(None)] = new

    def _set_attributes(self, made: object, node: tuple) -> None:
        """Refuses special names, which would change what pickle or copy does with the object; raises NotPlain."""
        for name, value in self._build(node).items():
            if type(name) is not str or name.startswith("__"):
                raise NotPlain("special attributes")
            slot = next((base.__dict__[name] for base in type(made).__mro__ if name in slots_of(base)), None)
            if slot is None:
                made.__dict__[name] = value
            else:
                slot.__set__(made, value)


@lru_cache(maxsize=256)
def named_tuple(name: str, fields: tuple[str, ...]) -> type:
    """A named tuple's class; raises ValueError for what are no names."""
    made = namedtuple(name, fields)
    setattr(made, OF_PROGRAM, True)
    return made


@lru_cache(maxsize=256)
def subclass(name: str, base: type) -> type:
    """A class with a name of the program's that adds nothing to its base."""
    return type(class_name(name), (base,), {OF_PROGRAM: True})
