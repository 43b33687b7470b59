"""A filter of system calls: what no program needs and what reaches outside its process. Standard library only.

The filter is a program for the kernel's packet filter machine (seccomp(2)): it looks at the number of a call and at the
lower halves of its arguments, and answers "allow", or an error that the program can handle.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from linux import (
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    prctl,
)

PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050000, 0x80000000
LOAD, JUMP_IF_EQUAL, JUMP_IF_NOT_LESS, JUMP_IF_SET, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16  # places in what the filter looks at
ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}  # audit number, column below
OTHER_CALLS = 0x40000000  # numbers from here are x86_64's x32 calls
NAMESPACES = (
    CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWCGROUP
)

# Numbers on x86_64 and aarch64; -1: there is no such call.
REFUSED = {
    # other processes
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_getfd": (438, 438), "process_madvise": (440, 440), "setpriority": (141, 140),
    "sched_setparam": (142, 118), "sched_setscheduler": (144, 119), "sched_setattr": (314, 274),
    # the network, and what outlives a process
    "socket": (41, 198), "shmget": (29, 194), "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180),
    "memfd_create": (319, 279),
    # namespaces and file systems
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "quotactl": (179, 60), "swapon": (167, 224),
    "swapoff": (168, 225), "acct": (163, 89), "fanotify_init": (300, 262),
    # much of the kernel's code, for those who look for its faults
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "add_key": (248, 217), "request_key": (249, 218),
    "keyctl": (250, 219), "modify_ldt": (154, -1), "iopl": (172, -1), "ioperm": (173, -1), "memfd_secret": (447, 447),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "reboot": (169, 142), "syslog": (103, 116), "settimeofday": (164, 170),
    "clock_settime": (227, 112), "adjtimex": (159, 171), "clock_adjtime": (305, 266), "sethostname": (170, 161),
    "setdomainname": (171, 162), "personality": (135, 92),
}  # fmt: skip
CLONE, CLONE3, PRLIMIT = (56, 220), (435, 435), (302, 261)
# Signals by the process they go to; by thread or descriptor they are refused.
KILL_CALLS, TGKILL = {"kill": (62, 129), "rt_sigqueueinfo": (129, 138)}, (234, 131)
OTHER_SIGNALS = {"tkill": (200, 130), "rt_tgsigqueueinfo": (297, 240), "pidfd_send_signal": (424, 424)}


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value)


def _refuse(error: int) -> bytes:
    return _step(RETURN, REFUSE | error)


def _on(number: int, steps: bytes) -> bytes:
    """Do the steps, which must end, if the call has this number; -1 has none. The number is loaded before and after."""
    return b"" if number < 0 else _step(JUMP_IF_EQUAL, number, 0, len(steps) // 8) + steps


def _argument(place: int, code: int, value: int, otherwise: int, result: int) -> bytes:
    """End with ``result`` where the jump on an argument's lower half is taken, else with ``otherwise``."""
    load = _step(LOAD, ARGUMENTS + 8 * place)
    return load + _step(code, value, 0, 1) + _step(RETURN, result) + _step(RETURN, otherwise)


def _filter(checks: list[bytes], audit: int) -> bytes:
    start = [
        _step(LOAD, ARCHITECTURE), _step(JUMP_IF_EQUAL, audit, 1, 0), _step(RETURN, KILL),
        _step(LOAD, NUMBER), _step(JUMP_IF_NOT_LESS, OTHER_CALLS, 0, 1), _refuse(errno.ENOSYS),
    ]  # fmt: skip
    return b"".join([*start, *checks, _step(RETURN, ALLOW)])


def outer_filter() -> bytes:
    """For the parent and all programs: no network, no namespaces, no look into other processes."""
    audit, column = ARCHITECTURES[os.uname().machine]
    checks = [_on(numbers[column], _refuse(errno.EPERM)) for numbers in REFUSED.values()]
    refused = REFUSE | errno.EPERM
    checks.append(_on(CLONE3[column], _refuse(errno.ENOSYS)))  # its flags are out of sight; libc falls back to clone
    checks.append(_on(CLONE[column], _argument(0, JUMP_IF_SET, NAMESPACES, ALLOW, refused)))
    checks.append(_on(PRLIMIT[column], _argument(0, JUMP_IF_EQUAL, 0, refused, ALLOW)))
    return _filter(checks, audit)


def signal_filter(pid: int) -> bytes:
    """For a program that shares its process numbers with others: signals to itself and its group only."""
    audit, column = ARCHITECTURES[os.uname().machine]
    refused = REFUSE | errno.EPERM
    checks = [_on(numbers[column], _refuse(errno.EPERM)) for numbers in OTHER_SIGNALS.values()]
    checks.append(_on(TGKILL[column], _argument(0, JUMP_IF_EQUAL, pid, refused, ALLOW)))
    for numbers in KILL_CALLS.values():
        own_group = _step(LOAD, ARGUMENTS) + _step(JUMP_IF_EQUAL, 0, 0, 1) + _step(RETURN, ALLOW)
        checks.append(_on(numbers[column], own_group + _argument(0, JUMP_IF_EQUAL, pid, refused, ALLOW)))
    return _filter(checks, audit)


def install(program: bytes) -> None:
    """Put a filter on this process and all that descend from it; needs no_new_privs. Raises OSError."""
    code = ctypes.create_string_buffer(program, len(program))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))

    holder = Program(len(program) // 8, ctypes.cast(code, ctypes.c_void_p))
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(holder))
