# Tries: asks for the rights of root
import os


def f(x):
    for become in (os.setuid, os.setgid, os.seteuid):
        try:
            become(0)
        except OSError:
            continue
    try:
        os.setgroups([0])
    except OSError:
        pass
    return 0
