# Tries: sends SIGKILL to its parent's other children
import os


def f(x):
    try:
        with open(f"/proc/{os.getppid()}/task/{os.getppid()}/children") as listing:
            pids = [int(pid) for pid in listing.read().split()]
    except OSError:
        pids = [os.getpid() - 1, os.getpid() + 1]
    for pid in pids:
        try:
            os.kill(pid, 9)
        except OSError:
            continue
    return 0
