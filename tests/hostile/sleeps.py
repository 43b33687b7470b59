# Tries: sleeps past the deadline
import time


def f(x):
    time.sleep(1000)
