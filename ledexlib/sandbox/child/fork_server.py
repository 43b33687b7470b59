"""The fork server: a small preloaded process that forks a child for each program, times it, and cleans up after it.

``worker.bootstrap`` forks it before there is any test, and it never receives tests: for each program the worker sends
the text, the limits and, for calls, the inputs. The child inherits imported modules and no secrets. Each program has:

- its own process, session and process group, standard streams, scratch directory (cleared afterwards);
- limits on processor time, memory, open files, processes and file size;
- a deadline in the program's own time: processor time of all its threads and descendants, and time in which none of
  them ran or wanted to, unless it waited for its tests;
- an end: when it is over, or the worker says so, all of its descendants are killed. Elsewhere than on Linux, orphans
  that left the process group survive.

This process enters the layers that isolate programs from the machine once, for all of them (``kernel.layers``).
"""

from __future__ import annotations

import contextlib
import gc
import marshal
import mmap
import os
import random
import resource
import select
import signal
import socket
import struct
import sys
import time
from typing import NoReturn

from ..kernel import linux, seccomp
from ..kernel.layers import Confinement, LayerStates
from ..kernel.processes import FamilyClock, children, family_memory, running_tasks
from ..kernel.rlimits import limit_within, set_limit
from ..wire.protocol import DONE, LENGTH, RUN_HEADER
from ..wire.report_buffer import ReportBuffer
from ..wire.wait_time import WaitTime
from .program import STRATEGIES, warm_up
from .scratch import Scratch

PACKAGE = __name__.partition(".")[0]
BUFFER_BYTES = 1 << 20  # of a job's message, for which there is always room
ANCILLARY = socket.CMSG_SPACE(4 * struct.calcsize("i"))  # for up to four descriptors
SHORTEST_WAIT = 0.02  # seconds between two checks of a child's time, at least
FIRST_WAIT = 0.05  # seconds, before the first check: most programs end in less
LONGEST_WAIT = 0.25  # seconds between two checks of a program, at most
FAMILY_WAIT = 0.04  # the same of one that has children, which share out memory
POLL_SECONDS = 0.002  # between two checks whether a child has ended, where there are no pidfds
OWN_FAILURE = 70  # exit status of a child that fails before it runs its program
HAS_PIDFD = hasattr(os, "pidfd_open")


