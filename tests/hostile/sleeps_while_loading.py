# Tries: sleeps past the deadline before any test
import time

time.sleep(1000)


def f(x):
    return 0
