"""One notebook executed by papermill in a kernel of its own, its progress meanwhile, and why it failed.

What papermill says about success is not enough (it calls a notebook complete whose kernel was killed): a stage counts
as made when its folder holds what its key expects."""

import os
import re
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from ledexlib.params import Params, shown
from ledexlib.runs import QUIET, StageSpec, duration, holding, read_json, run_folder, whole

ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
LOG_EVERY = 10.0  # seconds between two lines of progress where there is no terminal
OF_KERNEL = ("JUPYTER_PATH", QUIET)  # what a kernel's environment has of its own


class StageFailed(RuntimeError):
    """A notebook that did not make its stage; the message says where and why."""


@contextmanager
def progress_shown(folder: Path, label: str, out: TextIO) -> Iterator[None]:
    """Show the ``progress.json`` of the stage in ``folder`` while it runs: in a bar, or in a line now and then."""
    over = threading.Event()
    thread = threading.Thread(target=_follow, args=(folder / "progress.json", label, out, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _follow(path: Path, label: str, out: TextIO, over: threading.Event) -> None:
    began, terminal, style = time.time(), out.isatty(), "{desc} {bar} {n_fmt}/{total_fmt} {postfix}"
    with tqdm(file=out, leave=False, desc=label, bar_format=style, disable=not terminal) as bar:
        while not over.wait(0.5 if terminal else LOG_EVERY):
            state = read_json(path)
            state = state if state and state["time"] >= began else None  # not an earlier kernel's
            left = state and state["seconds_left"]
            times = duration(time.time() - began) + (f", {duration(left)} left" if left is not None else "")
            if terminal:
                if state:
                    bar.total, bar.n = state["total"], state["count"]
                    bar.set_description(f"{label}: {state['label']}", refresh=False)
                bar.set_postfix_str(times)
            else:
                counts = f"{state['label']} {state['count']:,}/{state['total']:,}, " if state else ""
                print(f"{label}: {counts}{times}", file=out, flush=True)


def make(spec: StageSpec, key: str, p: Params, injected: Mapping[str, Any]) -> None:
    """Execute a notebook so that it makes its stage under this key; raises StageFailed.
    It is executed under another name and kept as ``<stage>.ipynb`` or, after a failure or an interrupt, as
    ``<stage>.failed.ipynb`` or ``<stage>.interrupted.ipynb``."""
    name, folder = spec.name, run_folder(p)
    running, kept = folder / f"{name}.running.ipynb", folder / name / f"{name}.ipynb"
    outcome, reason = ".interrupted.ipynb", None
    try:
        reason = _execute(spec.notebook, injected, running)
        if reason is None and not (holding(folder / name, key) == folder / name and whole(folder / name)):
            reason = _why_incomplete(folder, name, p)
        outcome = ".failed.ipynb" if reason else ".ipynb"
    finally:
        kept.parent.mkdir(exist_ok=True)
        for other in (".failed.ipynb", ".interrupted.ipynb"):
            kept.with_suffix(other).unlink(missing_ok=True)
        if running.exists():
            os.replace(running, kept.with_suffix(outcome))
    if reason:
        failed = kept.with_suffix(outcome)
        raise StageFailed(f"{reason}\n  notebook: {shown(failed if failed.exists() else spec.notebook)}")


def _why_incomplete(folder: Path, name: str, p: Params) -> str:
    """Why a notebook that ran to its end did not make its stage."""
    if read_json(folder / name / "done.json") is not None:
        return "  its parameters or needed stages changed while it ran; run the command again"
    if read_json(folder / name / "stage.json") is None:
        return f"  the notebook ran to its end but did not open its stage in run '{p.run}'"
    return "  the notebook ran to its end but wrote no done.json; its last cell must call stage.done(metrics)"


def _execute(notebook: Path, injected: Mapping[str, Any], output: Path) -> str | None:
    """Execute a notebook with papermill, in a new kernel of this interpreter; why it failed, or None."""
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    try:
        with _kernel_of_this_python():
            papermill.execute_notebook(
                notebook, output, parameters=dict(injected), kernel_name="python3", language="python",
                cwd=notebook.parent, progress_bar=False, autosave_cell_every=10)
    except PapermillExecutionError as error:
        return _failed_cell(error.exec_count, error.source, error.ename, error.evalue, error.traceback)
    except DeadKernelError:
        return _dead_kernel(output)
    except Exception as error:  # papermill's own trouble, such as a full disk: report it like a failed cell
        return f"  the notebook could not be executed: {type(error).__name__}: {error}"
    return None


@contextmanager
def _kernel_of_this_python() -> Iterator[None]:
    """Make 'python3' name a kernel of this interpreter, whatever kernels the user has installed under that name."""
    from ipykernel.kernelspec import write_kernel_spec

    before = {name: value for name, value in os.environ.items() if name in OF_KERNEL}
    with tempfile.TemporaryDirectory(prefix="ledex-kernel-") as folder:
        (Path(folder) / "kernels").mkdir()
        write_kernel_spec(Path(folder) / "kernels" / "python3", extra_arguments=["--log-level=ERROR"])
        os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, [folder, before.get("JUPYTER_PATH")]))
        os.environ[QUIET] = "1"
        try:
            yield
        finally:
            for name in OF_KERNEL:
                os.environ.pop(name, None)
            os.environ.update(before)


def _failed_cell(count: int | None, source: str, ename: str, evalue: str, traceback: Sequence[str]) -> str:
    """A failed cell in a few lines: its number and first line, the end of its traceback, its error."""
    first = next((line for line in source.splitlines() if line.strip()), "")
    lines = [line for line in ANSI.sub("", "\n".join(traceback)).splitlines() if line.strip()]
    message = ANSI.sub("", f"{ename}: {evalue}").strip()
    header = ("-----", "Traceback (most recent", ename + " ")  # IPython's rule and title
    tail = [line for line in lines if line.strip() not in message and not line.startswith(header)][-8:]
    return "\n".join([f"  cell In [{count}]: {first}", *(f"    | {line}" for line in tail), f"  {message}"])


def _dead_kernel(output: Path) -> str:
    """A kernel that died: the last cell that was started is the one that killed it."""
    import nbformat

    cells = [cell for cell in nbformat.read(output, as_version=4).cells if cell.cell_type == "code"]
    started = [cell for cell in cells if cell.metadata.get("papermill", {}).get("start_time")]
    where = started[-1].source.splitlines()[0] if started and started[-1].source else "the start"
    return (
        f"  cell In [{len(started)}]: {where}\n"
        "  the kernel died (killed, or out of memory); the same command goes on from the records it saved")