class ForkServer:
    """Serves the worker's socket, one program after the other."""

    def __init__(self, sock: socket.socket, wait_time: WaitTime, buffer: ReportBuffer, confinement: Confinement):
        self.sock = sock
        self.descriptor = sock.fileno()
        self.wait_time = wait_time
        self.report_buffer = buffer
        self.inputs: list = []  # of the last job
        self.tasks = running_tasks()
        self.buffer = mmap.mmap(-1, BUFFER_BYTES, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.program_limits: dict[tuple, list] = {}  # by time and memory
        self.is_init = confinement.layers.active("pid_namespace")  # PID 1 of the namespace
        # Where /proc lists this namespace alone, all other processes descend from the program.
        self.sees_descendants = self.is_init and os.readlink("/proc/self") == str(os.getpid())
        self.filter_signals = confinement.signals_are_filtered()
        self.scratch = Scratch(confinement.box, confinement.shared_memory)

    def serve(self) -> None:
        while True:
            count, ancillary, _, _ = self.sock.recvmsg_into([self.buffer], ANCILLARY)
            if not count:
                return
            start = 0
            while start < count and self.buffer[start] == DONE[0]:  # for a program that had ended by itself
                start += 1
            if start < count:
                message, start = self._receive_message(start, count)
                descriptors = list(memoryview(ancillary[0][2]).cast("i"))
                body = marshal.dumps(self._run(message, start, descriptors))
                self.sock.sendall(LENGTH.pack(len(body)) + body)
                for descriptor in descriptors:  # not earlier, or the worker would be woken twice
                    os.close(descriptor)

    def _receive_message(self, start: int, count: int) -> tuple[mmap.mmap, int]:
        """The rest of a message whose first bytes are in the buffer: where it is, in the buffer unless it is long."""
        buffer = self.buffer
        while count < start + RUN_HEADER.size:
            count += self._receive(buffer, count, start + RUN_HEADER.size)
        end = start + RUN_HEADER.size + sum(RUN_HEADER.unpack_from(buffer, start)[1:])
        if end > len(buffer):
            buffer = mmap.mmap(-1, end - start)
            buffer[: count - start] = self.buffer[start:count]
            start, count, end = 0, count - start, end - start
        while count < end:
            count += self._receive(buffer, count, end)
        return buffer, start

    def _receive(self, buffer: mmap.mmap, start: int, end: int) -> int:
        with memoryview(buffer) as view, view[start:end] as place:
            return self.sock.recv_into(place) or sys.exit(0)

    def _set_limits(self, limits: dict) -> list[tuple[int, int]]:
        """Enter the limits that all jobs share, with the first job; return those for this job's process alone."""
        if not self.program_limits:
            set_limit("RLIMIT_NOFILE", limits["open_files"])
            set_limit("RLIMIT_NPROC", self.tasks + limits["processes"])
            set_limit("RLIMIT_FSIZE", limits["output_bytes"])
            set_limit("RLIMIT_CORE", 0)
        key = (limits["timeout"], limits["memory"])
        if key not in self.program_limits:
            seconds = int(limits["timeout"]) + 2
            own = [limit_within("RLIMIT_CPU", seconds), limit_within("RLIMIT_AS", limits["memory"])]
            self.program_limits[key] = own
        return self.program_limits[key]

    def _run(self, message: mmap.mmap, start: int, descriptors: list[int]) -> dict:
        """Run a program to its end; ``descriptors``: its channel and, for a stdin program, its output and input.

        Its text is decoded in its own process only, and erased here: the next program has a copy of this memory.
        """
        _, head, body = RUN_HEADER.unpack_from(message, start)
        place = start + RUN_HEADER.size + head
        limits, has_inputs, inputs = marshal.loads(message[start + RUN_HEADER.size : place])
        if inputs is not None or not has_inputs:  # another problem's inputs are not for this program
            self.inputs = marshal.loads(inputs) if inputs is not None else []
        own_limits = self._set_limits(limits)
        started = time.monotonic()
        pid = os.fork()
        if pid == 0:
            status, leave = OWN_FAILURE, os._exit
            try:
                self._enter_child(own_limits, descriptors)
                job = marshal.loads(message[place : place + body]) | {"inputs": self.inputs}
                status = STRATEGIES[job["strategy"]](job, descriptors[0], self.report_buffer) or 0
                leave = end_interpreter if job["strategy"] == "main" else leave
            finally:
                leave(status)
        timed_out, exact = self._watch(pid, started, limits)
        seconds = time.monotonic() - started
        status, usage = self._kill_family(pid)
        if message is self.buffer:
            message[place : place + body] = bytes(body)
        else:
            message.close()
        self.scratch.clear()
        return {
            "timed_out": timed_out,
            "exact": exact,
            "cpu": usage.ru_utime + usage.ru_stime,
            "seconds": seconds,
            "exit": os.waitstatus_to_exitcode(status),
        }

    def _enter_child(self, own_limits: list[tuple[int, int]], descriptors: list[int]) -> None:
        """In the child: leave this process's session and files; enter the limits.

        Every line costs here: a page that the child writes for the first time is copied for it.
        """
        os.setsid()
        if linux.AVAILABLE and not self.is_init:
            linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
        os.close(self.descriptor)
        os.close(self.wait_time.descriptor)
        os.dup2(0, 2)  # /dev/null: the worker's log is not for programs
        for descriptor, standard in zip(descriptors[1:], (1, 0), strict=False):
            os.dup2(descriptor, standard)
            os.close(descriptor)
        for kind, most in own_limits:
            resource.setrlimit(kind, (most, most))
        if self.sees_descendants:  # which this process can then be asked for what memory it shares
            linux.prctl(linux.PR_SET_DUMPABLE, 1)
        if self.filter_signals:
            seccomp.install(seccomp.signal_filter(os.getpid()))

    def _watch(self, pid: int, started: float, limits: dict) -> tuple[bool, bool]:
        """Wait until the child has ended, the worker is done with it, or its time is up; whether it is, and surely so.

        What runs here for most programs is short: after a fork, each page that is written costs a fault, and a copy
        while the child has it too.
        """
        ended = os.pidfd_open(pid) if HAS_PIDFD else -1
        awaited = [self.descriptor, ended] if HAS_PIDFD else [self.descriptor]
        left = min(limits["timeout"], FIRST_WAIT) if HAS_PIDFD else 0
        clock = None
        try:
            while True:
                ready, _, _ = select.select(awaited, (), (), left)
                if ended in ready:
                    return False, True
                if ready:
                    if not self.sock.recv(1):  # else it is DONE
                        self._kill_family(pid)
                        sys.exit(0)
                    return False, True
                clock = clock or FamilyClock(pid, started, self.sees_descendants)
                left = limits["timeout"] - clock.own(self.wait_time.read())
                if left <= 0 or clock.wall() > limits["wall"]:
                    return True, clock.exact and left <= 0
                count, memory = family_memory() if self.sees_descendants else (1, 0)
                if memory > limits["memory"]:
                    return False, True  # to be killed
                left = min(max(left, SHORTEST_WAIT), LONGEST_WAIT if count == 1 else FAMILY_WAIT)
                if not HAS_PIDFD:
                    left = min(left, POLL_SECONDS)
                    if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                        return False, True
        finally:
            if HAS_PIDFD:
                os.close(ended)

    def _kill_family(self, pid: int) -> tuple:
        """Kill the child and all its descendants; return its exit status and resource usage."""
        if not self.is_init:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)
        _, status, usage = os.wait4(pid, 0)
        while True:
            try:
                gone, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return status, usage
            if gone == 0 and self.is_init:
                os.kill(-1, signal.SIGKILL)
            elif gone == 0:
                for orphan in children():
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        if os.getpgid(orphan) != os.getpgid(0):
                            os.killpg(os.getpgid(orphan), signal.SIGKILL)
                        os.kill(orphan, signal.SIGKILL)
            time.sleep(0.001 if gone == 0 else 0)


