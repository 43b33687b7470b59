"""Landlock: which files a process may see and change, by the kernel's own rules. Standard library only."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable

from linux import syscall

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, TRUNCATE, IOCTL_DEV = 1, 2, 4, 8, 1 << 14, 1 << 15
READ = EXECUTE | READ_FILE | READ_DIR
OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
KNOWN = {1: 13, 2: 14, 3: 15, 4: 15}  # version: number of rights to files; 16 from version 5
TCP = 3  # bind and connect, from version 4
SCOPED = 3  # abstract sockets and signals stay among the restricted, from version 6


def version() -> int:
    """The kernel's version of Landlock; raises OSError where there is none."""
    return syscall(CREATE_RULESET, None, 0, 1, what="landlock")


def restrict(readable: Iterable[str], devices: Iterable[str], writable: Iterable[str]) -> int:
    """Leave this process, and all that descend from it, these paths only; Landlock's version. Raises OSError."""
    supported = version()
    handled = (1 << KNOWN.get(supported, 16)) - 1
    net, scoped = (TCP if supported >= 4 else 0), (SCOPED if supported >= 6 else 0)
    size = 24 if supported >= 6 else 16 if supported >= 4 else 8
    attributes = struct.pack("QQQ", handled, net, scoped)[:size]
    ruleset = syscall(CREATE_RULESET, ctypes.c_char_p(attributes), size, 0, what="landlock_create_ruleset")
    try:
        rules = [(path, READ) for path in readable]
        rules += [(path, READ_FILE | WRITE_FILE) for path in devices]
        rules += [(path, ~EXECUTE) for path in writable]
        for path, rights in rules:
            _allow(ruleset, path, rights & handled)
        syscall(RESTRICT_SELF, ruleset, 0, what="landlock_restrict_self")
    finally:
        os.close(ruleset)
    return supported


def _allow(ruleset: int, path: str, rights: int) -> None:
    if not os.path.exists(path):
        return
    if not os.path.isdir(path):
        rights &= OF_FILES
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, descriptor), 12)
        syscall(ADD_RULE, ruleset, 1, rule, 0, what="landlock_add_rule")
    finally:
        os.close(descriptor)
