"""Standard types that cross between processes as themselves: how a value is taken apart, and put together again.

``parts`` runs in the program's process, on values of exactly these types. ``build`` runs in a trusted process and
trusts no part: no constructor gets what makes it run foreign code or ask for memory out of proportion.
"""

from __future__ import annotations

import builtins
import importlib
import math
import sys
from collections.abc import Callable
from typing import Any

from .plain import NotPlain

# Modules of the standard library that do something when they are imported, or that no value comes from.
MODULES_WITH_EFFECTS = frozenset((
    "antigravity", "this", "idlelib", "turtledemo", "turtle", "tkinter", "test", "__main__",
))  # fmt: skip
DATA_TYPES = frozenset((
    bool, bytearray, bytes, complex, dict, float, frozenset, int, list, object, range, set, slice, str, tuple,
    type(None),
))  # fmt: skip
_VIEWS = ("dict_keys", "dict_values", "dict_items")
_PATHS = ("PosixPath", "PurePosixPath", "PureWindowsPath")
_ARRAY_KINDS = "biufcSUmM?"  # of numpy's data types: no objects, no structures
_PARTS: dict[str, Callable[[Any], tuple]] = {
    "builtins.range": lambda v: (v.start, v.stop, v.step),
    "builtins.slice": lambda v: (v.start, v.stop, v.step),
    "builtins.bytearray": lambda v: (bytes(v),),
    "builtins.memoryview": lambda v: (v.tobytes(), v.format, v.shape, v.readonly),
    "builtins.NotImplementedType": lambda v: (),
    **{f"builtins.{name}": lambda v: (list(v),) for name in _VIEWS},
    "array.array": lambda v: (v.typecode, v.tobytes()),
    "collections.deque": lambda v: (list(v), v.maxlen),
    "collections.Counter": lambda v: (list(v.items()),),
    "collections.OrderedDict": lambda v: (list(v.items()),),
    "collections.defaultdict": lambda v: (v.default_factory, list(v.items())),
    "types.SimpleNamespace": lambda v: (list(vars(v).items()),),
    "datetime.date": lambda v: (v.year, v.month, v.day),
    "datetime.time": lambda v: (v.hour, v.minute, v.second, v.microsecond, v.tzinfo, v.fold),
    "datetime.datetime": lambda v: (
        v.year, v.month, v.day, v.hour, v.minute, v.second, v.microsecond, v.tzinfo, v.fold,
    ),
    "datetime.timedelta": lambda v: (v.days, v.seconds, v.microseconds),
    "datetime.timezone": lambda v: v.__getinitargs__(),
    "zoneinfo.ZoneInfo": lambda v: (v.key,),
    "decimal.Decimal": lambda v: (str(v),),
    "fractions.Fraction": lambda v: (v.numerator, v.denominator),
    "uuid.UUID": lambda v: (v.int,),
    **{f"pathlib.{name}": lambda v: (str(v),) for name in _PATHS},
}  # fmt: skip


def qualified_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def parts(value: object) -> tuple[str, tuple] | None:
    """The name of the value's standard type and what ``build`` makes an equal value of; None for other types."""
    kind = type(value)
    name = qualified_name(kind)
    if kind.__module__ == "numpy":
        return _numpy_parts(value, kind)
    return (name, _PARTS[name](value)) if name in _PARTS else None


def _numpy_parts(value: Any, kind: type) -> tuple[str, tuple] | None:
    numpy = sys.modules.get("numpy")
    if numpy is None or (kind is not numpy.ndarray and not isinstance(value, numpy.generic)):
        return None
    if value.dtype.kind in _ARRAY_KINDS:
        name = "numpy.array" if kind is numpy.ndarray else "numpy.scalar"
        return name, (value.dtype.str, value.shape, value.tobytes())
    return ("numpy.objects", (value.shape, list(value.flat))) if value.dtype.kind == "O" else None


def build(name: str, arguments: tuple) -> object:
    """The value; raises NotPlain, or what a constructor raises, for anything that ``parts`` does not return."""
    module, _, kind = name.rpartition(".")
    if module == "numpy":
        return _numpy_value(kind, arguments)
    if name not in _PARTS:
        raise NotPlain("not a standard type")
    if kind in _BUILDERS:
        return _BUILDERS[kind](*arguments)
    return getattr(importlib.import_module(module), kind)(*arguments)


