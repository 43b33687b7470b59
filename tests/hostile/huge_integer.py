# Tries: returns an integer of ten million digits
def f(x):
    return 1 << 33_000_000
