# Tries: announces more bytes than there is memory
import os
import struct


def f(x):
    for descriptor in range(3, 64):
        try:
            os.write(descriptor, struct.pack("<cIQ", b"V", 0, 2**62))
        except OSError:
            continue
    return 0
