"""Proxies: the program's functions and objects as the tests see them.

A test calls ``candidate(n=3)``; the proxy sends the request to the program's process, whose ``RequestHandler`` answers
it, and returns the value: plain data, what ``GraphDecoder`` builds from an object graph, or another proxy. Objects of
the program are never compared, in either process: a proxy equals nothing and has no order, or the program would learn
what is expected. Requests are marshalled, or pickled if they are more than plain data, for the program may read
anything that the tests send; answers are read as plain data.
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

from ..wire.exceptions import REMOTE_DESCRIPTION
from ..wire.graph import GraphDecoder, mutable_objects
from ..wire.plain import NotPlain, decode
from ..wire.protocol import (
    ERROR,
    GRAPH,
    LOAD,
    MARSHALLED,
    PICKLED,
    READY,
    REQUEST_MODULE,
    SETUP,
    TOO_LARGE,
    UNTRANSPORTABLE,
    VALUE,
)  # fmt: skip
from .channels import Channel, ChannelClosed

INVALID_ANSWER = "the program's process sent an invalid answer"
REQUEST_DEPTH = 20_000  # of pickle's recursion, for a list of linked nodes: what the stack of 64 MB allows
MAX_TAKE = 1024  # items of an iterator fetched at once
NAME_CHARS = 80  # of a type's name


def object_handle(handle: int) -> NoReturn:
    """Stands in pickled requests for an object of the program's process, which resolves this name to its objects."""
    raise NotImplementedError(handle)


object_handle.__module__ = REQUEST_MODULE
sys.modules[REQUEST_MODULE] = sys.modules[__name__]  # where pickle checks the name


class _RequestPickler(pickle.Pickler):
    """Sends proxies as object handles, and of the tests' own classes only those that the setup defines."""

    classes: dict[str, type]

    def reducer_override(self, value: object) -> Any:
        if isinstance(value, Proxy):
            return object_handle, (value.__remote__[1],)
        named = isinstance(value, (type, types.FunctionType)) and value.__module__ not in sys.stdlib_module_names
        if named and value is not object_handle and self.classes.get(value.__name__) is not value:
            raise TypeError(f"{value!r} is the test's own")
        return NotImplemented


class ProgramClient:
    """Sends the proxies' requests down a channel and reads the program's answers.

    ``always_pickle`` is for tests that may pass bytearrays and the like, which ``marshal`` would turn into bytes.
    """

    def __init__(self, channel: Channel, always_pickle: bool) -> None:
        self.channel = channel
        self.close = channel.close
        self.always_pickle = always_pickle
        self.classes: dict[str, type] = {}
        self._proxies: dict[int, Proxy] = {}
        self._types: dict[str, type] = {}

    def start(self) -> tuple[bytes, bytes]:
        """The program's first frame: READY, or what went wrong before that."""
        kind, payload = self.channel.receive()
        if kind not in (READY, LOAD, SETUP):
            self.close(INVALID_ANSWER)
        return kind, payload

    def read_names(self, payload: bytes) -> tuple[dict[str, tuple], tuple | None]:
        """The program's global names from READY's payload, and the exception if there is no entry point."""
        match self._plain(payload):
            case dict(found), (None | tuple()) as missing:
                return found, missing
        self.close(INVALID_ANSWER)

    def request(self, operation: str, handle: int, *arguments: object, **options: object) -> Any:
        """Have an operation done on one of the program's objects; return its value or raise its exception."""
        if self.channel.closed:
            raise ChannelClosed
        request = (operation, handle, arguments, options)
        try:
            message = self._pickled(request) if self.always_pickle else MARSHALLED + marshal.dumps(request)
        except ValueError:  # more than plain data
            message = self._pickled(request)
        self.channel.send(message)
        kind, payload = self.channel.receive()
        if kind == VALUE:
            return self._plain(payload)
        if kind == GRAPH:
            proxies = set(map(id, self._proxies.values()))
            return self._built(payload, mutable_objects((arguments, options), self.classes, proxies))
        if kind == ERROR:
            raise self.exception(self._plain(payload))
        self.close(INVALID_ANSWER)

    def exception(self, payload: object) -> BaseException:
        """An exception of the program as one of ours: of the nearest builtin class, with the program's description."""
        match payload:
            case [str(name), str(message), int(line), str(function), list(bases), tuple(arguments)]:
                kind = self._exception_type(name[:NAME_CHARS], bases)
                try:
                    error = kind.__new__(kind, *arguments)
                except Exception:  # classes such as UnicodeDecodeError check their arguments
                    error = self._type(name[:NAME_CHARS], Exception)(message)
                error.__dict__[REMOTE_DESCRIPTION] = (name, message, line, function)
                return error
        self.close(INVALID_ANSWER)

    def proxy(self, handle: int, kind: str) -> Proxy:
        if handle not in self._proxies:
            self._proxies[handle] = self._type(kind[:NAME_CHARS], Proxy)(self, handle)
        return self._proxies[handle]

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
        if base is Proxy and name in _COMMON_TYPES:
            return _COMMON_TYPES[name]
        if (name, base) not in self._types:
            self._types[name, base] = type(name.replace("\0", "").encode("utf-8", "replace").decode(), (base,), {})
        return self._types[name, base]

    def _pickled(self, request: object) -> bytes:
        buffer = io.BytesIO()
        pickler = _RequestPickler(buffer, 5)
        pickler.classes = self.classes
        depth = sys.getrecursionlimit()
        sys.setrecursionlimit(REQUEST_DEPTH)
        try:
            pickler.dump(request)
        except (RecursionError, MemoryError):  # the program's own doing: its values are sent back to it
            self.close(TOO_LARGE)
        except Exception:  # pickle has no one error for what it cannot send, such as a function of the test's own
            self.close(UNTRANSPORTABLE)
        finally:
            sys.setrecursionlimit(depth)
        return PICKLED + buffer.getvalue()

    def _plain(self, payload: bytes) -> Any:
        try:
            return decode(payload)
        except NotPlain:
            self.close(INVALID_ANSWER)

    def _built(self, payload: bytes, originals: list[object]) -> Any:
        try:
            return GraphDecoder(self.proxy, self.classes).value(payload, originals)
        except NotPlain:
            self.close(INVALID_ANSWER)


class Proxy:
    """An object of the program's process; ``__remote__`` has the client and the object's handle."""

    def __init__(self, client: ProgramClient, handle: int) -> None:
        object.__setattr__(self, "__remote__", (client, handle))

    def _request(self, operation: str, *arguments: object) -> Any:
        client, handle = self.__remote__
        return client.request(operation, handle, *arguments)

    def __call__(self, *arguments: object, **options: object) -> Any:
        client, handle = self.__remote__
        return client.request("call", handle, *arguments, **options)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in ("__name__", "__doc__", "__dict__"):
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
        return _items(self._request("iter"))

    def __next__(self) -> Any:
        (items, _, error) = self._request("take", 1)
        if error is not None:
            raise self.__remote__[0].exception(error)
        if not items:
            raise StopIteration
        return items[0]

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


def _items(iterator: Any) -> Iterator[Any]:
    """The items of an iterator of the program, fetched in batches that grow."""
    if not isinstance(iterator, Proxy):
        yield from iterator
        return
    client = iterator.__remote__[0]
    count = 1
    while True:
        items, ended, error = iterator._request("take", count)
        yield from items
        if error is not None:
            raise client.exception(error)
        if ended:
            return
        count = min(2 * count, MAX_TAKE)


_COMMON_TYPES = {name: type(name, (Proxy,), {}) for name in ("function", "method", "type", "generator", "object")}
