"""Exceptions as text and plain data, for reports and for the trusted side of a conversation."""

from __future__ import annotations

from .text import MESSAGE_CHARS, truncate

PROGRAM_FILENAME, TEST_FILENAME = "<program>", "<test>"  # under which the program and test code are compiled
REMOTE_DESCRIPTION = "__remote_description__"  # attribute of an exception that a program's process sent


def describe_exception(error: BaseException) -> tuple[str, str, int, str, bool]:
    """Type, message, line and function of the program's innermost frame (0, ''), and whether the test itself raised."""
    remote = getattr(error, "__dict__", {}).get(REMOTE_DESCRIPTION)
    if remote is not None:
        return (*remote, False)
    line, function = 0, ""
    filename = ""
    trace = error.__traceback__
    while trace is not None:
        filename = trace.tb_frame.f_code.co_filename
        if filename == PROGRAM_FILENAME:
            line, function = trace.tb_lineno, trace.tb_frame.f_code.co_name
        trace = trace.tb_next
    if isinstance(error, SyntaxError) and error.filename == PROGRAM_FILENAME:
        line, function = error.lineno or 0, ""
        message = error.msg
    else:
        try:
            message = str.__getitem__(str(error), slice(None))
        except BaseException:  # the exception's own __str__ failed: report its type alone
            message = ""
    return type(error).__name__, truncate(message, MESSAGE_CHARS), line, function, filename == TEST_FILENAME
