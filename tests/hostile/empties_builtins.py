# Tries: removes every builtin
import builtins

builtins.__dict__.clear()


def f(x):
    return 0
