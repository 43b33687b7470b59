"""The worker: takes jobs from a socket, has its warm parent run the programs, runs the tests, and reports.

Tests that are code run here (``tester``) against proxies; a program's output and the values of its calls are collected
here and compared by the caller. Standard library only.
"""

from __future__ import annotations

import contextlib
import gc
import marshal
import os
import select
import shutil
import signal
import socket
import struct
import sys
import tempfile
from collections.abc import Sequence

import tester
from channels import Conversation, Replay
from frames import LENGTH
from parent import DONE, JOB, START
from recorder import Report
from remote import SLOW, Link
from streams import Capture, Spool
from system import Idle, set_limit
from tail import Tail

REPORT_BYTES = 512 << 20  # of a report: the values of all calls of a program
ANSWERS_BYTES = 64 << 20  # of a program's answers to a script
NOTE_BYTES = 64 << 10  # of the report of a stdin program: its exception
MEMORY_BYTES = 4 << 30  # of the worker itself: what tests make of a program's values
COLLECTING = 600.0  # seconds of processor time to collect what programs send
LOOK = struct.pack("ll", 1, 0)  # seconds and microseconds without an answer after which to look around


class Worker:
    """Serves jobs from a socket, one after the other."""

    def __init__(self, sock: socket.socket, parent: socket.socket, pid: int, shared: tuple[Idle, Tail], folder: str):
        self.sock = sock
        self.parent = parent
        self.pid = pid  # the parent's
        self.idle, self.tail = shared
        self.folder = folder
        self.suite: tuple[bytes | None, bytes | None] = (None, None)  # setup and tests of the last job that had them
        self.tests: tester.Suite | None = None
        self.given: bytes | None = None  # inputs that the parent has
        parent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, LOOK)
        self._send((0, [self._message()], b""))

    def serve(self) -> None:
        while True:
            header = self.sock.recv(LENGTH.size, socket.MSG_WAITALL)
            if not header:
                return
            (length,) = LENGTH.unpack(header)
            job = marshal.loads(self.sock.recv(length, socket.MSG_WAITALL))
            if job["suite"] is not None:
                self.suite = (job["setup"], job["suite"])
                self.tests = tester.Suite(*self.suite) if job["run"] == "proxy" else None
            tester.DEADLINE.allow(job["limits"]["timeout"] if job["run"] == "proxy" else COLLECTING)
            spool = Spool()
            outcomes = self._run(job, spool)
            self._reply(job["ticket"], outcomes, spool)

    def _reply(self, ticket: int, outcomes: list[dict], spool: Spool) -> None:
        if spool.file is None:
            self._send((ticket, outcomes, bytes(spool.memory)))
        else:
            self._send((ticket, outcomes, None), [spool.file.fileno()])
            spool.file.close()

    def _send(self, reply: tuple, files: Sequence[int] = ()) -> None:
        """A ticket, what became of it and its report, unless that is a file; ticket 0 is the layers, at the start."""
        body = marshal.dumps(reply)
        message = LENGTH.pack(len(body)) + body
        sent = socket.send_fds(self.sock, [message], files)
        if sent < len(message):  # an empty send is a system call too, and fails if the caller has gone with what it has
            self.sock.sendall(message[sent:])

    def _run(self, job: dict, spool: Spool) -> list[dict]:
        """The outcomes of a job's executions: one for all its tests, or one for each stdin test up to a time-out."""
        if job["run"] == "proxy":
            return [self._replay(job, spool) or self._converse(job, spool)]
        if job["run"] != "main":
            return [self._listen(job, spool)]
        outcomes = []
        for stdin in marshal.loads(self.suite[1]):
            outcomes.append(self._listen(job, spool, stdin))
            if outcomes[-1]["timed_out"]:
                break
        return outcomes

    def _start(self, job: dict, inputs: bytes | None = None, files: tuple[int, ...] = ()) -> socket.socket:
        """Have a program started; our end of its channel. The parent keeps the last inputs."""
        ours, theirs = socket.socketpair()
        self.idle.start()
        self.tail.start()
        head = marshal.dumps((job["limits"], None if inputs is self.given else inputs))
        self.given = inputs or self.given
        wanted = ("program", "entry_point", "run", "names", "classes")
        body = marshal.dumps({name: job[name] for name in wanted} | {"setup": self.suite[0]})
        with theirs:
            message = START.pack(JOB, len(head), len(body)) + head + body
            sent = socket.send_fds(self.parent, [message], [theirs.fileno(), *files])
            if sent < len(message):
                self.parent.sendall(message[sent:])
        return ours

    def _replay(self, job: dict, spool: Spool) -> dict | None:
        """Have the program answer a script, then run the tests; None if there is none or they do not keep to it."""
        tests, answers, report = self.tests, bytearray(), bytearray()
        if tests.script is None:
            return None
        capture = Capture(self._start(job | {"run": "script"}, tests.payload).detach(), answers.extend, ANSWERS_BYTES)
        outcome = self._collect([capture])
        answers += self.tail.taken(capture.kept)
        if tests.known is not None and tests.known[0] == answers:
            spool.write(tests.known[1])
            return self._conversed(job, outcome, spool, "")
        replay = Replay(tests.script, bytes(answers))
        if tester.run(tests, job, Link(replay, job["exact"]), Report(report.extend)):
            tests.known = answers, report
        if capture.dropped or replay.fault not in ("", SLOW):
            tests.deviated()
            return None
        spool.write(report)
        return self._conversed(job, outcome, spool, replay.fault)

    def _converse(self, job: dict, spool: Spool) -> dict:
        """Run the tests while the program answers."""
        with self._start(job) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, LOOK)
            channel = Conversation(sock, self._deserted, self.idle)
            ended = tester.run(self.tests, job, Link(channel, job["exact"]), Report(spool.write))
        self.parent.sendall(DONE)
        if ended and spool.file is None:
            self.tests.keep(channel.script(), bytes(spool.memory))
        return self._conversed(job, self._message(), spool, channel.fault)

    def _conversed(self, job: dict, outcome: dict, spool: Spool, fault: str) -> dict:
        if fault == SLOW:
            outcome |= {"timed_out": True, "cpu": job["limits"]["timeout"]}
        return outcome | {"report": spool.size, "output": 0, "dropped": 0, "fault": fault}

    def _listen(self, job: dict, spool: Spool, stdin: bytes | None = None) -> dict:
        """Collect what a program sends. ``output`` and ``report`` are lengths of what it left, in this order."""
        note = bytearray()
        captures = []
        if stdin is not None:
            output, writing = os.pipe()
            captures.append(Capture(output, spool.write, job["limits"]["output_bytes"]))
            with tempfile.TemporaryFile(dir=self.folder) as file:
                file.write(stdin)
                file.seek(0)
                channel = self._start(job, None, (writing, file.fileno()))
            os.close(writing)
        else:
            channel = self._start(job, self.suite[1] if job["run"] == "calls" else None)
        if job["run"] == "in_process":
            body = marshal.dumps((job["marker"], self.suite[1]))
            with contextlib.suppress(OSError):  # the program's process is gone already: its outcome says so
                channel.sendall(LENGTH.pack(len(body)) + body)
        sink, limit = (note.extend, NOTE_BYTES) if stdin is not None else (spool.write, REPORT_BYTES)
        captures.append(Capture(channel.detach(), sink, limit))
        outcome = self._collect(captures)
        rest = bytes(note) if stdin is not None else self.tail.taken(captures[-1].kept)
        spool.write(rest)
        return outcome | {
            "report": len(rest) if stdin is not None else captures[-1].kept + len(rest),
            "output": captures[0].kept if stdin is not None else 0,
            "dropped": sum(capture.dropped for capture in captures),
            "fault": "",
        }

    def _collect(self, captures: list[Capture]) -> dict:
        """Read the program's pipes until the parent has told its outcome."""
        poll = select.poll()
        by_descriptor = {capture.descriptor: capture for capture in captures}
        for descriptor in (*by_descriptor, self.parent.fileno()):
            poll.register(descriptor, select.POLLIN)
        outcome = None
        while outcome is None:
            events = poll.poll(1000)
            if not events and self._deserted():
                sys.exit(0)
            for descriptor, _ in events:
                if descriptor == self.parent.fileno():
                    outcome = self._message()
                elif not by_descriptor[descriptor].read():
                    poll.unregister(descriptor)
        for capture in captures:
            capture.drain()
            os.close(capture.descriptor)
        return outcome

    def _message(self) -> dict:
        """The parent's next message: the outcome of a program."""
        (length,) = LENGTH.unpack(self._from_parent(LENGTH.size))
        return marshal.loads(self._from_parent(length))

    def _from_parent(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            try:
                piece = self.parent.recv(count - len(data))
            except BlockingIOError:
                if self._deserted():
                    sys.exit(0)
                continue
            if not piece:
                sys.exit("the parent has died")
            data += piece
        return bytes(data)

    def _deserted(self) -> bool:
        """While a program takes its time: whether the caller has gone; wakes the parent if something stopped it."""
        if os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOHANG) is not None:
            os.kill(self.pid, signal.SIGCONT)
        poll = select.poll()
        poll.register(self.sock, 0)  # reports only a hang-up
        return bool(poll.poll(0))

    def close(self) -> None:
        """End the parent, which ends its programs, and remove the folder."""
        self.parent.close()
        os.waitpid(self.pid, 0)
        shutil.rmtree(self.folder, ignore_errors=True)


def main(sock: socket.socket, parent: socket.socket, pid: int, shared: tuple[Idle, Tail], folder: str) -> None:
    """Serve the caller's socket until it is closed."""
    set_limit("RLIMIT_AS", MEMORY_BYTES)
    worker = Worker(sock, parent, pid, shared, folder)
    gc.freeze()  # what is here now stays, and is not to be looked through again and again
    try:
        worker.serve()
    finally:
        worker.close()
