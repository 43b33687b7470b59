"""The layers of isolation: each is used where the kernel permits it, and reported.

The worker calls ``enter_namespaces`` before it forks the fork server, which makes a ``Confinement`` once, before its
first program: programs inherit all of it at no cost.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Collection

from . import landlock, linux, seccomp

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc/ld.so.cache", "/etc/localtime")
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
SCRATCH_BYTES, SCRATCH_FILES = 64 << 20, 4096  # of all of a program's files together, with a mount namespace
SHARED_MEMORY = "/dev/shm"
SHARED_BYTES = 16 << 20  # of named shared memory, which the semaphores of multiprocessing are
STANDARD_STREAMS = {"stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2", "fd": "fd"}
FIRST_UID, NOBODY = 1_000_000_000, 65534


def readable() -> list[str]:
    """The paths that Python needs to read, none inside another."""
    prefixes = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix, os.path.dirname(os.__file__)}
    found = sorted(path for path in {*SYSTEM, *prefixes, *sys.path} if path and os.path.exists(path))
    return [path for path in found if not any(path != p and path.startswith(p.rstrip("/") + "/") for p in found)]


class LayerStates(dict):
    """The state of each layer: '' if it is active, else why it is not."""

    def __init__(self, wanted: Collection[str]) -> None:
        super().__init__()
        self.wanted = wanted

    def add(self, name: str, enter: Callable[[], object]) -> None:
        """Enter a layer if it is wanted and possible, and record its state."""
        if name not in self.wanted:
            self[name] = "not wanted"
        elif not linux.AVAILABLE:
            self[name] = "only on Linux"
        else:
            try:
                enter()
                self[name] = ""
            except (OSError, KeyError) as error:
                self[name] = str(error)

    def active(self, name: str) -> bool:
        return self.get(name) == ""


def enter_namespaces(layers: LayerStates) -> None:
    """In the worker: user and PID namespaces. The process forked next is the first of the new PID namespace."""
    uid, gid = os.getuid(), os.getgid()

    def new_user() -> None:
        linux.unshare(linux.CLONE_NEWUSER)
        linux.map_own_user(uid, gid)

    if uid or (linux.AVAILABLE and not linux.may_administer()):  # many containers leave root no capabilities
        layers.add("user_namespace", new_user)
    else:
        layers["user_namespace"] = "not needed by root"
    layers.add("pid_namespace", lambda: linux.unshare(linux.CLONE_NEWPID))


def drop_privileges(layers: LayerStates) -> None:
    """In the worker, after it has forked the fork server."""
    if linux.AVAILABLE:
        linux.prctl(linux.PR_SET_DUMPABLE, 0)
    if layers.active("user_namespace"):
        linux.drop_capabilities()


class Confinement:
    """In the fork server: enters the other layers, in an order in which none obstructs the next.

    ``box`` is the directory that holds the scratch directory, ``worker_pid`` a number that no other worker has.
    """

    def __init__(self, layers: LayerStates, box: str, worker_pid: int) -> None:
        self.layers = layers
        self.worker_pid = worker_pid
        self.box = box
        self.readable = readable()
        add = layers.add
        add("network_namespace", lambda: linux.unshare(linux.CLONE_NEWNET | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS))
        add("mount_namespace", self._new_root)
        if os.getuid() == 0:
            add("unprivileged", self._become_nobody)
        else:
            layers["unprivileged"] = "not root"
        add("no_new_privs", self._no_new_privs)
        self.shared_memory = SHARED_MEMORY if layers.active("mount_namespace") else None
        writable = [box] if self.shared_memory is None else [box, self.shared_memory]
        add("landlock", lambda: landlock.restrict([*self.readable, "/proc"], DEVICES, writable))
        add("seccomp", lambda: seccomp.install(seccomp.system_call_filter()))
        layers["rlimits"] = ""

    def _no_new_privs(self) -> None:
        linux.drop_capabilities()
        linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
        linux.prctl(linux.PR_SET_DUMPABLE, 0)

    def signals_are_filtered(self) -> bool:
        """Whether each program needs a filter of its own against signals to others."""
        return self.layers.active("seccomp") and not self.layers.active("pid_namespace")

    def _new_root(self) -> None:
        """A root with what Python needs, read-only, devices, and a bounded file system for scratch files."""
        linux.unshare(linux.CLONE_NEWNS)
        linux.mount("none", "/", flags=linux.MS_REC | linux.MS_PRIVATE)
        root = os.path.join(os.path.dirname(self.box), "root")
        os.mkdir(root)
        linux.mount("tmpfs", root, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=755,size=1m")
        for path in self.readable:
            self._bind(root, path, linux.MS_RDONLY)
        for path in DEVICES:
            self._bind(root, path, 0)
        os.makedirs(root + "/proc")
        for name, place in STANDARD_STREAMS.items():
            os.symlink(f"/proc/self/{place}", f"{root}/dev/{name}")
        os.mkdir(root + SHARED_MEMORY)
        options = f"mode=1777,size={SHARED_BYTES},nr_inodes=256"
        linux.mount("tmpfs", root + SHARED_MEMORY, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC, options)
        if self.layers.active("pid_namespace"):
            flags = linux.MS_RDONLY | linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
            with contextlib.suppress(OSError):  # refused inside some containers; programs rarely need it
                linux.mount("proc", root + "/proc", "proc", flags)
        os.makedirs(root + self.box)
        options = f"mode=755,size={SCRATCH_BYTES},nr_inodes={SCRATCH_FILES}"
        linux.mount("tmpfs", root + self.box, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, options)
        os.mkdir(os.path.join(root + self.box, "scratch"), 0o700)
        os.chdir(root)
        linux.pivot_root_here()
        linux.mount("none", "/", flags=linux.MS_REMOUNT | linux.MS_RDONLY | linux.MS_NOSUID | linux.MS_NODEV)

    @staticmethod
    def _bind(root: str, path: str, flags: int) -> None:
        """Bind-mount a path into the new root, with its own mount flags and these."""
        target = root + path
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if os.path.islink(path):
            os.symlink(os.readlink(path), target)
            return
        if os.path.isdir(path):
            os.makedirs(target, exist_ok=True)
        else:
            os.close(os.open(target, os.O_CREAT))
        linux.mount(path, target, flags=linux.MS_BIND | linux.MS_REC)
        kept = os.statvfs(path).f_flag & (linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC | linux.MS_RDONLY)
        linux.mount("none", target, flags=linux.MS_BIND | linux.MS_REMOUNT | linux.MS_NOSUID | flags | kept)

    def _become_nobody(self) -> None:
        """As root: become a user that no other worker has, if that user can run Python, else ``nobody``."""
        for uid in (FIRST_UID + self.worker_pid, NOBODY):
            if self._can_run_python(uid):
                break
        else:
            raise OSError("no other user can read this Python")
        for path in (self.box, os.path.join(self.box, "scratch")):
            os.chown(path, uid, uid)
        self._become(uid)

    @staticmethod
    def _become(uid: int) -> None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)

    def _can_run_python(self, uid: int) -> bool:
        pid = os.fork()
        if pid == 0:
            try:
                self._become(uid)
                os.listdir(self.box)
                with open(os.__file__):
                    os._exit(0)
            finally:
                os._exit(1)
        return os.waitpid(pid, 0)[1] == 0
