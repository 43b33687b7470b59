"""The worker's end of a conversation with a program: requests down a channel, answers as values.

A value of the program is plain data, what ``GraphDecoder`` builds from an object graph, or a proxy (``proxies``).
Requests are marshalled, or pickled if they are more than plain data, for the program may read anything that the tests
send; answers are read as data.
"""

from __future__ import annotations

import builtins
import io
import marshal
import pickle
import sys
import types
from typing import Any, NoReturn

from ..wire.exceptions import REMOTE_DESCRIPTION
from ..wire.graph import mutable_objects
from ..wire.graph_decoder import OF_PROGRAM, GraphDecoder
from ..wire.plain import SCALARS, NotPlain, decode, encode
from ..wire.protocol import ERROR, GRAPH, LOAD, MARSHALLED, PICKLED, READY, REQUEST_MODULE, SETUP, TOO_LARGE, VALUE
from ..wire.standard import standard_module
from ..wire.text import class_name
from .channels import Channel, ChannelClosed
from .proxies import Proxy, proxy_type

INVALID_ANSWER = "the program's process sent an invalid answer"
REQUEST_DEPTH = 20_000  # of pickle's recursion, for a list of linked nodes: what the stack of 64 MB allows
NAME_CHARS = 80  # of a type's name


def object_handle(handle: int) -> NoReturn:
    """Stands in pickled requests for an object of the program's process, which resolves this name to its objects."""
    raise NotImplementedError(handle)


def made_by_program(name: str, held: object) -> NoReturn:
    """Stands in pickled requests for a value of a program's class that crossed (``graph_decoder.subclass``)."""
    raise NotImplementedError(name, held)


object_handle.__module__ = made_by_program.__module__ = REQUEST_MODULE
sys.modules[REQUEST_MODULE] = sys.modules[__name__]  # where pickle checks the name


class Unknown:
    """An answer that no program has given: comparisons hold, sums are it too, and it can be passed to no program."""

    def __init__(self, client: ProgramClient) -> None:
        self.__client = client

    def __eq__(self, other: object) -> bool:
        return True

    __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __eq__
    __hash__ = object.__hash__

    def __add__(self, *_: object) -> Unknown:
        return self

    __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __add__
    __neg__ = __abs__ = __round__ = __add__

    def __reduce_ex__(self, _: object) -> NoReturn:
        self.__client.close()


class Untransportable(TypeError):
    """A test passes what cannot be sent to another process; the text names its type."""


class RequestPickler(pickle.Pickler):
    """Sends proxies as object handles, and of the tests' own classes only those that the setup defines."""

    client: ProgramClient

    def reducer_override(self, value: object) -> Any:
        if isinstance(value, type) and self.client.classes.get(value.__name__) is value:
            return NotImplemented
        if isinstance(value, type) and issubclass(value, Unknown):
            self.client.close()
        if isinstance(value, Proxy):
            return object_handle, (value.__remote__[1],)
        if hasattr(type(value), OF_PROGRAM) and not isinstance(value, type):
            base = type(value).__bases__[0]
            return made_by_program, (type(value).__name__, base(value))
        named = isinstance(value, (type, types.FunctionType)) and value.__module__ not in sys.stdlib_module_names
        if named and value not in (object_handle, made_by_program):
            raise Untransportable(f"{value!r} is the test's own")
        return NotImplemented


