"""Other processes: their clocks, children and memory.

Linux tells all of it; elsewhere a part is missing, and each function says what it returns then.
"""

from __future__ import annotations

import contextlib
import os
import resource
import time
from collections.abc import Iterator


class FamilyClock:
    """A program's own time in seconds: of its first process, its threads, and all that descend from it.

    That is processor time, and time in which none of them ran or wanted to. It is looked at now and then, and between
    two looks it is exact but for threads that began and ended there. ``started`` is as ``time.monotonic`` tells;
    ``sees_all``: /proc lists this process and its descendants alone.
    """

    def __init__(self, pid: int, started: float, sees_all: bool) -> None:
        self.pid = pid
        self.started = self.looked = started
        self.sees_all = sees_all
        self.exact = True  # whether the system tells how long each thread ran and wanted to
        self.seconds = self.waited = 0.0
        self.last: dict[str, tuple[int, int]] = {}  # nanoseconds that each thread ran, and waited for a processor

    def wall(self) -> float:
        return time.monotonic() - self.started

    def own(self, waited: float) -> float:
        """Its own time until now, if it has waited for its tests for ``waited`` seconds."""
        now = time.monotonic()
        span = now - self.looked - (waited - self.waited)
        self.looked, self.waited = now, waited
        tasks = dict(self._tasks())
        self.exact = self.exact and bool(tasks)
        before = [self.last.get(path, (0, 0)) for path in tasks]
        ran = sum(new[0] - old[0] for new, old in zip(tasks.values(), before, strict=True)) / 1e9
        queued = sum(new[1] - old[1] for new, old in zip(tasks.values(), before, strict=True)) / 1e9
        self.last = tasks
        self.seconds += ran + max(0.0, span - ran - queued)
        return self.seconds

    def _tasks(self) -> Iterator[tuple[str, tuple[int, int]]]:
        for pid in self._pids():
            with contextlib.suppress(OSError):  # it may be gone
                for task in os.listdir(f"/proc/{pid}/task"):
                    path = f"/proc/{pid}/task/{task}/schedstat"
                    with contextlib.suppress(OSError, IndexError, ValueError), open(path) as stat:
                        ran, queued = stat.read().split()[:2]
                        yield path, (int(ran), int(queued))

    def _pids(self) -> list[str]:
        if self.sees_all:
            return [entry for entry in os.listdir("/proc") if entry.isdigit() and int(entry) != os.getpid()]
        with contextlib.suppress(OSError):
            if os.readlink("/proc/self") == str(os.getpid()):
                found = [str(self.pid)]
                for pid in found:  # grows while it is walked
                    found += map(str, children(int(pid)))
                return found
        return []  # /proc lists the processes of another namespace, or there is none


def children(pid: int = 0) -> list[int]:
    """The pids of a process's children; of this one's by default."""
    pid = pid or os.getpid()
    try:
        found = []
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as listing:
                found += [int(child) for child in listing.read().split()]
        return found
    except OSError:
        return [int(entry) for entry in os.listdir("/proc") if entry.isdigit() and parent_of(entry) == pid]


def parent_of(pid: str) -> int | None:
    """The parent's pid, or None if the process has gone."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return int(stat.read().rpartition(")")[2].split()[1])
    except OSError:
        return None


def family_memory() -> tuple[int, int]:
    """In the first process of a PID namespace: the number of all others, and their bytes of memory.

    0 bytes for one alone, which has RLIMIT_AS. What they map to share counts whole and once, whether or not it is in
    anybody's page table.
    """
    pids = [entry for entry in os.listdir("/proc") if entry.isdigit() and int(entry) != os.getpid()]
    private, shared = 0, {}
    for pid in pids if len(pids) > 1 else ():
        with contextlib.suppress(OSError, ValueError):  # it may be gone
            with open(f"/proc/{pid}/statm") as pages:
                _, resident, of_files, *_ = map(int, pages.read().split())
                private += (resident - of_files) * resource.getpagesize()
            with open(f"/proc/{pid}/maps") as maps:
                for line in maps:
                    place, rights, _, device, inode, *_ = line.split()
                    if rights[1] == "w" and rights[3] == "s":
                        start, end = (int(address, 16) for address in place.split("-"))
                        shared[device, inode] = max(shared.get((device, inode), 0), end - start)
    return len(pids), private + sum(shared.values())


def running_tasks() -> int:
    """Threads of this user, which RLIMIT_NPROC counts together with the program's; 0 without /proc."""
    count = 0
    for entry in os.listdir("/proc") if os.path.isdir("/proc/self") else ():
        with contextlib.suppress(OSError):
            if entry.isdigit() and os.stat(f"/proc/{entry}").st_uid == os.getuid():
                count += len(os.listdir(f"/proc/{entry}/task"))
    return count
