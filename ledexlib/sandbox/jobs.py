"""What the sandbox is asked: a program with its tests, the limits and the layers of isolation it runs under."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from ledexlib.records import Test

# Layers of isolation, and what each is good for; see ``isolation``.
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
    """A program and its tests.

    ``setup`` runs before the program in its namespace; ``entry_point`` is the Python expression under test (None: a
    program that reads stdin); ``reference`` is a program whose results are expected where a call names none. Jobs of
    one problem should share the ``tests`` object: what is prepared from it is kept and used again.
    """

    id: Hashable
    program: str
    tests: tuple[Test, ...]
    entry_point: str | None = None
    setup: str = ""
    reference: str = ""


@dataclass(frozen=True)
class Limits:
    """What one program may use.

    ``timeout`` is in seconds of the program's own time: processor time, or time in which it waited for something
    other than a processor, so that a busy machine changes no verdict. It covers all tests of a program together; each
    stdin test has it for itself. A problem whose reference was run gives its programs at least four times the
    reference's time, as EvalPlus does. ``processes`` counts threads and child processes. ``output_bytes`` bounds the
    captured standard output of a stdin test and each file written.
    """

    timeout: float = 15.0
    memory_mb: int = 1024
    processes: int = 64
    open_files: int = 64
    output_bytes: int = 16 << 20

    def __post_init__(self) -> None:
        if not self.timeout > 0:
            raise ValueError(f"timeout is {self.timeout!r} seconds: it must be more than 0")
        for name, least in (("memory_mb", 64), ("processes", 1), ("open_files", 8), ("output_bytes", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)!r}: it must be at least {least}")
