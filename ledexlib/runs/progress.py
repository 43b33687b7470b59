"""Progress of long work: a bar with the time left where somebody looks on, and a file that the runner reads."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm
from tqdm.auto import tqdm as notebook_tqdm

from ledexlib.runs.storage import write_json

QUIET = "LEDEX_QUIET"  # set in the environment where nobody looks on, such as under papermill: no bars


def duration(seconds: float) -> str:
    """``seconds`` for people: '8.2 s', '3 min 05 s', '2 h 10 min'."""
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


class Progress:
    """``total`` items, ``done`` of them from before: a bar of tqdm, and every second ``progress.json`` in ``folder``.

    With LEDEX_QUIET in the environment there is no bar, and one line at the end. A context manager, or call ``close``.
    """

    def __init__(self, folder: Path, total: int, label: str, done: int = 0) -> None:
        self.path, self.label, self.total, self._before = Path(folder) / "progress.json", label, total, done
        self._nowhere = open(os.devnull, "w") if os.environ.get(QUIET) else None  # noqa: SIM115
        make = tqdm if self._nowhere else notebook_tqdm
        self._bar = make(total=total, initial=done, desc=label, file=self._nowhere, unit="")
        self._began, self._next_write = time.monotonic(), 0.0
        self.advance(0)

    def advance(self, n: int = 1) -> None:
        """Count ``n`` more items as done."""
        self._bar.update(n)
        if time.monotonic() >= self._next_write:
            self._next_write = time.monotonic() + 1.0
            self._write()

    def _write(self) -> None:
        new, elapsed = self._bar.n - self._before, time.monotonic() - self._began
        left = (self.total - self._bar.n) * elapsed / new if new else None
        state = {"label": self.label, "count": self._bar.n, "total": self.total, "seconds_left": left}
        write_json(self.path, {**state, "time": time.time()}, sync=False)

    def close(self) -> None:
        """Write the last state; where there was no bar, print it unless all was there before."""
        self._write()
        self._bar.close()
        new, took = self._bar.n - self._before, duration(time.monotonic() - self._began)
        if self._nowhere and (new or not self._before):
            before = f", {self._before:,} of them made before" if self._before else ""
            print(f"{self.label} {self._bar.n:,}/{self.total:,}{before}, {new:,} in {took}", flush=True)
        if self._nowhere:
            self._nowhere.close()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


NewProgress = Callable[[int, str, int], Progress]  # total, label, done before
