"""Proxies: the program's functions and objects as the tests see them, in the trusted process.

A test calls ``candidate(n=3)``; the proxy sends the request to the program's process (``channels``; ``servant`` answers
it) and hands back what it answered: plain data, what ``graph`` can make of more than that, or another proxy.
Nothing of the program's own is ever compared, here or there: a proxy equals nothing and has no order, or the program
would learn what is expected. Requests are marshalled, or pickled if they are more than plain data, for the program may
read anything that the tests send; answers are read as plain data.
Standard library only: the worker loads this file.
"""

from __future__ import annotations

import builtins
import io
import marshal
import pickle
import sys
import types
from collections.abc import Iterator
from typing import Any, NoReturn

from channels import TOO_LARGE, Channel, Gone
from frames import ERROR, GRAPH, LOAD, MARSHALLED, PICKLED, READY, SETUP, VALUE
from graph import Builder, mutables
from plain import NotPlain, decode
from recorder import TOLD

SLOW, UNTRANSPORTABLE = "slow", "untransportable"  # the tests took too long; a test passes what cannot be sent
NONSENSE = "the program's process sent what is no value"
DEPTH = 20_000  # of a request, such as a list of linked nodes: what the stack of 64 MB allows
TAKE = 1024  # items of an iterator fetched at once, at most
NAME = 80  # characters of a type's name


def handle(number: int) -> NoReturn:
    """Stands in requests for an object of the program's process, where its name is resolved otherwise."""
    raise NotImplementedError(number)


handle.__module__ = "__ledex__"
sys.modules[handle.__module__] = sys.modules[__name__]  # where pickle looks whether the name is right


class _Pickler(pickle.Pickler):
    """Sends proxies as the objects they stand for, and of the tests' own classes only those of the setup."""

    classes: dict[str, type]

    def reducer_override(self, value: object) -> Any:
        if isinstance(value, Remote):
            return handle, (value.__ledex__[1],)
        named = isinstance(value, (type, types.FunctionType)) and value.__module__ not in sys.stdlib_module_names
        if named and value is not handle and self.classes.get(value.__name__) is not value:
            raise TypeError(f"{value!r} is the test's own")
        return NotImplemented


