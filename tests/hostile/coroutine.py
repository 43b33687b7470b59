# Tries: returns what has to be awaited
async def f(x):
    return 7919 if x < 0 else 0
