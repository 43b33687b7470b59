"""The scratch directory in which programs run, cleared after each of them."""

from __future__ import annotations

import contextlib
import os
import time


class Scratch:
    """The scratch directory, and the box: the directory above it, with nothing else in it.

    ``shared_memory`` is the directory for named shared memory, if programs have one of their own.
    """

    def __init__(self, box: str, shared_memory: str | None) -> None:
        self.box = box
        self.path = os.path.join(box, "scratch")
        self.shared_memory = shared_memory
        self._renew()

    def clear(self) -> None:
        """Leave both directories empty and as new, whatever the program did there, to their attributes too."""
        if self.shared_memory is not None:
            for name in os.listdir(self.shared_memory):
                os.unlink(os.path.join(self.shared_memory, name))
        with contextlib.suppress(OSError):  # else something is in the way: remove it all
            if self._look() == self._new:
                return
        self._renew()

    def _renew(self) -> None:
        remove_contents(self.box)
        os.mkdir(self.path, 0o700)
        for path in (self.path, self.box):
            with contextlib.suppress(OSError):  # file systems without attributes
                for name in os.listxattr(path):
                    os.removexattr(path, name)
            os.utime(path, (0, 0))
        os.chdir(self.path)
        self._new = self._look()

    def _look(self) -> list[tuple]:
        """All that a program can change of both directories, but their times of access."""
        found = []
        for path in (self.path, self.box):
            state = os.lstat(path)
            attributes = os.listxattr(path) if hasattr(os, "listxattr") else ()
            found.append((state.st_mode, state.st_uid, state.st_mtime_ns, sorted(os.listdir(path)), attributes))
        return found


def remove_contents(path: str) -> None:
    """Remove all that a directory contains, however deep and whatever the permissions.

    Nothing recurses: the contents of a directory are moved up here before it is removed.
    """
    os.chmod(path, 0o700)
    todo = [entry.path for entry in os.scandir(path)]
    moved = 0
    while todo:
        item = todo.pop()
        if os.path.islink(item) or not os.path.isdir(item):
            os.unlink(item)
            continue
        os.chmod(item, 0o700)
        for name in os.listdir(item):
            moved += 1
            inside, above = os.path.join(item, name), os.path.join(path, f".{moved}.{time.monotonic_ns()}")
            if os.path.isdir(inside) and not os.path.islink(inside):
                os.chmod(inside, 0o700)  # moving a directory writes to it
            os.rename(inside, above)
            todo.append(above)
        os.rmdir(item)
