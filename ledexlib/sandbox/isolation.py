"""The layers that keep programs apart from the machine: each is used where the kernel allows it, and reported.

``enter_worker`` is for the worker, before it forks the parent; ``Confinement`` for the parent, once, before its first
program: every program inherits all of it and pays nothing. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Collection

import landlock
import linux
import seccomp

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc/ld.so.cache", "/etc/localtime")
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
SCRATCH_BYTES, SCRATCH_FILES = 64 << 20, 4096  # of all files of a program together, where a tree of its own is possible
FIRST_UID, NOBODY = 1_000_000_000, 65534


def readable() -> list[str]:
    """The paths that Python needs, none inside another."""
    prefixes = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix, os.path.dirname(os.__file__)}
    found = sorted(path for path in {*SYSTEM, *prefixes, *sys.path} if path and os.path.exists(path))
    return [path for path in found if not any(path != p and path.startswith(p.rstrip("/") + "/") for p in found)]


class Layers(dict):
    """What became of each layer that was wanted: '' if it is active, else why it is not."""

    def __init__(self, wanted: Collection[str]) -> None:
        super().__init__()
        self.wanted = wanted

    def add(self, name: str, enter: Callable[[], object]) -> bool:
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
        return self.active(name)

    def active(self, name: str) -> bool:
        return self.get(name) == ""


def enter_worker(layers: Layers) -> None:
    """In the worker: user and PID namespaces. The process forked next is the first of the new PID namespace."""
    uid, gid = os.getuid(), os.getgid()

    def new_user() -> None:
        linux.unshare(linux.CLONE_NEWUSER)
        linux.map_own_user(uid, gid)

    if uid:
        layers.add("user_namespace", new_user)
    else:
        layers["user_namespace"] = "not needed by root"
    layers.add("pid_namespace", lambda: linux.unshare(linux.CLONE_NEWPID))


def leave_privileges(layers: Layers) -> None:
    """In the worker, once the parent has been forked."""
    if linux.AVAILABLE:
        linux.prctl(linux.PR_SET_DUMPABLE, 0)
    if layers.active("user_namespace"):
        linux.drop_capabilities()


class Confinement:
    """In the parent: takes on the rest, in an order in which no layer stands in the way of the next."""

    def __init__(self, layers: Layers, box: str, number: int) -> None:
        self.layers = layers
        self.number = number  # of the worker, which no other worker has
        self.box = box  # the directory that holds the scratch directory
        self.readable = readable()
        self.uid = os.getuid()
        add = layers.add
        add("network_namespace", lambda: linux.unshare(linux.CLONE_NEWNET | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS))
        add("mount_namespace", self._tree)
        if os.getuid() == 0:
            add("unprivileged", self._become_nobody)
        else:
            layers["unprivileged"] = "not root"
        add("no_new_privs", self._no_new_privs)
        add("landlock", lambda: landlock.restrict([*self.readable, "/proc"], DEVICES, [box]))
        add("seccomp", lambda: seccomp.install(seccomp.outer_filter()))
        layers["rlimits"] = ""

    def _no_new_privs(self) -> None:
        linux.drop_capabilities()
        linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
        linux.prctl(linux.PR_SET_DUMPABLE, 0)

    def signals_are_filtered(self) -> bool:
        """Whether each program must have a filter of its own against signals to others."""
        return self.layers.active("seccomp") and not self.layers.active("pid_namespace")

    def _tree(self) -> None:
        """A root of our own: what Python needs, read-only, devices, and room for scratch files."""
        linux.unshare(linux.CLONE_NEWNS)
        linux.mount("none", "/", flags=linux.MS_REC | linux.MS_PRIVATE)
        root = os.path.join(os.path.dirname(self.box), "root")
        os.mkdir(root)
        linux.mount("tmpfs", root, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=755,size=1m")
        for path in self.readable:
            self._show(root, path, linux.MS_RDONLY)
        for path in DEVICES:
            self._show(root, path, 0)
        os.makedirs(root + "/proc")
        if self.layers.active("pid_namespace"):
            flags = linux.MS_RDONLY | linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
            with contextlib.suppress(OSError):  # refused inside some containers; programs rarely miss it
                linux.mount("proc", root + "/proc", "proc", flags)
        os.makedirs(root + self.box)
        options = f"mode=755,size={SCRATCH_BYTES},nr_inodes={SCRATCH_FILES}"
        linux.mount("tmpfs", root + self.box, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, options)
        os.mkdir(os.path.join(root + self.box, "scratch"), 0o700)
        os.chdir(root)
        linux.pivot_root_here()
        linux.mount("none", "/", flags=linux.MS_REMOUNT | linux.MS_RDONLY | linux.MS_NOSUID | linux.MS_NODEV)

    @staticmethod
    def _show(root: str, path: str, flags: int) -> None:
        """Bind a path into the new tree, under the flags that it has and more."""
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
        """As root: another user for this parent and its programs alone, if that user can run Python."""
        for uid in (FIRST_UID + self.number, NOBODY):
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
