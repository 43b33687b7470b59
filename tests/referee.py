"""An independent judge of programs: plain execution in a fresh interpreter, no part of the sandbox.

A program passes if a script made of its setup, the program and the tests, one after the other, runs to its last line.
"""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from ledexlib.records import Assertion, Check, Problem

SCRIPT = """\
import os, sys
namespace = {"__name__": "program"}
for part in sys.argv[2:]:
    exec(compile(part, "<part>", "exec"), namespace)
os.write(int(sys.argv[1]), b"end")
os._exit(0)
"""


def passes(problem: Problem, code: str, seconds: float = 15) -> bool:
    """Whether the program passes the problem's assertions and checks within so many seconds of processor time."""
    parts = [problem.setup, code]
    for test in problem.tests:
        if isinstance(test, Check):
            parts.append(f"{test.source}\ncheck({problem.entry_point})")
        else:
            assert isinstance(test, Assertion), test.kind
            parts.append(test.statement)
    reading, writing = os.pipe()
    limit = f"ulimit -t {int(seconds)}; exec \"$@\""
    command = ["bash", "-c", limit, "bash", sys.executable, "-c", SCRIPT, str(writing), *parts]
    with os.fdopen(reading, "rb") as result:
        try:
            subprocess.run(
                command, pass_fds=[writing], timeout=40 * seconds, env={"PYTHONHASHSEED": "1"}, check=False,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return False
        finally:
            os.close(writing)
        return result.read() == b"end"


def passes_all(items: list[tuple[Problem, str]]) -> list[bool]:
    """``passes`` for each problem and program, two at once."""
    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(lambda item: passes(*item), items))
