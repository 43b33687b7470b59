# Tries: starts as many processes as it can (here no more than 300)
import os
import time


def f(x):
    for _ in range(300):
        try:
            if os.fork() == 0:
                time.sleep(60)
                os._exit(0)
        except OSError:
            break
    return 0
