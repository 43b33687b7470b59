# Tries: sends itself SIGKILL
import os


def f(x):
    os.kill(os.getpid(), 9)
