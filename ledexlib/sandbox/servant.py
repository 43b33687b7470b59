"""A program's end of the conversation with its tests: it does what their proxies (``remote``) ask.

Runs in the program's process. Standard library only: the worker loads this file.
"""

from __future__ import annotations

import io
import marshal
import os
import pickle
import types
from collections.abc import Callable

from frames import ERROR, FRAME, GRAPH, LENGTH, MARSHALLED, READY, VALUE
from graph import describe, mutables
from operations import OPERATIONS, told
from plain import encode
from recorder import Report

CHUNK = 1 << 16  # bytes of a request that are read at once
MARK = MARSHALLED[0]


def writer(descriptor: int) -> Callable[[bytes], None]:
    """A function that writes bytes to the descriptor, whatever the program does to ``os``."""

    def write_all(data: bytes, write=os.write) -> None:
        written = write(descriptor, data)
        while written < len(data):
            data = data[written:]
            written = write(descriptor, data)

    return write_all


def reader(descriptor: int) -> Callable[[], bytes]:
    """A function that reads the worker's next message; it ends the process where there is none."""

    def read_message(read=os.read, leave=os._exit) -> bytes:
        data = b""  # the worker sends one message, then waits
        while len(data) < LENGTH.size or len(data) < LENGTH.size + LENGTH.unpack_from(data)[0]:
            piece = read(descriptor, CHUNK)
            if not piece:
                leave(0)
            data += piece
        return data[LENGTH.size :]

    return read_message


class Unpickler(pickle.Unpickler):
    """Reads requests; what stands for an object of this process is replaced by it."""

    objects: list[object]

    def find_class(self, module: str, name: str) -> object:
        return self.objects.__getitem__ if module == "__ledex__" else super().find_class(module, name)


class Servant:
    """Answers the worker's proxies."""

    def __init__(self, job: dict, write: Callable[[bytes], None]) -> None:
        self.classes = job["classes"]
        self.write = write
        self.report = Report(write)
        self.objects: list[object] = []
        self.numbers: dict[int, int] = {}

    def keep(self, value: object) -> int:
        """The number of an object that stays here."""
        if id(value) not in self.numbers:
            self.numbers[id(value)] = len(self.objects)
            self.objects.append(value)
        return self.numbers[id(value)]

    def ready(self, job: dict, namespace: dict, entry: object, missing: BaseException | None) -> None:
        """Tell of the names that tests may use, or why there is no entry point."""
        self.keep(entry)  # number 0
        found = {name: self.named(namespace[name]) for name in job["names"] if name in namespace}
        self.report.send(READY, 0, encode((found, missing and told(missing))))

    def named(self, value: object) -> tuple:
        """What the tests are told of a global value."""
        if isinstance(value, types.ModuleType):
            return ("module", value.__name__)
        return ("h", self.keep(value), type(value).__name__) if encode(value) is None else ("=", value)

    def answer(self, request: bytes) -> None:
        """Do what is asked; send the value, with what became of the arguments if they have changed, or the exception.

        Few functions are called here: each one that runs for the first time costs a process pages of memory.
        """
        operation, number, arguments, options = (
            marshal.loads(request[1:]) if request[0] == MARK else self.unpickled(request)
        )
        # A set comes sorted, item by item; the table of its copy is as large as that of a literal in the tests, so that
        # a program which depends on the order of a set sees the order that it would see there.
        arguments = tuple([set(argument) if type(argument) is set else argument for argument in arguments])
        originals = mutables((arguments, options), self.classes, self.numbers)
        before = encode((arguments, options))
        try:
            if operation == "call":
                value = self.objects[number](*arguments, **options)
            else:
                value = OPERATIONS[operation](self.objects[number], *arguments, **options)
            changed = before is None or before != encode((arguments, options))
            data = None if changed else encode(value)
            if data is None:
                self.report.send(GRAPH, 0, describe(value, self.keep, self.classes, originals, changed))
            else:
                self.write(FRAME.pack(VALUE, 0, len(data)) + data)
        except BaseException as error:
            self.report.send(ERROR, 0, encode(told(error)))

    def unpickled(self, request: bytes) -> tuple:
        unpickler = Unpickler(io.BytesIO(request[1:]))
        unpickler.objects = self.objects
        return unpickler.load()
