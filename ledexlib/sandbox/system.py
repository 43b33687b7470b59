"""What the worker asks of the operating system: clocks, limits, relatives, a directory's removal.

Linux tells all of it; elsewhere a part is missing, and each function says what it does then. Standard library only: the
worker loads this file.
"""

from __future__ import annotations

import builtins
import contextlib
import os
import resource
import struct
import sys
import time
import types

_TIMES = struct.Struct("dd")


class Clock:
    """A child's own time in seconds."""

    def __init__(self, pid: int, started: float) -> None:
        self.pid = pid
        self.started = started  # as time.monotonic tells it

    def wall(self) -> float:
        return time.monotonic() - self.started

    def cpu(self) -> float:
        """Processor time of the child; 0 where the kernel has no such clock or the child is gone."""
        try:
            return time.clock_gettime((~self.pid << 3) | 2)  # Linux's clock of another process
        except (OSError, OverflowError):
            return 0.0

    def queued(self) -> float:
        """Time in which the child was ready to run and had no processor; 0 where that is not to be known."""
        try:
            if os.readlink("/proc/self") != str(os.getpid()):
                return 0.0  # a listing of another namespace's processes
            with open(f"/proc/{self.pid}/schedstat") as stat:
                return int(stat.read().split()[1]) / 1e9
        except (OSError, IndexError, ValueError):
            return 0.0

    def own(self, idle: float) -> float:
        """Its own time, if it has been kept waiting for ``idle`` seconds."""
        return max(self.cpu(), self.wall() - self.queued() - idle)


class Idle:
    """For how long a program has waited for its tests: written by the worker, read by the parent, at any time.

    It lies in a file that programs do not have: the seconds until now, and since when it has been waiting (0: it is
    not).
    """

    def __init__(self, folder: str) -> None:
        path = os.path.join(folder, "idle")
        self.descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        os.unlink(path)
        self._write(0.0, 0.0)

    def start(self) -> None:
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
        """In the parent: the seconds until now, the present ones included."""
        seconds, since = _TIMES.unpack(os.pread(self.descriptor, _TIMES.size, 0))
        return seconds + (time.monotonic() - since if since else 0.0)


def children() -> list[int]:
    """The pids of this process's children."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as listing:
            return [int(pid) for pid in listing.read().split()]
    except OSError:
        return [int(entry) for entry in os.listdir("/proc") if entry.isdigit() and parent(entry) == os.getpid()]


def parent(pid: str) -> int | None:
    """The parent's pid, or None if the process has gone."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return int(stat.read().rpartition(")")[2].split()[1])
    except OSError:
        return None


def family_memory() -> int:
    """In the first process of a namespace: bytes of memory of all others, if they are more than one.

    One process alone is held by its own limit.
    """
    pids = [entry for entry in os.listdir("/proc") if entry.isdigit() and entry != "1"]
    total = 0
    for pid in pids if len(pids) > 1 else ():
        with contextlib.suppress(OSError), open(f"/proc/{pid}/statm") as pages:  # it may be gone
            total += int(pages.read().split()[1]) * resource.getpagesize()
    return total


def running_tasks() -> int:
    """Threads of this user, which RLIMIT_NPROC counts together with the program's."""
    count = 0
    for entry in os.listdir("/proc") if os.path.isdir("/proc/self") else ():
        with contextlib.suppress(OSError):
            if entry.isdigit() and os.stat(f"/proc/{entry}").st_uid == os.getuid():
                count += len(os.listdir(f"/proc/{entry}/task"))
    return count


def limit_within(name: str, most: int) -> tuple[int, int]:
    """A resource limit's number and the value that it can be given now."""
    kind = getattr(resource, name)
    hard = resource.getrlimit(kind)[1]
    return kind, most if hard == resource.RLIM_INFINITY else min(most, hard)


def set_limit(name: str, most: int) -> None:
    """Lower a resource limit, where the system has it and lets us."""
    if hasattr(resource, name):
        kind, most = limit_within(name, most)
        with contextlib.suppress(ValueError, OSError):  # macOS refuses some
            resource.setrlimit(kind, (most, most))


def clear_directory(path: str) -> None:
    """Remove all that a directory contains, however deep and whatever the permissions.

    What a directory inside contains is moved up here before the directory is removed: nothing recurses.
    """
    os.chmod(path, 0o700)
    todo = [entry.path for entry in os.scandir(path)]
    moved = 0
    while todo:
        item = todo.pop()
        if os.path.islink(item) or not os.path.isdir(item):
            os.unlink(item)
            continue
        os.chmod(item, 0o700)
        for name in os.listdir(item):
            moved += 1
            inside, above = os.path.join(item, name), os.path.join(path, f".{moved}.{time.monotonic_ns()}")
            if os.path.isdir(inside) and not os.path.islink(inside):
                os.chmod(inside, 0o700)  # moving a directory writes to it
            os.rename(inside, above)
            todo.append(above)
        os.rmdir(item)


def new_main(name: str) -> dict[str, object]:
    """The namespace of a fresh module, known under ``name`` so that dataclasses and the like find it."""
    module = types.ModuleType(name)
    module.__builtins__ = builtins
    sys.modules[name] = module
    return module.__dict__