class ProgramClient:
    """Sends the tests' requests down a channel and reads the program's answers.

    ``expects_stop``: the tests name StopIteration. Otherwise one that a call raises becomes a RuntimeError, as in a
    generator, for it would end the tests' own loops.
    """

    def __init__(self, channel: Channel, expects_stop: bool = False) -> None:
        self.channel = channel
        self.close = channel.close
        self.expects_stop = expects_stop
        self.classes: dict[str, type] = {}
        self._proxies: dict[int, Proxy] = {}
        self._exceptions: dict[tuple[str, type], type] = {}

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
        self.channel.send(self.message(operation, handle, arguments, options))
        kind, payload = self.channel.receive()
        if kind == VALUE:
            return self._plain(payload)
        if kind == GRAPH:
            proxies = set(map(id, self._proxies.values()))
            return self.built(payload, mutable_objects((arguments, options), self.classes, proxies))
        if kind == ERROR:
            error = self.exception(self._plain(payload))
            if operation == "call" and isinstance(error, StopIteration) and not self.expects_stop:
                description = getattr(error, REMOTE_DESCRIPTION)
                error = RuntimeError(*error.args)
                setattr(error, REMOTE_DESCRIPTION, description)
            raise error
        self.close(INVALID_ANSWER)

    def message(self, operation: str, handle: int, arguments: tuple, options: dict) -> bytes:
        """A request as it is sent: pickled where marshal would lose the order of a set or what is in two places."""
        request = (operation, handle, arguments, options)
        if not options and SCALARS.issuperset(map(type, arguments)):
            return MARSHALLED + marshal.dumps(request)
        data = encode(request, exactly=True)
        return MARSHALLED + data if data is not None else PICKLED + self._pickled(request)

    def exception(self, payload: object) -> BaseException:
        """An exception of the program as one of ours: of its own class if that is Python's, else of the nearest."""
        match payload:
            case [str(name), str(message), int(line), str(function), [*bases], bytes(args), bytes(attributes), cause]:
                arguments, attributes = self.built(args, []), self.built(attributes, [])
                if type(arguments) is tuple and type(attributes) is dict:
                    error = self._made(name[:NAME_CHARS], bases, arguments)
                    for key, value in attributes.items():
                        _set_attribute(error, key, value)
                    error.__dict__[REMOTE_DESCRIPTION] = (name, message, line, function)
                    if cause is not None:
                        error.__cause__ = self.exception(cause)
                    return error
        self.close(INVALID_ANSWER)

    def _made(self, name: str, bases: list, arguments: tuple) -> BaseException:
        kind = self._exception_type(name, bases)
        try:
            return kind(*arguments) if kind.__init__ is BaseException.__init__ or kind.__module__ == "builtins" else (
                kind.__new__(kind, *arguments)
            )
        except Exception:  # classes such as UnicodeDecodeError check their arguments
            return self._own_type(name, Exception)(*arguments)

    def _exception_type(self, name: str, bases: list) -> type[BaseException]:
        if issubclass(self.classes.get(name, object), BaseException):
            return self.classes[name]
        for base in bases:
            match base:
                case [str(module), str(kind)]:
                    found = getattr(builtins if module == "builtins" else standard_module(module), kind, None)
                    if isinstance(found, type) and issubclass(found, BaseException):
                        return found if kind == name else self._own_type(name, found)
        return self._own_type(name, Exception)

    def _own_type(self, name: str, base: type) -> type:
        """A class of ours with the name of the program's class."""
        if (name, base) not in self._exceptions:
            self._exceptions[name, base] = type(class_name(name), (base,), {})
        return self._exceptions[name, base]

    def proxy(self, handle: int, kind: str, is_builtin: bool) -> Proxy:
        if handle not in self._proxies:
            self._proxies[handle] = proxy_type(kind[:NAME_CHARS], is_builtin)(self, handle)
        return self._proxies[handle]

    def _pickled(self, request: object) -> bytes:
        buffer = io.BytesIO()
        pickler = RequestPickler(buffer, 5)
        pickler.client = self
        depth = sys.getrecursionlimit()
        sys.setrecursionlimit(REQUEST_DEPTH)
        try:
            pickler.dump(request)
        except (RecursionError, MemoryError):  # the program's own doing: its values are sent back to it
            self.close(TOO_LARGE)
        except Untransportable:
            raise
        except Exception as error:  # pickle has no one error for what it cannot send
            raise Untransportable(f"cannot be passed to the program in another process: {error}") from None
        finally:
            sys.setrecursionlimit(depth)
        return buffer.getvalue()

    def _plain(self, payload: bytes) -> Any:
        try:
            return decode(payload)
        except NotPlain:
            self.close(INVALID_ANSWER)

    def built(self, payload: bytes, originals: list[object]) -> Any:
        try:
            return GraphDecoder(self.proxy, self.exception, self.classes).value(payload, originals)
        except NotPlain:
            self.close(INVALID_ANSWER)


def _set_attribute(error: BaseException, name: object, value: object) -> None:
    if isinstance(name, str) and (name == "__notes__" or not name.startswith("__")):
        try:
            setattr(error, name, value)
        except (AttributeError, TypeError):  # one that the class computes
            return
