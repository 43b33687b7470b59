"""The protocol between the processes: frames, message headers, and the codes for a run that ends early.

A report is a sequence of frames, each a header and a payload; a conversation with a program is frames too. Texts and
values in them are plain data (``plain``).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from .plain import encode

FRAME = struct.Struct("<cIQ")  # kind, index of the test, bytes of the payload
SETUP = b"S"  # the problem's setup raised this
LOAD = b"L"  # the program raised this before its tests
READY = b"R"  # the program has run, the tests begin
PASS = b"P"  # an assert held
FAIL = b"F"  # an assert did not hold: actual value, expected value
ERROR = b"E"  # a test raised this: type, message, line, function
VALUE = b"V"  # a call returned this
GRAPH = b"G"  # a call returned this, more than plain data (``graph``), or changed its arguments
OPAQUE = b"O"  # a call returned what is not plain data: type, text
END = b"Z"  # all tests have run: the job's nonce
KINDS = frozenset((SETUP, LOAD, READY, PASS, FAIL, ERROR, VALUE, GRAPH, OPAQUE, END))  # of a report

LENGTH = struct.Struct("<Q")  # bytes of the message that follows
RUN, DONE = b"J", b"D"  # to the fork server: run a program; its tests are over
RUN_HEADER = struct.Struct("<cQQ")  # RUN, bytes for the fork server, bytes for the program's process
MARSHALLED, PICKLED = b"m", b"p"  # first byte of a request to a program: how the rest is encoded
REQUEST_MODULE = "__sandbox__"  # module that pickled requests name for a function which resolves object handles

# Faults: why a conversation with a program ended before the program did.
SLOW = "slow"  # the tests' own code took too long
UNTRANSPORTABLE = "untransportable"  # the tests pass what cannot be sent to another process
TOO_LARGE = "the results were more data than allowed"


class FrameWriter:
    """Packs frames; ``write`` gets the bytes of a whole frame."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write

    def send(self, kind: bytes, index: int, payload: bytes = b"") -> None:
        self._write(FRAME.pack(kind, index, len(payload)) + payload)

    def send_texts(self, kind: bytes, index: int, *texts: object) -> None:
        self.send(kind, index, encode(texts) or b"")


def read_frames(report: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int, int]]:
    """Yield kind, test index, payload offset and payload length of each frame between two offsets.

    Parsing stops at the first malformed frame. ``report`` is bytes, or is sliced like them.
    """
    while start + FRAME.size <= end:
        kind, index, length = FRAME.unpack(report[start : start + FRAME.size])
        start += FRAME.size
        if kind not in KINDS or length > end - start:
            return
        yield kind, index, start, length
        start += length
