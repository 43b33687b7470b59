# Tries: sends its group, and the parent's, SIGKILL
import os


def f(x):
    for send in (lambda: os.killpg(os.getpgid(os.getppid()), 9), lambda: os.killpg(0, 9)):
        try:
            send()
        except OSError:
            continue
    return 0
