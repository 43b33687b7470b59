"""The worker's service: takes jobs from the host, has its fork server run the programs, runs the tests, and reports.

Tests that are code run here (``execution``) against proxies. A program's output and the values of its calls are
collected here, and compared by the host.
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
from typing import BinaryIO

from ..kernel.rlimits import set_limit
from ..wire.protocol import DONE, LENGTH, RUN, RUN_HEADER, SETUP, SLOW, UNTRANSPORTABLE, FrameWriter
from ..wire.report_buffer import ReportBuffer
from ..wire.testcode import MODULE, fresh_namespace
from ..wire.wait_time import WaitTime
from .capture import Capture, Spool
from .channels import LiveChannel, ReplayChannel
from .client import ProgramClient
from .execution import DEADLINE, LoadedTests, run_tests, setup_error

REPORT_BYTES = 512 << 20  # of a report: the values of all calls of a program
ANSWERS_BYTES = 64 << 20  # of a program's answers to a script
ERROR_BYTES = 64 << 10  # of a stdin program's report, which is its exception
OWN_MEMORY = 512 << 20  # bytes of the worker itself beside what a program may have: what tests make of its values
COLLECT_SECONDS = 600.0  # of processor time to collect what programs send
SOCKET_TIMEOUT = struct.pack("ll", 1, 0)  # seconds and microseconds without an answer before a check of the others

NOTHING_RUN = {"timed_out": False, "cpu": 0.0, "seconds": 0.0, "exit": 0, "report": 0, "output": 0, "dropped": 0}


class Worker:
    """Serves jobs from a socket, one after the other."""

    def __init__(
        self, sock: socket.socket, fork_server: socket.socket, pid: int, wait_time: WaitTime, buffer: ReportBuffer,
        folder: str,
    ) -> None:  # fmt: skip
        self.sock = sock
        self.fork_server = fork_server
        self.pid = pid  # the fork server's
        self.wait_time = wait_time
        self.report_buffer = buffer
        self.folder = folder
        self.payloads: tuple[bytes | None, bytes | None] = (None, None)  # setup and tests of the last job with some
        self.tests: LoadedTests | None = None
        self.sent_inputs: bytes | None = None  # inputs that the fork server has
        fork_server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, SOCKET_TIMEOUT)
        self._send((0, [self._outcome()], b""))

    def serve(self) -> None:
        while True:
            header = self.sock.recv(LENGTH.size, socket.MSG_WAITALL)
            if not header:
                return
            (length,) = LENGTH.unpack(header)
            job = marshal.loads(self.sock.recv(length, socket.MSG_WAITALL))
            if job["tests"] is not None:
                self.payloads = (job["setup"], job["tests"])
                self.tests = LoadedTests(*self.payloads) if job["strategy"] == "proxy" else None
            set_limit("RLIMIT_AS", OWN_MEMORY + job["limits"]["memory"], soft=True)
            DEADLINE.allow(job["limits"]["timeout"] if job["strategy"] == "proxy" else COLLECT_SECONDS)
            spool = Spool()
            outcomes = self._run(job, spool)
            if spool.starts_with(SETUP) and self._setup_fails(job):
                outcomes[-1]["setup_failed"] = True
            self._reply(job["ticket"], outcomes, spool)

    def _setup_fails(self, job: dict) -> bool:
        """Whether the problem's setup fails here too, as the program's process claims: its word is not enough."""
        setup = self.payloads[0]
        return setup is not None and setup_error(marshal.loads(setup), fresh_namespace(MODULE)) is not None

    def _reply(self, ticket: int, outcomes: list[dict], spool: Spool) -> None:
        if spool.file is None:
            self._send((ticket, outcomes, bytes(spool.memory)))
        else:
            self._send((ticket, outcomes, None), [spool.file.fileno()])
            spool.file.close()

    def _send(self, reply: tuple, files: Sequence[int] = ()) -> None:
        """Send a ticket, its outcomes, and its report unless that is a file; ticket 0 has the layers' states."""
        body = marshal.dumps(reply)
        message = LENGTH.pack(len(body)) + body
        sent = socket.send_fds(self.sock, [message], files)
        if sent < len(message):  # an empty send is a system call too, and fails if the host took all and hung up
            self.sock.sendall(message[sent:])

    def _run(self, job: dict, spool: Spool) -> list[dict]:
        """The outcomes of a job's runs: one for all its tests, or one for each stdin test up to a time-out."""
        if job["strategy"] == "proxy":
            return [self._run_proxy(job, spool)]
        if job["strategy"] != "main":
            return [self._collect_report(job, spool)]
        outcomes = []
        for stdin in marshal.loads(self.payloads[1]):
            outcomes.append(self._collect_output(job, spool, stdin))
            if outcomes[-1]["timed_out"]:
                break
        return outcomes

    def _start(self, job: dict, inputs: bytes | None = None, files: tuple[int, ...] = ()) -> socket.socket:
        """Have a program started; return our end of its socket. The fork server keeps its inputs for the next one."""
        ours, theirs = socket.socketpair()
        self.wait_time.reset()
        self.report_buffer.reset()
        head = marshal.dumps((job["limits"], inputs is not None, None if inputs is self.sent_inputs else inputs))
        self.sent_inputs = inputs
        wanted = ("program", "entry_point", "strategy", "names", "classes")
        body = marshal.dumps({name: job[name] for name in wanted} | {"setup": self.payloads[0]})
        with theirs:
            message = RUN_HEADER.pack(RUN, len(head), len(body)) + head + body
            sent = socket.send_fds(self.fork_server, [message], [theirs.fileno(), *files])
            if sent < len(message):
                self.fork_server.sendall(message[sent:])
        return ours

    def _run_proxy(self, job: dict, spool: Spool) -> dict:
        """Run tests that are code against the program: on its answers to their script, or else while it answers."""
        tests = self.tests
        if tests.requests is None:
            tests.write_script(job)
        if tests.untransportable:
            return NOTHING_RUN | {"fault": UNTRANSPORTABLE}
        outcome = self._replay(job, spool) if tests.follows_script else None
        return outcome or self._converse(job, spool)

    def _replay(self, job: dict, spool: Spool) -> dict | None:
        """Run the tests on the program's answers to their script; None if they diverge from it."""
        tests, answers, report = self.tests, bytearray(), bytearray()
        channel = self._start(job | {"strategy": "replay"}, tests.requests_payload)
        capture = Capture(channel.detach(), answers.extend, ANSWERS_BYTES)
        outcome = self._await_outcome([capture])
        answers += self.report_buffer.take_rest()
        if tests.known is not None and tests.known[0] == answers:
            spool.write(tests.known[1])
            return self._proxy_outcome(job, outcome, spool, "")
        replay = ReplayChannel(tests.requests, bytes(answers))
        if run_tests(tests, job, ProgramClient(replay, job["expects_stop"]), FrameWriter(report.extend)):
            tests.known = answers, report
        if capture.dropped or replay.fault not in ("", SLOW):
            tests.divergences += 1
            return None
        spool.write(report)
        return self._proxy_outcome(job, outcome, spool, replay.fault)

    def _converse(self, job: dict, spool: Spool) -> dict:
        """Run the tests while the program answers."""
        with self._start(job) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, SOCKET_TIMEOUT)
            channel = LiveChannel(sock, self._host_has_gone, self.wait_time)
            run_tests(self.tests, job, ProgramClient(channel, job["expects_stop"]), FrameWriter(spool.write))
        self.fork_server.sendall(DONE)
        return self._proxy_outcome(job, self._outcome(), spool, channel.fault)

    @staticmethod
    def _proxy_outcome(job: dict, outcome: dict, spool: Spool, fault: str) -> dict:
        if fault == SLOW:
            outcome |= {"timed_out": True, "cpu": job["limits"]["timeout"]}
        return outcome | {"report": spool.size, "output": 0, "dropped": 0, "fault": fault}

    def _collect_output(self, job: dict, spool: Spool, stdin: bytes) -> dict:
        """Run a stdin program; spool its output, then its report."""
        error = bytearray()
        output, writing = os.pipe()
        captures = [Capture(output, spool.write, job["limits"]["output_bytes"])]
        with readable_file(stdin, self.folder) as file:
            channel = self._start(job, None, (writing, file.fileno()))
        os.close(writing)
        captures.append(Capture(channel.detach(), error.extend, ERROR_BYTES))
        outcome = self._await_outcome(captures)
        spool.write(bytes(error))
        dropped = sum(capture.dropped for capture in captures)
        return outcome | {"report": len(error), "output": captures[0].kept, "dropped": dropped, "fault": ""}

    def _collect_report(self, job: dict, spool: Spool) -> dict:
        """Have a program make its calls, or run its tests in its own process; spool its report."""
        channel = self._start(job, self.payloads[1] if job["strategy"] == "calls" else None)
        if job["strategy"] == "in_process":
            body = marshal.dumps((job["nonce"], self.payloads[1]))
            with contextlib.suppress(OSError):  # the program's process has gone: its outcome says so
                channel.sendall(LENGTH.pack(len(body)) + body)
        capture = Capture(channel.detach(), spool.write, REPORT_BYTES)
        outcome = self._await_outcome([capture])
        rest = self.report_buffer.take_rest()
        spool.write(rest)
        return outcome | {"report": capture.kept + len(rest), "output": 0, "dropped": capture.dropped, "fault": ""}

    def _await_outcome(self, captures: list[Capture]) -> dict:
        """Read the program's pipes until the fork server has sent its outcome."""
        poll = select.poll()
        by_descriptor = {capture.descriptor: capture for capture in captures}
        for descriptor in (*by_descriptor, self.fork_server.fileno()):
            poll.register(descriptor, select.POLLIN)
        outcome = None
        while outcome is None:
            events = poll.poll(1000)
            if not events and self._host_has_gone():
                sys.exit(0)
            for descriptor, _ in events:
                if descriptor == self.fork_server.fileno():
                    outcome = self._outcome()
                elif not by_descriptor[descriptor].read():
                    poll.unregister(descriptor)
        for capture in captures:
            capture.drain()
            os.close(capture.descriptor)
        return outcome

    def _outcome(self) -> dict:
        """The fork server's next message: the outcome of a program, at first the layers' states."""
        (length,) = LENGTH.unpack(self._from_fork_server(LENGTH.size))
        return marshal.loads(self._from_fork_server(length))

    def _from_fork_server(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            try:
                piece = self.fork_server.recv(count - len(data))
            except BlockingIOError:
                if self._host_has_gone():
                    sys.exit(0)
                continue
            if not piece:
                sys.exit("the fork server has died")
            data += piece
        return bytes(data)

    def _host_has_gone(self) -> bool:
        """Polled while a program runs; also continues the fork server if something stopped it."""
        if os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOHANG) is not None:
            os.kill(self.pid, signal.SIGCONT)
        poll = select.poll()
        poll.register(self.sock, 0)  # reports only a hang-up
        return bool(poll.poll(0))

    def close(self) -> None:
        """End the fork server, which ends its programs, and remove the folder."""
        self.fork_server.close()
        os.waitpid(self.pid, 0)
        shutil.rmtree(self.folder, ignore_errors=True)


def readable_file(content: bytes, folder: str) -> BinaryIO:
    """An unnamed file that its reader may open again, as ``/dev/stdin`` does: in memory where the system can."""
    descriptor = os.memfd_create("stdin", 0) if hasattr(os, "memfd_create") else None
    file = tempfile.TemporaryFile(dir=folder) if descriptor is None else open(descriptor, "w+b")  # noqa: SIM115
    file.write(content)
    file.seek(0)
    return file


def main(
    sock: socket.socket, fork_server: socket.socket, pid: int, wait_time: WaitTime, buffer: ReportBuffer, folder: str
) -> None:
    """Serve the host's socket until it is closed."""
    worker = Worker(sock, fork_server, pid, wait_time, buffer, folder)
    gc.freeze()  # what is loaded stays: the collector need not visit it again and again
    try:
        worker.serve()
    finally:
        worker.close()
