"""The program's end of a conversation with its tests: does what the worker's proxies request of its objects."""

from __future__ import annotations

import importlib
import io
import marshal
import operator
import os
import pickle
import types
from collections.abc import Callable, Iterator

from ..wire.graph import encode_graph, exception_payload, mutable_objects
from ..wire.plain import SCALARS, encode
from ..wire.protocol import (
    ERROR,
    FRAME,
    GRAPH,
    LENGTH,
    MARSHALLED,
    READY,
    REQUEST_MODULE,
    VALUE,
    FrameWriter,
)  # fmt: skip

CHUNK = 1 << 16  # bytes of a request that are read at once
MARSHALLED_BYTE = MARSHALLED[0]


def take(iterator: Iterator, count: int) -> tuple[list, tuple | None]:
    """Up to ``count`` items, fewer at the end, and the exception that came instead of an item."""
    items: list[object] = []
    try:
        while len(items) < count:
            items.append(next(iterator))
    except StopIteration:
        return items, None
    except BaseException as error:
        return items, exception_payload(error)
    return items, None


def signature(function: Callable) -> list[tuple]:
    """A function's parameters: name, kind, whether it has a default value, and that."""
    import inspect

    found = inspect.signature(function).parameters.values()
    return [
        (p.name, int(p.kind), p.default is not p.empty, None if p.default is p.empty else p.default) for p in found
    ]


OPERATIONS = {  # of proxies, by name; a call has no frame of ours between the program and the request
    "call": operator.call,
    "getattr": getattr,
    "setattr": setattr,
    "bool": bool,
    "len": len,
    "getitem": operator.getitem,
    "setitem": operator.setitem,
    "iter": iter,
    "take": take,
    "str": str,
    "repr": repr,
    "signature": signature,
    "copy": lambda value: importlib.import_module("copy").copy(value),
    "deepcopy": lambda value: importlib.import_module("copy").deepcopy(value),
}


def writer(descriptor: int) -> Callable[[bytes], None]:
    """A function that writes bytes to the descriptor, whatever the program does to ``os``."""

    def write_all(data: bytes, write=os.write) -> None:
        written = write(descriptor, data)
        while written < len(data):
            data = data[written:]
            written = write(descriptor, data)

    return write_all


def reader(descriptor: int) -> Callable[[], bytes]:
    """A function that reads the worker's next message; it ends the process when the worker has hung up."""

    def read_message(read=os.read, leave=os._exit) -> bytes:
        data = bytearray()  # the worker sends one message, then waits
        while len(data) < LENGTH.size or len(data) < LENGTH.size + LENGTH.unpack_from(data)[0]:
            piece = read(descriptor, CHUNK)
            if not piece:
                leave(0)
            data += piece
        return bytes(memoryview(data)[LENGTH.size :])

    return read_message


class RequestUnpickler(pickle.Unpickler):
    """Reads requests; an object handle in them becomes the object."""

    objects: list[object]
    namespace: dict[str, object]

    def find_class(self, module: str, name: str) -> object:
        if module != REQUEST_MODULE:
            return super().find_class(module, name)
        return self.objects.__getitem__ if name == "object_handle" else self.made_by_program

    def made_by_program(self, name: str, held: object) -> object:
        """A value of the program's class, if it still has one of that name."""
        kind = self.namespace.get(name)
        if not isinstance(kind, type) or not issubclass(kind, type(held)):
            return held
        return kind._make(held) if hasattr(kind, "_make") else kind(held)


class RequestHandler:
    """Answers the worker's proxies. An object's handle is its index in ``objects``."""

    def __init__(self, job: dict, write: Callable[[bytes], None]) -> None:
        self.classes = job["classes"]
        self.write = write
        self.report = FrameWriter(write)
        self.objects: list[object] = []
        self.handles: dict[int, int] = {}  # by the object's id
        self.namespace: dict[str, object] = {}

    def register(self, value: object) -> int:
        """Keep an object in this process and return its handle."""
        if id(value) not in self.handles:
            self.handles[id(value)] = len(self.objects)
            self.objects.append(value)
        return self.handles[id(value)]

    def ready(self, job: dict, namespace: dict, entry: object, missing: BaseException | None) -> None:
        """Send the names that tests may use, or why there is no entry point; the entry point has handle 0."""
        self.namespace = namespace
        self.register(entry)
        found = {name: self.global_node(namespace[name]) for name in job["names"] if name in namespace}
        self.report.send(READY, 0, encode((found, missing and exception_payload(missing))))

    def global_node(self, value: object) -> tuple:
        """The value of a global name as the worker takes it."""
        if isinstance(value, types.ModuleType):
            return ("module", value.__name__, self.register(value))
        return ("graph", encode_graph(value, self.register, self.classes))

    def answer(self, request: bytes) -> None:
        """Do the operation; send its value, with the arguments if they have changed, or its exception.

        This calls few functions: each one that runs for the first time costs a process pages of memory.
        """
        operation, handle, arguments, options = (
            marshal.loads(request[1:]) if request[0] == MARSHALLED_BYTE else self.unpickle(request)
        )
        # A set comes sorted, item by item; its copy has a table as large as that of a literal in the tests, so that a
        # program which depends on the order of a set sees the same order as there.
        arguments = tuple([set(argument) if type(argument) is set else argument for argument in arguments])
        is_simple = not options and SCALARS.issuperset(map(type, arguments))
        originals = () if is_simple else mutable_objects((arguments, options), self.classes, self.handles)
        before = encode((arguments, options)) if originals else None
        try:
            value = OPERATIONS[operation](self.objects[handle], *arguments, **options)
            changed = bool(originals) and (before is None or before != encode((arguments, options)))
            data = None if changed else encode(value, True, originals)
            if data is None:
                self.report.send(GRAPH, 0, encode_graph(value, self.register, self.classes, originals, changed))
            else:
                self.write(FRAME.pack(VALUE, 0, len(data)) + data)
        except BaseException as error:
            self.report.send(ERROR, 0, encode(exception_payload(error)) or b"")

    def unpickle(self, request: bytes) -> tuple:
        unpickler = RequestUnpickler(io.BytesIO(request[1:]))
        unpickler.objects, unpickler.namespace = self.objects, self.namespace
        return unpickler.load()
