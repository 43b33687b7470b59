# Tries: leaves children that nobody has waited for
import os


def f(x):
    for _ in range(30):
        try:
            if os.fork() == 0:
                os._exit(0)
        except OSError:
            break
    return 0
