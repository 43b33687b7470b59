# Tries: makes as many files and links as it can (here no more than 10,000)
import os


def f(x):
    for number in range(5000):
        try:
            open(f"a{number}", "w").close()
            os.symlink("/etc/passwd", f"b{number}")
        except OSError:
            break
    return 0
