"""The warm parent: a small process that forks a child for each program, times it, and clears up after it.

Started as a script by ``pool`` with a clean environment; imports the standard library only, and the modules that
programs commonly use, so that a fork has them ready. For each program:

- its own process, session and process group, standard streams, scratch directory (cleared afterwards);
- limits on processor time, memory, open files, processes (not enforced by the kernel for root) and file size;
- a deadline in the program's own time: processor time, or wall time less the time it waited for a processor;
- at the end the process group is killed, and so is whatever left the group: orphans become this process's children.

Not yet: users, namespaces, seccomp and Landlock. A program can read the files that its user can read, use the
network, and signal this process; the pool then replaces the worker. Elsewhere than on Linux, orphans that left the
group live on.
"""

from __future__ import annotations

import contextlib
import gc
import marshal
import os
import resource
import select
import shutil
import signal
import socket
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import candidate
from frames import LENGTH
from streams import CHUNK, Capture, Spool
from system import (
    PR_SET_CHILD_SUBREAPER,
    PR_SET_PDEATHSIG,
    Clock,
    children,
    prctl_function,
    remove_tree,
    running_tasks,
    set_limit,
)

del sys.path[0]
for name in ("candidate", "frames", "plain", "show", "streams", "system"):
    del sys.modules[name]  # a program that imports one of these names does not mean ours

COMMON = (
    "abc", "array", "bisect", "calendar", "cmath", "collections", "collections.abc", "contextlib", "copy",
    "dataclasses", "datetime", "decimal", "enum", "fractions", "functools", "hashlib", "heapq", "inspect", "io",
    "itertools", "json", "math", "numbers", "operator", "queue", "random", "re", "statistics", "string", "textwrap",
    "threading", "time", "traceback", "types", "typing", "unicodedata",
)  # fmt: skip
REPORT_BYTES = 512 << 20  # of a report: the values of all calls of a program
NOTE_BYTES = 64 << 10  # of the report of a stdin program: its exception
STACK_BYTES = 64 << 20  # C stack, for deep recursion through C code; the default gap above the stack allows it


