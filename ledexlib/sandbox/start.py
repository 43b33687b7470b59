"""How a worker starts: one small process that becomes two, the warm parent and the worker.

Started as a script by ``handle`` with a clean environment: ``start.py DESCRIPTOR FOLDER LAYERS PACKAGES``, the
descriptor of the caller's socket, a folder for scratch files, the wanted layers of isolation, and where packages are.
It must be small, for every program's process is a copy of the parent: it starts without the ``site`` module, what the
parent does not need is imported after the fork, and bytecode of the sandbox's own is kept, for compiling leaves much
memory behind. Standard library only.
"""

from __future__ import annotations

import os
import sys

# What modules such as threading and random do in every forked process takes longer than the fork. It is for processes
# with threads, and for other random numbers in each; the parent has no threads, and the seed is to be the same.
register, os.register_at_fork = os.register_at_fork, lambda **_: None
COMMON = (  # what programs import often and what is small
    "abc", "bisect", "collections", "collections.abc", "contextlib", "copy", "datetime", "enum",
    "functools", "heapq", "io", "itertools", "math", "operator", "random", "re", "string", "threading", "time", "types",
    "typing",
)  # fmt: skip

for name in COMMON:
    __import__(name)
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import resource  # noqa: E402
import site  # noqa: E402
import socket  # noqa: E402

import parent  # noqa: E402
from isolation import Layers, enter_worker, leave_privileges  # noqa: E402
from system import Idle  # noqa: E402
from tail import Tail  # noqa: E402

os.register_at_fork = register
STACK_BYTES = 64 << 20  # C stack, for deep recursion through C code; the default gap above the stack allows it


def main() -> None:
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    resource.setrlimit(resource.RLIMIT_STACK, (STACK_BYTES if hard < 0 else min(STACK_BYTES, hard), hard))
    caller, folder, layers = socket.socket(fileno=int(sys.argv[1])), sys.argv[2], Layers(sys.argv[3].split(","))
    sys.path += sys.argv[4].split(os.pathsep)
    site.setquit()  # the names exit and quit, which programs use
    ours, theirs = socket.socketpair()
    idle, tail, number = Idle(folder), Tail(), os.getpid()
    enter_worker(layers)
    pid = os.fork()
    if pid == 0:
        try:
            sys.dont_write_bytecode = True  # programs leave none
            caller.close()
            ours.close()
            parent.main(theirs, idle, tail, os.path.join(folder, "box"), layers, number)
            os._exit(0)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(1)
    theirs.close()
    leave_privileges(layers)
    import worker

    del sys.path[0]
    worker.main(caller, ours, pid, (idle, tail), folder)


if __name__ == "__main__":
    main()
