# Tries: opens its parent's memory by ptrace and process_vm_readv
import ctypes
import os


def f(x):
    libc = ctypes.CDLL(None)
    buffer = ctypes.create_string_buffer(4096)
    libc.ptrace(16, os.getppid(), 0, 0)
    vector = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 4096)
    there = (ctypes.c_void_p * 2)(0x400000, 4096)
    return libc.process_vm_readv(os.getppid(), vector, 1, there, 1, 0) > 0
