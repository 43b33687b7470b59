# Tries: raises an error whose text is huge, and one whose text cannot be made
class Huge(Exception):
    def __str__(self):
        return "7919 " * 2_000_000


class Broken(Exception):
    def __str__(self):
        raise SystemExit


def f(x):
    raise Huge if x % 2 else Broken(Huge())
