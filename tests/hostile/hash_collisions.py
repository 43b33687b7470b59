# Tries: returns a dictionary whose keys all collide
def f(x):
    return {number * (2**61 - 1): 0 for number in range(20_000)}
