# Tries: leaves shared memory behind
import ctypes


def f(x):
    try:
        from multiprocessing.shared_memory import SharedMemory

        SharedMemory("ledex-hostile", create=True, size=1 << 16)
    except OSError:
        pass
    return ctypes.CDLL(None).shmget(0x1EDE, 4096, 0o1600)
