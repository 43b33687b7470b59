# Tries: raises SystemExit when called
def f(x):
    raise SystemExit(0)
