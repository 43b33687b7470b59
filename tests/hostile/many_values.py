# Tries: returns a list of ten million small values
def f(x):
    return [None] * 10_000_000
