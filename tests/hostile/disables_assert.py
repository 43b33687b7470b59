# Tries: tries to have assertions compiled away
import builtins
import sys

compiled, executed = compile, exec
builtins.compile = lambda *args, **options: compiled("pass", "<nothing>", "exec")
builtins.exec = lambda *args, **options: None
builtins.AssertionError = StopIteration
sys.flags = type("flags", (), {"optimize": 2})


def f(x):
    return 0
