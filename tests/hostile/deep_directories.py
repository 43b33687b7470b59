# Tries: leaves directories too deep to be walked, without permissions
import os


def f(x):
    for _ in range(1500):
        try:
            os.mkdir("d")
            os.chdir("d")
        except OSError:
            break
    for _ in range(5):
        os.chdir("..")
        os.chmod("d", 0)
    return 0
