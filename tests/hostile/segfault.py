# Tries: reads memory that is not there
import ctypes


def f(x):
    return ctypes.string_at(0)