class Worker:
    """Serves jobs from a socket, one after the other."""

    def __init__(self, sock: socket.socket, folder: str) -> None:
        self.sock = sock
        self.scratch = os.path.join(folder, "scratch")
        self.suite = (None, None)  # setup and suite of the last job that brought them
        self.tasks = running_tasks()
        self.prctl = prctl_function()
        if self.prctl:
            self.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        os.mkdir(self.scratch)

    def serve(self) -> None:
        while True:
            header = self._receive(LENGTH.size)
            if header is None:
                return
            body = self._receive(LENGTH.unpack(header)[0])
            if body is None:
                return
            job = marshal.loads(body)
            if job["suite"] is not None:
                self.suite = (job["setup"], job["suite"])
            job["setup"], job["suite"] = self.suite
            spool = Spool()
            outcomes = self._run(job, spool)
            self._reply(job["ticket"], outcomes, spool)

    def _receive(self, count: int) -> bytes | None:
        data = bytearray()
        while len(data) < count:
            piece = self.sock.recv(min(count - len(data), CHUNK))
            if not piece:
                return None
            data += piece
        return bytes(data)

    def _reply(self, ticket: int, outcomes: list[dict], spool: Spool) -> None:
        by_file = spool.file is not None
        body = marshal.dumps((ticket, outcomes, None if by_file else bytes(spool.memory)))
        message = LENGTH.pack(len(body)) + body
        if by_file:
            sent = socket.send_fds(self.sock, [message], [spool.file.fileno()])
            message = message[sent:]
            spool.file.close()
        self.sock.sendall(message)

    def _run(self, job: dict, spool: Spool) -> list[dict]:
        """The outcomes of a job's executions: one for all its tests, or one for each stdin test up to a time-out."""
        if not job["main"]:
            return [self._execute(job, spool, None)]
        outcomes = []
        for stdin in marshal.loads(job["suite"]):
            outcomes.append(self._execute(job, spool, stdin))
            if outcomes[-1]["timed_out"]:
                break
        return outcomes

    def _execute(self, job: dict, spool: Spool, stdin: bytes | None) -> dict:
        """Run a child to its end. ``output`` and ``report`` are lengths of what it left in the spool, in this order."""
        note = bytearray()
        reading, writing = os.pipe()
        output_reading = output_writing = stdin_file = None
        if stdin is not None:
            output_reading, output_writing = os.pipe()
            stdin_file = tempfile.TemporaryFile()  # noqa: SIM115 (the child's standard input)
            stdin_file.write(stdin)
            stdin_file.seek(0)
        pid = os.fork()
        if pid == 0:
            try:
                self._enter(job["limits"], stdin_file, output_writing, (reading, output_reading))
                candidate.start(job, writing)
            finally:
                os._exit(70)
        os.close(writing)
        clock = Clock(pid)
        sink, limit = (note.extend, NOTE_BYTES) if job["main"] else (spool.write, REPORT_BYTES)
        report = Capture(reading, sink, limit)
        captures = [report]
        if stdin is not None:
            os.close(output_writing)
            stdin_file.close()
            captures.append(Capture(output_reading, spool.write, job["limits"]["output_bytes"]))
        timed_out, cpu, seconds, status, usage = self._watch(pid, clock, captures, job["limits"])
        for capture in captures:
            capture.drain()
            os.close(capture.descriptor)
        spool.write(note)
        self._clear_scratch()
        return {
            "timed_out": timed_out,
            "cpu": max(cpu, usage.ru_utime + usage.ru_stime),
            "seconds": seconds,
            "exit": os.waitstatus_to_exitcode(status),
            "report": report.kept,
            "output": captures[-1].kept if stdin is not None else 0,
            "dropped": sum(capture.dropped for capture in captures),
        }

    def _enter(self, limits: dict, stdin_file, output_writing: int | None, others: tuple[int | None, ...]) -> None:
        """In the child: leave the worker's session, streams and files; take on the limits."""
        os.setsid()
        if self.prctl:
            self.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null if stdin_file is None else stdin_file.fileno(), 0)
        os.dup2(null if output_writing is None else output_writing, 1)
        os.dup2(null, 2)
        own = (null, self.sock.fileno(), stdin_file and stdin_file.fileno(), output_writing, *others)
        for descriptor in own:
            if descriptor is not None:
                os.close(descriptor)
        self.sock.detach()
        os.chdir(self.scratch)
        seconds = int(limits["timeout"]) + 2
        for name, most in (
            ("RLIMIT_CPU", seconds),
            ("RLIMIT_AS", limits["memory"]),
            ("RLIMIT_NOFILE", limits["open_files"]),
            ("RLIMIT_NPROC", self.tasks + limits["processes"]),
            ("RLIMIT_FSIZE", limits["output_bytes"]),
            ("RLIMIT_CORE", 0),
        ):
            set_limit(name, most)

    def _watch(self, pid: int, clock: Clock, captures: list[Capture], limits: dict) -> tuple:
        """Read the child's pipes until it has ended or its time is up; then kill and reap all that it started."""
        timeout, most_wall = limits["timeout"], limits["wall"]
        poll = select.poll()
        by_descriptor = {capture.descriptor: capture for capture in captures}
        for descriptor in by_descriptor:
            poll.register(descriptor, select.POLLIN)
        poll.register(self.sock, 0)  # reports only that the caller has gone
        ended = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None
        if ended is not None:
            poll.register(ended, select.POLLIN)
        timed_out, alive = False, True
        while alive and not timed_out:
            wall = clock.wall()
            left = timeout - wall
            if left <= 0:  # only now is it worth asking how much of that the child had to wait
                left = min(timeout - clock.own(), most_wall - wall)
            timed_out = left <= 0
            if ended is None:  # without pidfd: look now and then whether the child has ended
                left = min(left, 0.05 if by_descriptor else 0.002)
                alive = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
            for descriptor, event in poll.poll(max(left, 0) * 1000 if alive else 0):
                if descriptor == ended:
                    alive = False
                elif descriptor == self.sock.fileno():
                    if event & (select.POLLHUP | select.POLLERR):
                        self._end_family(pid)
                        sys.exit(0)
                elif not by_descriptor[descriptor].read():
                    poll.unregister(descriptor)
                    del by_descriptor[descriptor]
        cpu, seconds = clock.cpu(), clock.wall()
        if ended is not None:
            os.close(ended)
        status, usage = self._end_family(pid)
        return timed_out and alive, cpu, seconds, status, usage

    def _end_family(self, pid: int) -> tuple:
        """Kill the child's process group and everything else that descends from it; its status and resource usage."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)  # a child that had not yet made its group
        _, status, usage = os.wait4(pid, 0)
        while True:
            try:
                gone, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return status, usage
            if gone == 0:
                for orphan in children():
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        if os.getpgid(orphan) != os.getpgid(0):
                            os.killpg(os.getpgid(orphan), signal.SIGKILL)
                        os.kill(orphan, signal.SIGKILL)
                time.sleep(0.001)

    def _clear_scratch(self) -> None:
        """Empty the scratch directory; make it anew if the program removed or replaced it."""
        try:
            if not os.path.islink(self.scratch) and not os.listdir(self.scratch):
                return
        except OSError:
            with contextlib.suppress(OSError):
                os.chmod(self.scratch, 0o700)
        if os.path.islink(self.scratch) or os.path.isfile(self.scratch):
            os.unlink(self.scratch)
        remove_tree(self.scratch)
        os.makedirs(self.scratch, exist_ok=True)


def main() -> None:
    """``worker.py DESCRIPTOR FOLDER``: serve the socket, with the scratch directory in the folder."""
    worker = Worker(socket.socket(fileno=int(sys.argv[1])), sys.argv[2])
    for name in COMMON:
        __import__(name)
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    resource.setrlimit(resource.RLIMIT_STACK, (STACK_BYTES if hard < 0 else min(STACK_BYTES, hard), hard))
    gc.collect()
    gc.freeze()
    try:
        worker.serve()
    finally:
        shutil.rmtree(sys.argv[2], ignore_errors=True)


if __name__ == "__main__":
    main()
