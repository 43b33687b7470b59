"""Landlock (landlock(7)): limits the files that a process and its descendants can read and write."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable

from .linux import syscall

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, TRUNCATE, IOCTL_DEV = 1, 2, 4, 8, 1 << 14, 1 << 15
READ = EXECUTE | READ_FILE | READ_DIR
FILE_RIGHTS = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
N_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}  # rights to files by version; 16 from version 5
TCP = 3  # bind and connect, from version 4
SCOPED = 3  # abstract sockets and signals reach restricted processes only, from version 6


def restrict(readable: Iterable[str], devices: Iterable[str], writable: Iterable[str]) -> None:
    """Leave this process and its descendants these paths only; raises OSError where the kernel has no Landlock."""
    version = syscall(CREATE_RULESET, None, 0, 1, what="landlock")
    handled = (1 << N_RIGHTS.get(version, 16)) - 1
    net, scoped = (TCP if version >= 4 else 0), (SCOPED if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
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


def _allow(ruleset: int, path: str, rights: int) -> None:
    if not os.path.exists(path):
        return
    if not os.path.isdir(path):
        rights &= FILE_RIGHTS
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, descriptor), 12)
        syscall(ADD_RULE, ruleset, 1, rule, 0, what="landlock_add_rule")
    finally:
        os.close(descriptor)
