# Tries: leaves through __del__ of what it returns
import os


class Last:
    def __del__(self):
        os._exit(0)


def f(x):
    return [Last()][0:0]
