"""The end of a program's report, in memory that its process shares with the worker.

A program that is called thousands of times sends its values in large pieces: each is written here, and all of them go
down the socket when there is no more room. What is here when the process ends, however it ends, is not lost.
Standard library only.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable

SIZE = 256 << 10
_END = struct.Struct("<Q")  # the place behind the last frame, at the start of the memory


class Tail:
    """One for all programs of a worker, made before the parent is forked."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, SIZE)
        self._at = _END.size

    def start(self) -> None:
        """In the worker: prepare it for the next program."""
        _END.pack_into(self._memory, 0, _END.size)

    def taken(self, sent: int) -> bytes:
        """In the worker, when the program's process has ended and sent so many bytes: what it has not sent.

        The memory is cleared, or the next program would find answers there, perhaps right ones.
        """
        (end,) = _END.unpack_from(self._memory)
        end = min(end, SIZE)
        left = self._memory[_END.size : end]
        used = SIZE if sent else end
        self._memory[:used] = bytes(used)
        return left

    def writer(self, send: Callable[[bytes], object]) -> Callable[[bytes], None]:
        """In the program's process: a function that takes frames, and ``send``s them when there is no room."""
        memory, pack = self._memory, _END.pack_into

        def write(data: bytes) -> None:
            end = self._at + len(data)
            if end > SIZE:
                send(memory[_END.size : self._at])
                self._at = _END.size
                pack(memory, 0, _END.size)
                end = self._at + len(data)
                if end > SIZE:
                    send(data)
                    return
            memory[self._at : end] = data
            self._at = end
            pack(memory, 0, end)

        return write
