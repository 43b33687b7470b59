"""Channels to a program's process: live, or a replay of requests that were sent all at once before the tests run.

Tests mostly request the same of every program. What they requested of one on a live channel is recorded: the next
program's process gets all of it at once and leaves all of its answers behind, and the tests then run against these
(``ReplayChannel``), unless they are, byte for byte, the answers of the last program, whose report is known. As soon as
the tests request anything else, the replay is abandoned and the program runs once more on a live channel: a recording
changes no verdict.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from typing import NoReturn

from ..wire.protocol import FRAME, LENGTH, TOO_LARGE
from ..wire.wait_time import WaitTime

ANSWER_BYTES = 8 << 20  # a longer answer ends the conversation
RECORDING_BYTES = 8 << 20  # a longer recording, answers included, is not kept
CHUNK = 1 << 16  # bytes received at once
DIVERGED = "the tests diverged from the recording"


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
    """A socket, whose conversation is recorded; ``is_pointless`` is polled while no answer comes."""

    def __init__(self, sock: socket.socket, is_pointless: Callable[[], bool], wait_time: WaitTime) -> None:
        super().__init__()
        self.sock = sock
        self.is_pointless = is_pointless
        self.wait_time = wait_time
        self._buffer = bytearray()
        self._requests: list[bytes] = []
        self._answers = bytearray()
        self._room = RECORDING_BYTES

    def send(self, request: bytes) -> None:
        self.wait_time.end()
        self._room -= len(request)
        if self._room >= 0:
            self._requests.append(request)
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
        self._room -= count
        if self._room >= 0:
            self._answers += taken
        return taken

    def recording(self) -> tuple[list[bytes], bytes] | None:
        """All requests and all answers; None if they are too long to keep."""
        return (self._requests, bytes(self._answers)) if self._room >= 0 else None


class ReplayChannel(Channel):
    """The answers that a program's process left behind to recorded requests."""

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
