# Tries: leaves with status 0 by an exit function
import atexit
import os

atexit.register(os._exit, 0)


def f(x):
    raise SystemExit(1)