def _typed(value: Any, *kinds: type) -> Any:
    if type(value) not in kinds:
        raise NotPlain(f"{type(value).__name__} where {kinds[0].__name__} belongs")
    return value


def _integers(make: Callable, *values: object) -> object:
    return make(*(_typed(value, int, type(None)) for value in values))


def _zone(key: str) -> object:
    from zoneinfo import ZoneInfo

    if not all(part.replace("-", "").replace("_", "").replace("+", "").isalnum() for part in key.split("/")):
        raise NotPlain("not the name of a time zone")
    return ZoneInfo(key)


def _memoryview(data: bytes, form: str, shape: tuple, readonly: bool) -> memoryview:
    view = memoryview(_typed(data, bytes) if readonly else bytearray(_typed(data, bytes)))
    return view.cast(form, shape) if (form, shape) != ("B", (len(data),)) else view


def _default_dict(factory: Any, pairs: list) -> object:
    from collections import defaultdict

    return defaultdict(factory, pairs)


def _array(typecode: str, data: bytes) -> object:
    from array import array

    return array(typecode, _typed(data, bytes))


def _counter(pairs: list) -> object:
    from collections import Counter

    return Counter(dict(pairs))


def _fraction(numerator: int, denominator: int) -> object:
    from fractions import Fraction

    return Fraction(_typed(numerator, int), _typed(denominator, int))


def _namespace(pairs: list) -> object:
    from types import SimpleNamespace

    return SimpleNamespace(**dict(pairs))


def _uuid(number: int) -> object:
    from uuid import UUID

    return UUID(int=_typed(number, int))


def _time_with_fold(kind: str) -> Callable:
    def make(*values: Any) -> object:
        import datetime

        return getattr(datetime, kind)(*values[:-1], fold=values[-1])

    return make


_BUILDERS: dict[str, Callable] = {
    "range": lambda *v: _integers(range, *v),
    "slice": slice,
    "bytearray": lambda data: bytearray(_typed(data, bytes)),
    "memoryview": _memoryview,
    "NotImplementedType": lambda: NotImplemented,
    "dict_keys": lambda items: dict.fromkeys(items).keys(),
    "dict_values": lambda items: dict(enumerate(items)).values(),
    "dict_items": lambda items: dict(items).items(),
    "array": _array,
    "Counter": _counter,
    "defaultdict": _default_dict,
    "SimpleNamespace": _namespace,
    "time": _time_with_fold("time"),
    "datetime": _time_with_fold("datetime"),
    "ZoneInfo": _zone,
    "Fraction": _fraction,
    "UUID": _uuid,
}


def _numpy_value(kind: str, arguments: tuple) -> object:
    try:
        import numpy
    except ImportError:
        raise NotPlain("numpy is not installed here") from None
    if kind == "objects":
        shape, items = arguments
        if math.prod(shape) != len(items):
            raise NotPlain("not as many items as the shape has")
        array = numpy.empty(shape, dtype=object)
        for place, item in enumerate(items):
            array.flat[place] = item
        return array
    form, shape, data = arguments
    dtype = numpy.dtype(_typed(form, str))
    if kind not in ("array", "scalar") or dtype.kind not in _ARRAY_KINDS:
        raise NotPlain("not an array of numbers or text")
    flat = numpy.frombuffer(bytearray(_typed(data, bytes)), dtype) if data else numpy.zeros(math.prod(shape), dtype)
    array = flat.reshape(shape)
    return array if kind == "array" else array[()]


def type_name(value: type) -> str | None:
    """The name under which a type itself crosses: plain and standard data types, and the builtin exceptions."""
    if value in DATA_TYPES or (value.__module__ == "builtins" and issubclass(value, BaseException)):
        return qualified_name(value)
    return name if (name := qualified_name(value)) in _PARTS else None


def type_of_name(name: str) -> type:
    """The type; raises NotPlain for any that does not cross."""
    module, _, kind = name.rpartition(".")
    if name == "builtins.NoneType":
        return type(None)
    found = getattr(builtins, kind, None) if module == "builtins" else None
    if name in _PARTS and module != "builtins":
        found = getattr(importlib.import_module(module), kind)
    if not isinstance(found, type) or type_name(found) != name:
        raise NotPlain("not a type that crosses")
    return found


def standard_module(name: str) -> Any:
    """A module of the standard library, imported now, or None: for another name, and for one with effects."""
    root = name.partition(".")[0]
    if root not in sys.stdlib_module_names or root in MODULES_WITH_EFFECTS:
        return None
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
