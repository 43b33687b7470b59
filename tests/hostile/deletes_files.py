# Tries: removes and overwrites files that are not its own
import os


def f(x):
    for folder in ("/tmp", "/var/tmp", os.path.dirname(os.getcwd())):
        path = os.path.join(folder, "ledex-canary")
        for change in (lambda p: open(p, "w").close(), os.unlink, lambda p: os.chmod(p, 0)):
            try:
                change(path)
            except OSError:
                continue
    return 0
