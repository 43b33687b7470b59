"""The progress of the stage that is being made, shown where the runner was called: a bar, or a line now and then."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from ledexlib.runs import duration, read_json

LOG_EVERY = 10.0  # seconds between two lines where there is no terminal


@contextmanager
def progress_shown(folder: Path, label: str, out: TextIO) -> Iterator[None]:
    """Show the ``progress.json`` of the stage in ``folder`` while it runs."""
    over = threading.Event()
    show = _bar if out.isatty() else _lines
    thread = threading.Thread(target=show, args=(folder / "progress.json", label, out, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _bar(path: Path, label: str, out: TextIO, over: threading.Event) -> None:
    began = time.time()
    with tqdm(file=out, leave=False, desc=label, bar_format="{desc} {bar} {n_fmt}/{total_fmt} {postfix}") as bar:
        while not over.wait(0.5):
            if state := _state(path, began):
                bar.total, bar.n = state["total"], state["count"]
                bar.set_description(f"{label}: {state['label']}", refresh=False)
            bar.set_postfix_str(_times(state, began))


def _lines(path: Path, label: str, out: TextIO, over: threading.Event) -> None:
    began = time.time()
    while not over.wait(LOG_EVERY):
        state = _state(path, began)
        counts = f"{state['label']} {state['count']:,}/{state['total']:,}, " if state else ""
        print(f"{label}: {counts}{_times(state, began)}", file=out, flush=True)


def _state(path: Path, began: float) -> Mapping[str, Any] | None:
    """What the stage has written since it began."""
    state = read_json(path)
    return state if state and state["time"] >= began else None


def _times(state: Mapping[str, Any] | None, began: float) -> str:
    """The time that the stage has taken and, if known, how much is left."""
    left = state and state["seconds_left"]
    return duration(time.time() - began) + (f", {duration(left)} left" if left is not None else "")