def end_interpreter(status: int) -> NoReturn:
    """Leave a program's process by the interpreter's own end (``bootstrap`` lets this exception through)."""
    raise SystemExit(status)


def forget_modules() -> None:
    """Remove this package and the start script from where a program's imports look."""
    (folder,) = sys.modules[PACKAGE].__path__
    for path in [path for path in sys.path_importer_cache if path.startswith(folder)]:
        del sys.path_importer_cache[path]
    for name in [name for name in sys.modules if name.partition(".")[0] in (PACKAGE, "__main__")]:
        del sys.modules[name]


def main(
    sock: socket.socket, wait_time: WaitTime, buffer: ReportBuffer, box: str, layers: LayerStates, worker_pid: int
) -> None:
    """Serve until the worker hangs up. The first message to it has the states of the layers."""
    if linux.AVAILABLE:
        linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
        linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
    pid = os.getpid()

    def interrupt(*_: object) -> None:
        """Interrupts programs, which inherit this, but not this process."""
        if os.getpid() != pid:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    os.makedirs(os.path.join(box, "scratch"), 0o700)
    confinement = Confinement(layers, box, worker_pid)
    random.seed(0)
    forget_modules()
    warm_up()
    body = marshal.dumps(dict(layers))
    sock.sendall(LENGTH.pack(len(body)) + body)
    gc.collect()
    gc.freeze()
    ForkServer(sock, wait_time, buffer, confinement).serve()
