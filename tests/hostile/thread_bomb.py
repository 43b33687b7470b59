# Tries: starts threads that outlive the tests (here no more than 300)
import threading
import time


def spin():
    end = time.monotonic() + 60
    while time.monotonic() < end:
        time.sleep(0.01)


def f(x):
    for _ in range(300):
        try:
            threading.Thread(target=spin).start()
        except RuntimeError:
            break
    return 0
