# Tries: returns far more data than allowed
def f(x):
    return "x" * (100 << 20)
