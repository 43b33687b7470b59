"""The warm parent: a small process that forks a child for each program, times it, and clears up after it.

Forked by ``start`` before there is any test, and told by ``worker`` of each program its text, its limits and, for
calls, the inputs. The child inherits imported modules and nothing worth knowing. For each program:

- its own process, session and process group, standard streams, scratch directory (cleared afterwards);
- limits on processor time, memory, open files, processes and file size;
- a deadline in the program's own time: processor time, or wall time less the time for which it was kept waiting, for a
  processor or for its tests;
- at the end, or when the worker says so, all that descends from it is killed. Elsewhere than on Linux, orphans that
  left the process group live on.

What keeps programs from the rest of the machine is taken on once, by this process (``isolation``).

Standard library only.
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
import stat
import struct
import sys
import time

import candidate
import linux
import seccomp
from frames import LENGTH
from isolation import Confinement, Layers
from system import Clock, Idle, children, clear_directory, family_memory, limit_within, running_tasks, set_limit
from tail import Tail

FILES = os.listdir(os.path.dirname(os.path.abspath(__file__)))
MESSAGE = 1 << 20  # bytes of a job's message for which there is always room
ANCILLARY = socket.CMSG_SPACE(4 * struct.calcsize("i"))  # for up to four descriptors
PATIENCE = 0.02  # seconds between two looks at a child's time, at least
LOOK = 0.25  # seconds between two looks at the memory of a program and its children, at most
JOB, DONE = b"J", b"D"  # messages from the worker: a program to run, and that its tests are over
START = struct.Struct("<cQQ")  # of a job's message: JOB, length of what this process reads, length of the rest
HAS_PIDFD = hasattr(os, "pidfd_open")


class Parent:
    """Serves the worker's socket, one program after the other."""

    def __init__(self, sock: socket.socket, idle: Idle, tail: Tail, confinement: Confinement) -> None:
        self.sock = sock
        self.tail = tail
        self.descriptor = sock.fileno()
        self.idle = idle
        self.box = confinement.box
        self.scratch = os.path.join(self.box, "scratch")
        self.inputs: list = []  # of the last job that brought calls
        self.tasks = running_tasks()
        self.buffer = mmap.mmap(-1, MESSAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.own: dict[tuple, list] = {}  # limits of each program, by time and memory
        self.is_first = confinement.layers.active("pid_namespace")
        # Where /proc shows the namespace alone, all its processes are the program's.
        self.sees_family = self.is_first and os.readlink("/proc/self") == str(os.getpid())
        self.filter_signals = confinement.signals_are_filtered()
        os.chdir(self.scratch)

    def serve(self) -> None:
        while True:
            count, ancillary, _, _ = self.sock.recvmsg_into([self.buffer], ANCILLARY)
            if not count:
                return
            start = 0
            while start < count and self.buffer[start] == DONE[0]:  # of a program that had ended by itself
                start += 1
            if start < count:
                message, place = self._received(start, count)
                descriptors = list(memoryview(ancillary[0][2]).cast("i"))
                body = marshal.dumps(self._run(message, place, descriptors))
                self.sock.sendall(LENGTH.pack(len(body)) + body)
                for descriptor in descriptors:  # not earlier, or the worker would be woken twice
                    os.close(descriptor)

    def _received(self, start: int, count: int) -> tuple[mmap.mmap, int]:
        """A job's message, whose first bytes are in the buffer, and its place there or, if it is long, elsewhere."""
        buffer = self.buffer
        while count < start + START.size:
            count += self._receive(buffer, count, start + START.size)
        end = start + START.size + sum(START.unpack_from(buffer, start)[1:])
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

    def _limit(self, limits: dict) -> None:
        """Take on, with the first job, the limits that are the same for all, and prepare those of this job's own."""
        if not self.own:
            set_limit("RLIMIT_NOFILE", limits["open_files"])
            set_limit("RLIMIT_NPROC", self.tasks + limits["processes"])
            set_limit("RLIMIT_FSIZE", limits["output_bytes"])
            set_limit("RLIMIT_CORE", 0)
        key = (limits["timeout"], limits["memory"])
        if key not in self.own:
            seconds = int(limits["timeout"]) + 2
            self.own[key] = [limit_within("RLIMIT_CPU", seconds), limit_within("RLIMIT_AS", limits["memory"])]
        limits["own"] = self.own[key]

    def _run(self, message: mmap.mmap, start: int, descriptors: list[int]) -> dict:
        """Run a program to its end; ``descriptors``: its channel and, for a whole program, its output and input.

        The program is read in its own process alone, and its text removed from here: the next has this one's memory.
        """
        _, head, body = START.unpack_from(message, start)
        place = start + START.size + head
        limits, inputs = marshal.loads(message[start + START.size : place])
        if inputs is not None:
            self.inputs = marshal.loads(inputs)
        self._limit(limits)
        started = time.monotonic()
        pid = os.fork()
        if pid == 0:
            try:
                self._enter(limits, descriptors)
                job = marshal.loads(message[place : place + body]) | {"inputs": self.inputs}
                candidate.start(job, descriptors[0], self.tail)
            finally:
                os._exit(70)
        timed_out = self._watch(pid, started, limits)
        seconds = time.monotonic() - started
        status, usage = self._end_family(pid)
        if message is self.buffer:
            message[place : place + body] = bytes(body)
        else:
            message.close()
        self._clear_scratch()
        return {
            "timed_out": timed_out,
            "cpu": usage.ru_utime + usage.ru_stime,
            "seconds": seconds,
            "exit": os.waitstatus_to_exitcode(status),
        }

    def _enter(self, limits: dict, descriptors: list[int]) -> None:
        """In the child: leave the parent's session and files; take on the limits.

        Every line costs here: what the child touches for the first time is copied for it.
        """
        os.setsid()
        if linux.AVAILABLE and not self.is_first:
            linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
        os.close(self.descriptor)
        os.close(self.idle.descriptor)
        os.dup2(0, 2)  # nothing; the worker's log is not for programs
        for descriptor, standard in zip(descriptors[1:], (1, 0), strict=False):
            os.dup2(descriptor, standard)
            os.close(descriptor)
        for kind, most in limits["own"]:
            resource.setrlimit(kind, (most, most))
        if self.filter_signals:
            seccomp.install(seccomp.signal_filter(os.getpid()))

    def _watch(self, pid: int, started: float, limits: dict) -> bool:
        """Wait until the child has ended, the worker has done with it, or its time is up: whether it is.

        What runs here for most programs is kept short: memory that is written after a fork costs a fault for each page,
        and a copy of it while the child has it too.
        """
        ended = os.pidfd_open(pid) if HAS_PIDFD else -1
        awaited = [self.descriptor, ended] if HAS_PIDFD else [self.descriptor]
        left = min(limits["timeout"], LOOK) if HAS_PIDFD else 0
        clock = None
        try:
            while True:
                ready, _, _ = select.select(awaited, (), (), left)
                if ended in ready:
                    return False
                if ready:
                    if not self.sock.recv(1):  # else it is DONE
                        self._end_family(pid)
                        sys.exit(0)
                    return False
                clock = clock or Clock(pid, started)
                left = self._left(clock, limits)
                if left <= 0:
                    return True
                if clock.wall() > LOOK and self.sees_family and family_memory() > limits["memory"]:
                    return False  # to be killed
                left = min(max(left, PATIENCE), LOOK)
                if not HAS_PIDFD:  # look now and then whether the child has ended
                    left = min(left, 0.002)
                    if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                        return False
        finally:
            if HAS_PIDFD:
                os.close(ended)

    def _left(self, clock: Clock, limits: dict) -> float:
        """Seconds of its own time that the child has left, at least; not more than 0: its time is up."""
        wall = clock.wall()
        if wall < limits["timeout"]:  # only then is it worth asking how much of that the child had to wait
            return limits["timeout"] - wall
        return min(limits["timeout"] - clock.own(self.idle.read()), limits["wall"] - wall)

    def _end_family(self, pid: int) -> tuple:
        """Kill the child and everything else that descends from it; its status and resource usage."""
        if not self.is_first:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)
        _, status, usage = os.wait4(pid, 0)
        while True:
            try:
                gone, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return status, usage
            if gone == 0 and self.is_first:
                os.kill(-1, signal.SIGKILL)
            elif gone == 0:
                for orphan in children():
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        if os.getpgid(orphan) != os.getpgid(0):
                            os.killpg(os.getpgid(orphan), signal.SIGKILL)
                        os.kill(orphan, signal.SIGKILL)
            time.sleep(0.001 if gone == 0 else 0)

    def _clear_scratch(self) -> None:
        """Leave the box with an empty scratch directory and nothing else, whatever the program did there."""
        with contextlib.suppress(OSError):  # else something is in the way: clear it all
            real = os.lstat(self.scratch).st_mode == stat.S_IFDIR | 0o700
            if real and os.listdir(self.box) == ["scratch"] and not os.listdir(self.scratch):
                return
        clear_directory(self.box)
        os.mkdir(self.scratch, 0o700)
        os.chdir(self.scratch)


def main(sock: socket.socket, idle: Idle, tail: Tail, box: str, layers: Layers, number: int) -> None:
    """Serve until the worker, whose number this is, hangs up. The first message tells which layers are active."""
    if linux.AVAILABLE:
        linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
        linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
    pid = os.getpid()

    def interrupt(*_: object) -> None:
        """Programs inherit this, and are interrupted; this process goes on."""
        if os.getpid() != pid:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    os.makedirs(os.path.join(box, "scratch"), 0o700)
    confinement = Confinement(layers, box, number)
    random.seed(0)
    for name in ("__ledex__", "__main__", *(entry.partition(".")[0] for entry in FILES)):
        sys.modules.pop(name, None)  # a program that imports one of these names does not mean ours
    candidate.warm_up()
    body = marshal.dumps(dict(layers))
    sock.sendall(LENGTH.pack(len(body)) + body)
    gc.collect()
    gc.freeze()
    Parent(sock, idle, tail, confinement).serve()
