"""Channels to a program's process: live, or a replay of requests that were sent all at once before the tests run.

Tests mostly request the same of every program. What they request whatever is answered is found without any program
(``script``): a program's process gets all of it at once and leaves all of its answers behind, and the tests then run
against these (``ReplayChannel``), unless they are, byte for byte, the answers of the last program, whose report is
known. As soon as the tests request anything else, the replay is abandoned and the program runs once more on a live
channel: a script changes no verdict, and holds nothing that came from an answer.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from typing import NoReturn

from ..wire.protocol import FRAME, LENGTH, TOO_LARGE
from ..wire.wait_time import WaitTime

ANSWER_BYTES = 64 << 20  # a longer answer ends the conversation
SCRIPT_BYTES = 16 << 20  # of a script
CHUNK = 1 << 16  # bytes received at once
DIVERGED = "the tests diverged from the script"


class ChannelClosed(BaseException):
    """The tests must stop: the program's process has ended, or its answer is invalid."""


class Channel:
    """Requests to a program's process, and its answers."""

    def __init__(self) -> None:
        self.closed = False
        self.fault = ""  # why it is closed, unless the program's process has ended

    def close(self, fault: str = "") -> NoReturn:
        """Close the channel; raises ChannelClosed."""
        self.closed = True
        self.fault = self.fault or fault
        raise ChannelClosed

    def send(self, request: bytes) -> None:
        raise NotImplementedError

    def take(self, count: int) -> bytes:
        """The next ``count`` bytes that the process sent."""
        raise NotImplementedError

    def receive(self) -> tuple[bytes, bytes]:
        """Kind and payload of the next frame."""
        kind, _, length = FRAME.unpack(self.take(FRAME.size))
        if length > ANSWER_BYTES:
            self.close(TOO_LARGE)
        return kind, self.take(length)


class LiveChannel(Channel):
    """A socket; ``is_pointless`` is polled while no answer comes."""

    def __init__(self, sock: socket.socket, is_pointless: Callable[[], bool], wait_time: WaitTime) -> None:
        super().__init__()
        self.sock = sock
        self.is_pointless = is_pointless
        self.wait_time = wait_time
        self._buffer = bytearray()

    def send(self, request: bytes) -> None:
        self.wait_time.end()
        try:
            self.sock.sendall(LENGTH.pack(len(request)) + request)
        except OSError:
            self.close()

    def receive(self) -> tuple[bytes, bytes]:
        frame = super().receive()
        self.wait_time.begin()
        return frame

    def take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            try:
                piece = self.sock.recv(CHUNK)
            except BlockingIOError:  # the socket's own time-out
                if self.is_pointless():
                    self.close()
                continue
            except OSError:
                self.close()
            if not piece:
                self.close()
            self._buffer += piece
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken


class ScriptChannel(Channel):
    """Takes requests, and has no answers: ``requests`` has what is wanted of any program."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[bytes] = []
        self._room = SCRIPT_BYTES

    def send(self, request: bytes) -> None:
        self._room -= len(request)
        if self._room < 0:
            self.close()
        self.requests.append(request)


class ReplayChannel(Channel):
    """The answers that a program's process left behind to the requests of a script."""

    def __init__(self, requests: Iterable[bytes], answers: bytes) -> None:
        super().__init__()
        self._requests = iter(requests)
        self._answers = answers
        self._at = 0

    def send(self, request: bytes) -> None:
        if next(self._requests, None) != request:
            self.close(DIVERGED)

    def take(self, count: int) -> bytes:
        taken = self._answers[self._at : self._at + count]
        if len(taken) < count:
            self.close()
        self._at += count
        return taken
