# Tries: becomes root of namespaces of its own
import ctypes
import os


def f(x):
    libc = ctypes.CDLL(None)
    libc.unshare(0x10000000 | 0x20000)
    libc.mount(b"none", b"/tmp", b"tmpfs", 0, None)
    libc.chroot(b"/tmp")
    return os.getuid()
