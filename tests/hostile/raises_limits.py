# Tries: raises its own limits and lowers those of its parent
import os
import resource


def f(x):
    for name in ("RLIMIT_CPU", "RLIMIT_AS", "RLIMIT_NPROC", "RLIMIT_FSIZE", "RLIMIT_NOFILE"):
        for pid, most in ((0, -1), (os.getppid(), 1)):
            try:
                resource.prlimit(pid, getattr(resource, name), (most, most))
            except (OSError, ValueError, AttributeError):
                continue
    return 0