class Link:
    """The tests' end of a channel to a program."""

    def __init__(self, channel: Channel, exact: bool) -> None:
        self.channel = channel
        self.end = channel.end
        self.exact = exact  # whether tests may pass bytearrays and the like, which marshal would make bytes
        self.classes: dict[str, type] = {}
        self._proxies: dict[int, Remote] = {}
        self._types: dict[str, type] = {}

    def start(self) -> tuple[bytes, bytes]:
        """The program's first frame: READY, or what went wrong before that."""
        kind, payload = self.channel.receive()
        if kind not in (READY, LOAD, SETUP):
            self.end(NONSENSE)
        return kind, payload

    def names(self, payload: bytes) -> tuple[dict[str, tuple], tuple | None]:
        """The program's names as READY describes them, and why there is no entry point, if so."""
        match self._plain(payload):
            case dict(found), (None | tuple()) as missing:
                return found, missing
        self.end(NONSENSE)

    def ask(self, operation: str, number: int, *arguments: object, **options: object) -> Any:
        """Have an operation done on an object of the program's; its value, or its exception."""
        if self.channel.gone:
            raise Gone
        request = (operation, number, arguments, options)
        try:
            message = self._pickled(request) if self.exact else MARSHALLED + marshal.dumps(request)
        except ValueError:  # more than plain data
            message = self._pickled(request)
        self.channel.send(message)
        kind, payload = self.channel.receive()
        if kind == VALUE:
            return self._plain(payload)
        if kind == GRAPH:
            proxies = set(map(id, self._proxies.values()))
            return self._built(payload, mutables((arguments, options), self.classes, proxies))
        if kind == ERROR:
            raise self.exception(self._plain(payload))
        self.end(NONSENSE)

    def exception(self, told: object) -> BaseException:
        """An exception of the program's as one of ours: of the nearest builtin class, described as it was there."""
        match told:
            case [str(name), str(message), int(line), str(function), list(bases), tuple(arguments)]:
                kind = self._exception_type(name[:NAME], bases)
                try:
                    error = kind.__new__(kind, *arguments)
                except Exception:  # classes such as UnicodeDecodeError insist on their arguments
                    error = self._type(name[:NAME], Exception)(message)
                error.__dict__[TOLD] = (name, message, line, function)
                return error
        self.end(NONSENSE)

    def proxy(self, number: int, kind: str) -> Remote:
        if number not in self._proxies:
            self._proxies[number] = self._type(kind[:NAME], Remote)(self, number)
        return self._proxies[number]

    def _exception_type(self, name: str, bases: list) -> type[BaseException]:
        if issubclass(self.classes.get(name, object), BaseException):
            return self.classes[name]
        for base in bases:
            found = getattr(builtins, base, None) if isinstance(base, str) else None
            if isinstance(found, type) and issubclass(found, BaseException):
                return found if base == name else self._type(name, found)
        return self._type(name, Exception)

    def _type(self, name: str, base: type) -> type:
        """A class of ours with the name of the program's class, for the texts of errors."""
        if base is Remote and name in _USUAL:
            return _USUAL[name]
        if (name, base) not in self._types:
            self._types[name, base] = type(name.replace("\0", "").encode("utf-8", "replace").decode(), (base,), {})
        return self._types[name, base]

    def _pickled(self, message: object) -> bytes:
        buffer = io.BytesIO()
        pickler = _Pickler(buffer, 5)
        pickler.classes = self.classes
        depth = sys.getrecursionlimit()
        sys.setrecursionlimit(DEPTH)
        try:
            pickler.dump(message)
        except (RecursionError, MemoryError):  # the program's own doing: values that are handed back to it
            self.end(TOO_LARGE)
        except Exception:  # pickle has no one error for what it cannot send, such as a function of the test's own
            self.end(UNTRANSPORTABLE)
        finally:
            sys.setrecursionlimit(depth)
        return PICKLED + buffer.getvalue()

    def _plain(self, payload: bytes) -> Any:
        try:
            return decode(payload)
        except NotPlain:
            self.end(NONSENSE)

    def _built(self, payload: bytes, originals: list[object]) -> Any:
        try:
            return Builder(self.proxy, self.classes).value(payload, originals)
        except NotPlain:
            self.end(NONSENSE)


class Remote:
    """An object of the program's, used from here."""

    def __init__(self, link: Link, number: int) -> None:
        object.__setattr__(self, "__ledex__", (link, number))

    def _ask(self, operation: str, *arguments: object, **options: object) -> Any:
        link, number = self.__ledex__
        return link.ask(operation, number, *arguments, **options)

    def __call__(self, *arguments: object, **options: object) -> Any:
        link, number = self.__ledex__
        return link.ask("call", number, *arguments, **options)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in ("__name__", "__doc__", "__dict__"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return self._ask("getattr", name)

    def __setattr__(self, name: str, value: object) -> None:
        self._ask("setattr", name, value)

    def __len__(self) -> int:
        return self._ask("len")

    def __getitem__(self, key: object) -> Any:
        return self._ask("getitem", key)

    def __setitem__(self, key: object, value: object) -> None:
        self._ask("setitem", key, value)

    def __iter__(self) -> Iterator[Any]:
        return _items(self._ask("iter"))

    def __next__(self) -> Any:
        (items, _, told) = self._ask("take", 1)
        if told is not None:
            raise self.__ledex__[0].exception(told)
        if not items:
            raise StopIteration
        return items[0]

    def __str__(self) -> str:
        return self._ask("str")

    def __repr__(self) -> str:
        return str(self._ask("show"))

    def __eq__(self, other: object) -> bool:
        return False

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        return bool(self._ask("bool"))


def _items(iterator: Any) -> Iterator[Any]:
    """The items of an iterator of the program's, fetched a few at first and then more at once."""
    if not isinstance(iterator, Remote):
        yield from iterator
        return
    link = iterator.__ledex__[0]
    count = 1
    while True:
        items, ended, told = iterator._ask("take", count)
        yield from items
        if told is not None:
            raise link.exception(told)
        if ended:
            return
        count = min(2 * count, TAKE)


_USUAL = {name: type(name, (Remote,), {}) for name in ("function", "method", "type", "generator", "object")}
