"""Progress of long work: count, rate and time left."""

from __future__ import annotations

import time
from pathlib import Path

from ledexlib.runs.storage import write_json


def duration(seconds: float) -> str:
    """``seconds`` for people: '8.2 s', '3 min 05 s', '2 h 10 min'."""
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, seconds = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {seconds:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


class Progress:
    """Count, rate and time left of ``total`` items: in ``progress.json`` every second, printed ever more rarely.

    ``done`` items were there before and do not count for the rate. A printed line comes after 10 s and then whenever
    the elapsed time has doubled: an hour's log has 10 lines. Use it as a context manager, or call ``close``.
    """

    def __init__(self, folder: Path, total: int, label: str, done: int = 0) -> None:
        self.path = Path(folder) / "progress.json"
        self.label, self.total, self.count, self._before = label, total, done, done
        self._start = time.monotonic()
        self._next_write, self._next_print = 0.0, 10.0
        self.advance(0)

    def advance(self, n: int = 1) -> None:
        """Count ``n`` more items as done."""
        self.count += n
        elapsed = time.monotonic() - self._start
        if elapsed >= self._next_write:
            self._next_write = elapsed + 1.0
            self._write(elapsed)
        if elapsed >= self._next_print and self.count < self.total:
            self._next_print = 2 * elapsed
            print(self.line(elapsed), flush=True)

    def _rate(self, elapsed: float) -> float:
        """Items a second in this session; 0 while unknown."""
        return (self.count - self._before) / elapsed if elapsed > 0 else 0.0

    def _left(self, elapsed: float) -> float | None:
        """Seconds left, None while unknown."""
        rate = self._rate(elapsed)
        return (self.total - self.count) / rate if rate else None

    def line(self, elapsed: float) -> str:
        """What is printed, such as 'solutions 120/400 (30 %), 12.3/s, 23 s left'."""
        share = f" ({100 * self.count // self.total} %)" if self.total else ""
        left = self._left(elapsed)
        tail = f", {self._rate(elapsed):.3g}/s, {duration(left)} left" if left is not None else ""
        return f"{self.label} {self.count:,}/{self.total:,}{share}{tail}"

    def _write(self, elapsed: float) -> None:
        rate, left = self._rate(elapsed), self._left(elapsed)
        counts = {"label": self.label, "count": self.count, "total": self.total}
        write_json(self.path, {**counts, "rate": rate, "seconds_left": left, "time": time.time()}, sync=False)

    def close(self) -> None:
        """Write the last state; print it unless all was there before."""
        elapsed = time.monotonic() - self._start
        self._write(elapsed)
        if self._before and self._before == self.total:
            return  # a stage that goes on has hundreds of finished parts
        new = self.count - self._before
        before = f", {self._before:,} of them made before" if self._before else ""
        print(f"{self.label} {self.count:,}/{self.total:,}{before}, {new:,} in {duration(elapsed)}", flush=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
