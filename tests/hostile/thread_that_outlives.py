# Tries: leaves a thread that writes a pass later
import os
import struct
import threading
import time


def late():
    for _ in range(100):
        time.sleep(0.01)
        for descriptor in range(3, 16):
            try:
                os.write(descriptor, struct.pack("<cIQ", b"P", 0, 0))
            except OSError:
                continue


def f(x):
    threading.Thread(target=late, daemon=True).start()
    return 0
