# Tries: leaves with sys.exit when called
import sys


def f(x):
    sys.exit(0)
