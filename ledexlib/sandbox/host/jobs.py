"""What the caller asks for: a program with its tests, the limits and the layers of isolation that it runs under."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from ..types import Isolation, Test

# Layers of isolation and what each provides; ``kernel.layers`` enters them.
LAYERS = {
    "rlimits": "processor time, memory, processes, open files, file size",
    "no_new_privs": "no privileges from setuid programs; memory closed to other processes",
    "user_namespace": "what privileges are needed for the following are not the user's own",
    "pid_namespace": "other processes are out of sight and reach; none outlives its program",
    "network_namespace": "no network, no sockets and no shared memory of others",
    "mount_namespace": "a file tree of Python and a bounded scratch directory only",
    "unprivileged": "run as root: programs run as a user of their own",
    "landlock": "reading what Python needs, writing the scratch directory",
    "seccomp": "no sockets, tracing, namespaces and rare system calls; no signals to others",
}


@dataclass(frozen=True)
class Job:
    """A program and its tests; ``id`` comes back with the verdict.

    ``setup`` runs before the program in its namespace. ``entry_point`` is the Python expression under test (None: a
    program that reads stdin). ``reference`` is a program whose results are expected where a call names none. Jobs of
    one problem should share the ``tests`` object, which is prepared once and cached.

    ``isolation`` is where assertions and checks run: apart from the program (``proxy``), in its process
    (``in_process``), or, with ``auto``, apart unless their code or the reference shows that they cannot.
    """

    id: Hashable
    program: str
    tests: tuple[Test, ...]
    entry_point: str | None = None
    setup: str = ""
    reference: str = ""
    isolation: Isolation = "auto"


@dataclass(frozen=True)
class Limits:
    """What one program may use; raises ValueError for a limit that is too low.

    ``timeout`` is in seconds of the program's own time: processor time, or time in which it waited for something other
    than a processor, so that a busy machine changes no verdict. It covers all tests of a program together, but each
    stdin test by itself. Where a reference was run, programs have at least four times its time, as in EvalPlus.
    ``memory_mb`` is in MiB, of address space. ``processes`` counts threads and child processes. ``output_bytes``
    bounds the captured standard output of a stdin test and each file written.
    """

    timeout: float = 15.0
    memory_mb: int = 1024
    processes: int = 64
    open_files: int = 64
    output_bytes: int = 16 << 20

    def __post_init__(self) -> None:
        if not self.timeout > 0:
            raise ValueError(f"timeout is {self.timeout!r} seconds: it must be more than 0")
        for name, lowest in (("memory_mb", 64), ("processes", 1), ("open_files", 8), ("output_bytes", 1)):
            if getattr(self, name) < lowest:
                raise ValueError(f"{name} is {getattr(self, name)!r}: it must be at least {lowest}")
