"""What a child sends, caught: pipes read without blocking and up to a limit, and where the bytes are kept.

Standard library only: the worker loads this file.
"""

from __future__ import annotations

import os
import tempfile

SPOOL_IN_MEMORY = 256 << 10  # bytes of a report that travel in the reply; a longer one goes by file
CHUNK = 1 << 20


class Spool:
    """What a job's programs sent, in memory while short, then in an unnamed file that the caller is handed."""

    def __init__(self) -> None:
        self.memory = bytearray()
        self.file = None

    @property
    def size(self) -> int:
        return len(self.memory) if self.file is None else self.file.tell()

    def write(self, data: bytes) -> None:
        if self.file is None and len(self.memory) + len(data) <= SPOOL_IN_MEMORY:
            self.memory += data
            return
        if self.file is None:
            self.file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 (handed to the caller)
            self.file.write(self.memory)
            self.memory.clear()
        rest = memoryview(data)
        while rest:
            rest = rest[self.file.write(rest) :]


class Capture:
    """The reading end of a child's pipe: passes on up to ``limit`` bytes, drops and counts the rest."""

    def __init__(self, descriptor: int, sink, limit: int) -> None:
        self.descriptor = descriptor
        self.sink = sink
        self.room = limit
        self.kept = 0
        self.dropped = 0
        os.set_blocking(descriptor, False)

    def read(self) -> bool:
        """Take what is there now; False at the end of the pipe."""
        try:
            data = os.read(self.descriptor, CHUNK)
        except BlockingIOError:
            return True
        kept = data[: self.room]
        self.room -= len(kept)
        self.kept += len(kept)
        self.dropped += len(data) - len(kept)
        if kept:
            self.sink(kept)
        return bool(data)

    def drain(self) -> None:
        """Take what the dead child left in the pipe, which is not more than a pipe holds."""
        for _ in range(64):
            before = self.kept + self.dropped
            if not self.read() or self.kept + self.dropped == before:
                return
