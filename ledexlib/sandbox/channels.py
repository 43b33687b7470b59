"""Ways to put the tests' requests to a program's process: in a conversation, or all at once, before the tests run.

Tests mostly ask the same of every program. What they asked of one in a conversation is a script: the next program's
process is given it whole and leaves all of its answers behind, and the tests then run against these (``Replay``),
unless they are, byte for byte, the answers of the last program, whose report is known. As soon as tests ask for
something else, the replay is given up, and the program runs once more, in a conversation: a script changes no verdict.
Standard library only: the worker loads this file.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from typing import NoReturn

from frames import FRAME, LENGTH
from system import Idle

ANSWER_BYTES = 8 << 20  # a longer answer ends the conversation
SCRIPT_BYTES = 8 << 20  # a longer script, with its answers, is not kept
TOO_LARGE = "the results were more data than allowed"
DEVIATED = "not in the script"


class Gone(BaseException):
    """The tests are over before their end: the program's process has ended or answered what is no answer."""


class Channel:
    """Requests to a program's process, and its answers."""

    def __init__(self) -> None:
        self.gone = False
        self.fault = ""  # why it is gone, unless the program's process has ended

    def end(self, fault: str = "") -> NoReturn:
        self.gone = True
        self.fault = self.fault or fault
        raise Gone

    def send(self, request: bytes) -> None:
        raise NotImplementedError

    def take(self, count: int) -> bytes:
        """So many bytes of what the process has sent."""
        raise NotImplementedError

    def receive(self) -> tuple[bytes, bytes]:
        """Kind and payload of the next frame."""
        kind, _, length = FRAME.unpack(self.take(FRAME.size))
        if length > ANSWER_BYTES:
            self.end(TOO_LARGE)
        return kind, self.take(length)


class Conversation(Channel):
    """Down a socket; ``deserted`` is asked while there is no answer, whether that matters no more."""

    def __init__(self, sock: socket.socket, deserted: Callable[[], bool], idle: Idle) -> None:
        super().__init__()
        self.sock = sock
        self.deserted = deserted
        self.idle = idle
        self._buffer = bytearray()
        self._requests: list[bytes] = []
        self._answers = bytearray()
        self._room = SCRIPT_BYTES

    def send(self, request: bytes) -> None:
        self.idle.end()
        self._room -= len(request)
        if self._room >= 0:
            self._requests.append(request)
        try:
            self.sock.sendall(LENGTH.pack(len(request)) + request)
        except OSError:
            self.end()

    def receive(self) -> tuple[bytes, bytes]:
        frame = super().receive()
        self.idle.begin()
        return frame

    def take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            try:
                piece = self.sock.recv(1 << 16)
            except BlockingIOError:  # the socket's own time-out
                if self.deserted():
                    self.end()
                continue
            except OSError:
                self.end()
            if not piece:
                self.end()
            self._buffer += piece
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        self._room -= count
        if self._room >= 0:
            self._answers += taken
        return taken

    def script(self) -> tuple[list[bytes], bytes] | None:
        """All requests and all answers, unless they are too much to keep."""
        return (self._requests, bytes(self._answers)) if self._room >= 0 else None


class Replay(Channel):
    """What a program's process left behind when it was given a script."""

    def __init__(self, script: Iterable[bytes], answers: bytes) -> None:
        super().__init__()
        self._script = iter(script)
        self._answers = answers
        self._at = 0

    def send(self, request: bytes) -> None:
        if next(self._script, None) != request:
            self.end(DEVIATED)

    def take(self, count: int) -> bytes:
        taken = self._answers[self._at : self._at + count]
        if len(taken) < count:
            self.end()
        self._at += count
        return taken
