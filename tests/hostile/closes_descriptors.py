# Tries: closes all that it inherited
import os

os.closerange(0, 256)


def f(x):
    return 0
