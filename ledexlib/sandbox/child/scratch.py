"""The scratch directory in which programs run, cleared after each of them."""

from __future__ import annotations

import contextlib
import os
import stat
import time


class Scratch:
    """The scratch directory, and the box: the directory above it, with nothing else in it."""

    def __init__(self, box: str) -> None:
        self.box = box
        self.path = os.path.join(box, "scratch")
        os.chdir(self.path)

    def clear(self) -> None:
        """Leave the box with an empty scratch directory and nothing else, whatever the program did there."""
        with contextlib.suppress(OSError):  # else something is in the way: remove it all
            is_ours = os.lstat(self.path).st_mode == stat.S_IFDIR | 0o700
            if is_ours and os.listdir(self.box) == ["scratch"] and not os.listdir(self.path):
                return
        remove_contents(self.box)
        os.mkdir(self.path, 0o700)
        os.chdir(self.path)


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
