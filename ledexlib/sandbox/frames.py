"""The format of messages between the processes of the sandbox: frames, each a header and a payload.

A report is a row of frames; a conversation with a program (see ``remote``) is frames both ways. Texts and values are
plain data (see ``plain``). Standard library only: the worker loads this file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

FRAME = struct.Struct("<cIQ")  # kind, test, length of the payload
SETUP = b"S"  # the problem's setup raised this
LOAD = b"L"  # the program raised this before its tests
READY = b"R"  # the program has run, the tests begin
PASS = b"P"  # an assert held
FAIL = b"F"  # an assert did not hold: value that came out, value expected
ERROR = b"E"  # a test raised this: type, message, line, function
VALUE = b"V"  # a call returned this
GRAPH = b"G"  # a call returned this, or changed its arguments: see ``graph``
OPAQUE = b"O"  # a call returned what is not plain data: type, text
END = b"Z"  # all tests have been run: the job's marker
MARSHALLED, PICKLED = b"m", b"p"  # the first byte of a request to a program
LENGTH = struct.Struct("<Q")  # of a message between a worker and its caller, which it precedes
KINDS = frozenset((SETUP, LOAD, READY, PASS, FAIL, ERROR, VALUE, OPAQUE, END))


def frames(report: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int, int]]:
    """Kind, test, place and length of the payload of each frame between two places, up to the first that is none.

    ``report`` is bytes or is sliced like them.
    """
    while start + FRAME.size <= end:
        kind, test, length = FRAME.unpack(report[start : start + FRAME.size])
        start += FRAME.size
        if kind not in KINDS or length > end - start:
            return
        yield kind, test, start, length
        start += length
