# Tries: prints until it is stopped
import os
import sys


def f(x):
    for _ in range(2000):
        sys.stdout.write("x" * (1 << 16))
        os.write(2, b"y" * (1 << 16))
    return 0
