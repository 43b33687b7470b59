"""Proxies: the program's functions and objects as the tests see them.

A test calls ``candidate(n=3)``; the proxy sends the request to the program's process (``client``) and returns the
value. Objects of the program are never compared, in either process: a proxy equals nothing and has no order, or the
program would learn what is expected.
"""

from __future__ import annotations

import types
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ..wire.text import class_name

MAX_TAKE = 1024  # items of an iterator fetched at once
FUNCTION_ATTRIBUTES = frozenset((
    "__name__", "__qualname__", "__doc__", "__dict__", "__module__", "__defaults__", "__kwdefaults__",
    "__annotations__", "__wrapped__", "__code__", "__self__", "__func__",
))  # fmt: skip
_TYPES = {  # of Python's own that tests look for
    "function": types.FunctionType, "method": types.MethodType, "generator": types.GeneratorType,
    "coroutine": types.CoroutineType, "async_generator": types.AsyncGeneratorType,
    "builtin_function_or_method": types.BuiltinFunctionType, "type": type, "map": map, "filter": filter, "zip": zip,
    "enumerate": enumerate, "reversed": reversed, "code": types.CodeType, "module": types.ModuleType,
}  # fmt: skip


class Proxy:
    """An object of the program's process; ``__remote__`` has the client and the object's handle."""

    def __init__(self, client: Any, handle: int) -> None:
        object.__setattr__(self, "__remote__", (client, handle))
        object.__setattr__(self, "__fetched__", deque())  # items that no test has taken

    def _request(self, operation: str, *arguments: object) -> Any:
        client, handle = self.__remote__
        return client.request(operation, handle, *arguments)

    def __call__(self, *arguments: object, **options: object) -> Any:
        client, handle = self.__remote__
        return client.request("call", handle, *arguments, **options)

    def __getattr__(self, name: str) -> Any:
        if name == "__signature__":
            return _signature(self._request("signature"))
        if name.startswith("__") and name not in FUNCTION_ATTRIBUTES:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return self._request("getattr", name)

    def __setattr__(self, name: str, value: object) -> None:
        self._request("setattr", name, value)

    def __len__(self) -> int:
        return self._request("len")

    def __getitem__(self, key: object) -> Any:
        return self._request("getitem", key)

    def __setitem__(self, key: object, value: object) -> None:
        self._request("setitem", key, value)

    def __iter__(self) -> Iterator[Any]:
        iterator = self._request("iter")
        return _items(iterator) if isinstance(iterator, Proxy) else iter(iterator)

    def __next__(self) -> Any:
        if not self.__fetched__ and not self._fetch(1):
            raise StopIteration
        item = self.__fetched__.popleft()
        if isinstance(item, _Raised):
            raise self.__remote__[0].exception(item.payload)
        return item

    def _fetch(self, count: int) -> bool:
        """Fetch items of an iterator; return whether there was anything."""
        match self._request("take", count):
            case [list(items), error]:
                self.__fetched__.extend(items)
                if error is not None:
                    self.__fetched__.append(_Raised(error))
                return bool(self.__fetched__)
        self.__remote__[0].close("the program's process sent an invalid answer")

    def __copy__(self) -> Any:
        return self._request("copy")

    def __deepcopy__(self, _: dict) -> Any:
        return self._request("deepcopy")

    def __str__(self) -> str:
        return self._request("str")

    def __repr__(self) -> str:
        return str(self._request("repr"))

    def __eq__(self, other: object) -> bool:
        return False

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        return bool(self._request("bool"))


@dataclass
class _Raised:
    """An exception that an iterator raised instead of an item."""

    payload: object


def _items(iterator: Proxy) -> Iterator[Any]:
    """The items of an iterator of the program, fetched in batches that grow."""
    count = 1
    while iterator.__fetched__ or iterator._fetch(count):
        count = min(2 * count, MAX_TAKE)
        while iterator.__fetched__:
            yield next(iterator)


def _signature(parameters: list) -> Any:
    import inspect

    made = []
    for name, kind, has_default, default in parameters:
        default = default if has_default else inspect.Parameter.empty
        made.append(inspect.Parameter(name, inspect._ParameterKind(kind), default=default))
    return inspect.Signature(made)


def _forwarded(name: str) -> property:
    """An attribute of the program's object that every object of ours has too."""
    return property(lambda proxy: proxy._request("getattr", name))


@lru_cache(maxsize=1024)
def proxy_type(name: str, is_builtin: bool) -> type[Proxy]:
    """A class with the name of the program's class, for the texts of errors; ``isinstance`` knows Python's own."""
    known = _TYPES.get(name) if is_builtin else None
    members = {name: _forwarded(name) for name in ("__doc__", "__module__")}
    if known is not None:
        members["__class__"] = property(lambda _: known)
    return type(class_name(name), (Proxy,), members)
