# Tries: returns an object whose text never ends
class Broken:
    def __repr__(self):
        while True:
            pass


def f(x):
    return Broken()
