# Tries: leaves with os._exit when called
import os


def f(x):
    os._exit(0)
