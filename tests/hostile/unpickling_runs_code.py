# Tries: returns an object whose unpickling would leave a file
import os
import tempfile


class Bomb:
    def __reduce__(self):
        return os.system, (f"touch {tempfile.gettempdir()}/ledex-hostile-pickle /tmp/ledex-hostile-pickle",)

    def __reduce_ex__(self, protocol):
        return self.__reduce__()


def f(x):
    return [Bomb(), {1: Bomb()}]
