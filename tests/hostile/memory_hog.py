# Tries: takes all the memory it can get (here no more than 8 GB)
def f(x):
    taken = []
    for _ in range(512):
        taken.append(bytearray(b"x") * (16 << 20))
    return len(taken)
