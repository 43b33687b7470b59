# Tries: puts a link to elsewhere in the place of its directory
import os


def f(x):
    here = os.getcwd()
    try:
        os.rmdir(here)
        os.symlink("/tmp", here)
    except OSError:
        os.chmod(here, 0)
    return 0
