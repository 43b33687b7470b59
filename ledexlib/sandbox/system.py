"""What the worker asks of the operating system: clocks, limits, relatives, a directory's removal.

Linux tells all of it; elsewhere a part is missing, and each function says what it does then. Standard library only: the
worker loads this file.
"""

from __future__ import annotations

import builtins
import contextlib
import os
import resource
import shutil
import sys
import time
import types

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def prctl_function():
    """Linux's prctl, or None elsewhere."""
    if not sys.platform.startswith("linux"):
        return None
    import ctypes

    return ctypes.CDLL(None).prctl


class Clock:
    """A child's own time in seconds."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.started = time.monotonic()

    def wall(self) -> float:
        return time.monotonic() - self.started

    def cpu(self) -> float:
        """Processor time of the child; 0 where the kernel has no such clock or the child is gone."""
        try:
            return time.clock_gettime((~self.pid << 3) | 2)  # Linux's clock of another process
        except (OSError, OverflowError):
            return 0.0

    def queued(self) -> float:
        """Time in which the child was ready to run and had no processor."""
        try:
            with open(f"/proc/{self.pid}/schedstat") as stat:
                return int(stat.read().split()[1]) / 1e9
        except (OSError, IndexError, ValueError):
            return 0.0

    def own(self) -> float:
        return max(self.cpu(), self.wall() - self.queued())


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


def running_tasks() -> int:
    """Threads of this user, which RLIMIT_NPROC counts together with the program's."""
    count = 0
    for entry in os.listdir("/proc") if os.path.isdir("/proc/self") else ():
        with contextlib.suppress(OSError):
            if entry.isdigit() and os.stat(f"/proc/{entry}").st_uid == os.getuid():
                count += len(os.listdir(f"/proc/{entry}/task"))
    return count


def set_limit(name: str, most: int) -> None:
    """Lower a resource limit, where the system has it and lets us."""
    kind = getattr(resource, name, None)
    if kind is None:
        return
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    with contextlib.suppress(ValueError, OSError):  # macOS refuses some
        resource.setrlimit(kind, (most, most))


def remove_tree(path: str) -> None:
    """Remove a directory and what is in it, whatever the permissions; ``onerror`` sees to the stubborn ones."""
    shutil.rmtree(path, onerror=_open_and_retry)


def _open_and_retry(function, path: str, _error) -> None:
    """For rmtree: a program may have taken the permissions from its directories."""
    if not os.path.lexists(path):
        return
    os.chmod(os.path.dirname(path), 0o700)
    if os.path.isdir(path) and not os.path.islink(path):
        os.chmod(path, 0o700)
        shutil.rmtree(path)
    else:
        os.unlink(path)


def new_main(name: str) -> dict[str, object]:
    """The namespace of a fresh module, known under ``name`` so that dataclasses and the like find it."""
    module = types.ModuleType(name)
    module.__builtins__ = builtins
    sys.modules[name] = module
    return module.__dict__
