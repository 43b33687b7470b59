"""The end of a program's report, in memory that its process shares with the worker.

A program that is called thousands of times writes its values here, and sends the buffer down its socket when it is
full: few system calls, and what is here when the process ends, however it ends, is not lost.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable

SIZE = 256 << 10
_END = struct.Struct("<Q")  # offset behind the last frame, at the start of the memory


class ReportBuffer:
    """One for all programs of a worker, made before the fork server is forked."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, SIZE)
        self._at = _END.size

    def reset(self) -> None:
        """In the worker: prepare for the next program, which would find answers of the last one, perhaps right ones."""
        if hasattr(mmap, "MADV_REMOVE"):
            self._memory.madvise(mmap.MADV_REMOVE)  # as new: all zeros
        else:
            self._memory[:] = bytes(SIZE)
        _END.pack_into(self._memory, 0, _END.size)

    def take_rest(self) -> bytes:
        """In the worker, after the program's process has ended: what it had not sent."""
        (end,) = _END.unpack_from(self._memory)
        return self._memory[_END.size : min(end, SIZE)]

    def writer(self, send: Callable[[bytes], object]) -> Callable[[bytes], None]:
        """In the program's process: a function that buffers frames, and calls ``send`` when the buffer is full."""
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
