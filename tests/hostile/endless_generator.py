# Tries: returns a generator that never ends
def f(x):
    while True:
        yield x
