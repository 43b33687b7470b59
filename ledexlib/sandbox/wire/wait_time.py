"""How long a program has waited for its tests: written by the worker, read by the fork server at any time."""

from __future__ import annotations

import os
import struct
import time

_TIMES = struct.Struct("dd")  # seconds waited until now; since when it waits, as ``time.monotonic`` tells (0: not)


class WaitTime:
    """A stopwatch in a file that programs cannot reach; it runs while a program waits for its tests' next request."""

    def __init__(self, folder: str) -> None:
        path = os.path.join(folder, "wait-time")
        self.descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        os.unlink(path)
        self._write(0.0, 0.0)

    def reset(self) -> None:
        if self.seconds or self.since:
            self._write(0.0, 0.0)

    def begin(self) -> None:
        self._write(self.seconds, time.monotonic())

    def end(self) -> None:
        self._write(self.seconds + (time.monotonic() - self.since if self.since else 0.0), 0.0)

    def _write(self, seconds: float, since: float) -> None:
        self.seconds, self.since = seconds, since
        os.pwrite(self.descriptor, _TIMES.pack(seconds, since), 0)

    def read(self) -> float:
        """In the fork server: seconds of waiting until now, including the current wait."""
        seconds, since = _TIMES.unpack(os.pread(self.descriptor, _TIMES.size, 0))
        return seconds + (time.monotonic() - since if since else 0.0)
