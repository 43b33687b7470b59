# Tries: takes more memory than allowed by sharing it out among children (here no more than 40 times 32 MB)
import os
import time


def f(x):
    for _ in range(40):
        try:
            if os.fork() == 0:
                taken = bytearray(b"x") * (32 << 20)
                time.sleep(60)
                os._exit(len(taken) % 2)
        except OSError:
            break
    time.sleep(0.4)
    return 0
