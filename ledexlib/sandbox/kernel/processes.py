"""Other processes: their clocks, children and memory.

Linux tells all of it; elsewhere a part is missing, and each function says what it returns then.
"""

from __future__ import annotations

import contextlib
import os
import resource
import time


class ProcessClock:
    """A child's own time in seconds; ``started`` is its start as ``time.monotonic`` tells it."""

    def __init__(self, pid: int, started: float) -> None:
        self.pid = pid
        self.started = started

    def wall(self) -> float:
        return time.monotonic() - self.started

    def cpu(self) -> float:
        """Processor time of the child; 0 where the kernel has no such clock or the child is gone."""
        try:
            return time.clock_gettime((~self.pid << 3) | 2)  # Linux's clock of another process
        except (OSError, OverflowError):
            return 0.0

    def queued(self) -> float:
        """Time in which the child was ready to run but had no processor; 0 where the kernel does not tell."""
        try:
            if os.readlink("/proc/self") != str(os.getpid()):
                return 0.0  # /proc lists the processes of another namespace
            with open(f"/proc/{self.pid}/schedstat") as stat:
                return int(stat.read().split()[1]) / 1e9
        except (OSError, IndexError, ValueError):
            return 0.0

    def own(self, waited: float) -> float:
        """Its own time, if it has waited for its tests for ``waited`` seconds."""
        return max(self.cpu(), self.wall() - self.queued() - waited)


def children() -> list[int]:
    """The pids of this process's children."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as listing:
            return [int(pid) for pid in listing.read().split()]
    except OSError:
        return [int(entry) for entry in os.listdir("/proc") if entry.isdigit() and parent_of(entry) == os.getpid()]


def parent_of(pid: str) -> int | None:
    """The parent's pid, or None if the process has gone."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return int(stat.read().rpartition(")")[2].split()[1])
    except OSError:
        return None


def descendants_memory() -> int:
    """In the first process of a PID namespace: bytes of memory of all others, or 0 for one alone (it has RLIMIT_AS)."""
    pids = [entry for entry in os.listdir("/proc") if entry.isdigit() and entry != "1"]
    total = 0
    for pid in pids if len(pids) > 1 else ():
        with contextlib.suppress(OSError), open(f"/proc/{pid}/statm") as pages:  # it may be gone
            total += int(pages.read().split()[1]) * resource.getpagesize()
    return total


def running_tasks() -> int:
    """Threads of this user, which RLIMIT_NPROC counts together with the program's; 0 without /proc."""
    count = 0
    for entry in os.listdir("/proc") if os.path.isdir("/proc/self") else ():
        with contextlib.suppress(OSError):
            if entry.isdigit() and os.stat(f"/proc/{entry}").st_uid == os.getuid():
                count += len(os.listdir(f"/proc/{entry}/task"))
    return count
