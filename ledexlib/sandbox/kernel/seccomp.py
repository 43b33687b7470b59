"""seccomp filters: refuse system calls that no program needs or that reach outside its process.

A filter is a BPF program (seccomp(2)): it reads the number of a call and the lower halves of its arguments, and returns
"allow", or an error that the program can handle.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from . import linux

PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050000, 0x80000000
LOAD, JUMP_IF_EQUAL, JUMP_IF_NOT_LESS, JUMP_IF_SET, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}  # audit number, column below
X32_CALLS = 0x40000000  # from here on numbers are x86_64's x32 calls
NAMESPACES = (
    linux.CLONE_NEWNS | linux.CLONE_NEWUTS | linux.CLONE_NEWIPC | linux.CLONE_NEWUSER | linux.CLONE_NEWPID
    | linux.CLONE_NEWNET | linux.CLONE_NEWCGROUP
)  # fmt: skip

# Numbers on x86_64 and aarch64; -1: there is no such call.
REFUSED = {
    # other processes
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_getfd": (438, 438), "process_madvise": (440, 440), "setpriority": (141, 140),
    "sched_setparam": (142, 118), "sched_setscheduler": (144, 119), "sched_setattr": (314, 274),
    "ioprio_set": (251, 30),
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
CLONE, CLONE3 = (56, 220), (435, 435)
ON_ITSELF = {"prlimit64": (302, 261), "sched_setaffinity": (203, 122)}  # with 0 for its own process
# Signals to a process or thread group depend on the target; to a thread or descriptor they are refused.
KILL_CALLS, TGKILL = {"kill": (62, 129), "rt_sigqueueinfo": (129, 138)}, (234, 131)
OTHER_SIGNALS = {"tkill": (200, 130), "rt_tgsigqueueinfo": (297, 240), "pidfd_send_signal": (424, 424)}


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value)


def _refuse(error: int) -> bytes:
    return _instruction(RETURN, REFUSE | error)


def _on_call(number: int, instructions: bytes) -> bytes:
    """Run the instructions, which must return, for this call (-1: none); its number is loaded before and after."""
    return b"" if number < 0 else _instruction(JUMP_IF_EQUAL, number, 0, len(instructions) // 8) + instructions


def _argument(position: int, code: int, value: int, otherwise: int, result: int) -> bytes:
    """Return ``result`` where the jump on an argument's lower half is taken, else ``otherwise``."""
    load = _instruction(LOAD, ARGUMENTS + 8 * position)
    return load + _instruction(code, value, 0, 1) + _instruction(RETURN, result) + _instruction(RETURN, otherwise)


def _filter(checks: list[bytes], audit: int) -> bytes:
    start = [
        _instruction(LOAD, ARCHITECTURE), _instruction(JUMP_IF_EQUAL, audit, 1, 0), _instruction(RETURN, KILL),
        _instruction(LOAD, NUMBER), _instruction(JUMP_IF_NOT_LESS, X32_CALLS, 0, 1), _refuse(errno.ENOSYS),
    ]  # fmt: skip
    return b"".join([*start, *checks, _instruction(RETURN, ALLOW)])


def system_call_filter() -> bytes:
    """For the fork server and all programs: no network, no namespaces, no access to other processes."""
    audit, column = ARCHITECTURES[os.uname().machine]
    checks = [_on_call(numbers[column], _refuse(errno.EPERM)) for numbers in REFUSED.values()]
    refused = REFUSE | errno.EPERM
    # clone3 has its flags behind a pointer; without it, libc falls back to clone.
    checks.append(_on_call(CLONE3[column], _refuse(errno.ENOSYS)))
    checks.append(_on_call(CLONE[column], _argument(0, JUMP_IF_SET, NAMESPACES, ALLOW, refused)))
    for numbers in ON_ITSELF.values():
        checks.append(_on_call(numbers[column], _argument(0, JUMP_IF_EQUAL, 0, refused, ALLOW)))
    return _filter(checks, audit)


def signal_filter(pid: int) -> bytes:
    """For a program without a PID namespace: signals to itself and its process group only."""
    audit, column = ARCHITECTURES[os.uname().machine]
    refused = REFUSE | errno.EPERM
    checks = [_on_call(numbers[column], _refuse(errno.EPERM)) for numbers in OTHER_SIGNALS.values()]
    checks.append(_on_call(TGKILL[column], _argument(0, JUMP_IF_EQUAL, pid, refused, ALLOW)))
    for numbers in KILL_CALLS.values():
        own_group = _instruction(LOAD, ARGUMENTS) + _instruction(JUMP_IF_EQUAL, 0, 0, 1) + _instruction(RETURN, ALLOW)
        checks.append(_on_call(numbers[column], own_group + _argument(0, JUMP_IF_EQUAL, pid, refused, ALLOW)))
    return _filter(checks, audit)


def install(instructions: bytes) -> None:
    """Put a filter on this process and its descendants; needs no_new_privs. Raises OSError."""
    code = ctypes.create_string_buffer(instructions, len(instructions))

    class SockFprog(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))

    program = SockFprog(len(instructions) // 8, ctypes.cast(code, ctypes.c_void_p))
    linux.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program))
