"""Capture of what a program's process sends: bounded, non-blocking reads, and a spool for the bytes."""

from __future__ import annotations

import os
import tempfile

SPOOL_IN_MEMORY = 256 << 10  # bytes of a report that are sent in the reply; a longer one goes as a file
CHUNK = 1 << 20  # bytes read at once


class Spool:
    """What a job's programs sent: in memory while short, then in an unnamed file, whose descriptor goes to the host."""

    def __init__(self) -> None:
        self.memory = bytearray()
        self.file = None

    @property
    def size(self) -> int:
        return len(self.memory) if self.file is None else self.file.tell()

    def starts_with(self, prefix: bytes) -> bool:
        start = self.memory[: len(prefix)] if self.file is None else os.pread(self.file.fileno(), len(prefix), 0)
        return start == prefix

    def write(self, data: bytes) -> None:
        if self.file is None and len(self.memory) + len(data) <= SPOOL_IN_MEMORY:
            self.memory += data
            return
        if self.file is None:
            self.file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 (goes to the host)
            self.file.write(self.memory)
            self.memory.clear()
        rest = memoryview(data)
        while rest:
            rest = rest[self.file.write(rest) :]


class Capture:
    """The reading end of a pipe: passes up to ``limit`` bytes to ``sink``, drops and counts the rest."""

    def __init__(self, descriptor: int, sink, limit: int) -> None:
        self.descriptor = descriptor
        self.sink = sink
        self.room = limit
        self.kept = 0
        self.dropped = 0
        os.set_blocking(descriptor, False)

    def read(self) -> bool:
        """Read what is there now; False at the end of the pipe."""
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
        """Read what the ended process left in the pipe, which is not more than a pipe holds."""
        for _ in range(64):
            before = self.kept + self.dropped
            if not self.read() or self.kept + self.dropped == before:
                return
