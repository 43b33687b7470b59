"""How a worker starts: one small process that becomes two, the fork server and the worker.

Arguments: the descriptor of the host's socket, a folder for scratch files, the wanted layers of isolation, and where
packages are.

The process must be small, for every program's process is a copy of the fork server. So it runs without the ``site``
module, imports what the fork server does not need after the fork, and keeps the sandbox's bytecode, for compiling
leaves much memory behind.
"""

from __future__ import annotations

import os
import sys

# In every forked process, modules such as threading and random do what takes longer than the fork. That is for
# processes with threads, and for other random numbers in each; the fork server has no threads and wants the same seed.
register, os.register_at_fork = os.register_at_fork, lambda **_: None
COMMON = (  # small modules that programs often import
    "abc", "bisect", "collections", "collections.abc", "contextlib", "copy", "datetime", "enum",
    "functools", "heapq", "io", "itertools", "math", "operator", "random", "re", "string", "threading", "time", "types",
    "typing",
)  # fmt: skip

for name in COMMON:
    __import__(name)
import resource  # noqa: E402
import site  # noqa: E402
import socket  # noqa: E402

from ..child import fork_server  # noqa: E402
from ..kernel.layers import LayerStates, drop_privileges, enter_namespaces  # noqa: E402
from ..wire.report_buffer import ReportBuffer  # noqa: E402
from ..wire.wait_time import WaitTime  # noqa: E402

os.register_at_fork = register
STACK_BYTES = 64 << 20  # C stack, for deep recursion through C code; the default gap above the stack allows it


def main() -> None:
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    resource.setrlimit(resource.RLIMIT_STACK, (STACK_BYTES if hard < 0 else min(STACK_BYTES, hard), hard))
    host, folder, layers = socket.socket(fileno=int(sys.argv[1])), sys.argv[2], LayerStates(sys.argv[3].split(","))
    sys.path += sys.argv[4].split(os.pathsep)
    site.setquit()  # the names exit and quit, which programs use
    ours, theirs = socket.socketpair()
    wait_time, buffer, worker_pid = WaitTime(folder), ReportBuffer(), os.getpid()
    enter_namespaces(layers)
    pid = os.fork()
    if pid == 0:
        try:
            sys.dont_write_bytecode = True  # programs leave none
            sys.executable = os.path.realpath(sys.executable)  # for programs that run Python themselves
            host.close()
            ours.close()
            fork_server.main(theirs, wait_time, buffer, os.path.join(folder, "box"), layers, worker_pid)
            os._exit(0)
        except SystemExit:  # a program's process ends as an interpreter does
            raise
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
    theirs.close()
    drop_privileges(layers)
    from . import service

    service.main(host, ours, pid, wait_time, buffer, folder)
