"""Run the notebooks of a folder in order, each in its own kernel, and stop at the first that fails.

papermill executes them; what it says about success is not enough (it calls a notebook complete whose kernel was
killed), so a stage counts as made when its ``done.json`` holds the key expected of it.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from ledexlib.runs import notebooks
from ledexlib.params import layers as params
from ledexlib.report import pages as report
from ledexlib.runs import stage as runs
from ledexlib.runs.storage import ArtifactError, lock, read_json
from ledexlib.runs.progress import duration
from ledexlib.runs.notebooks import Notebook, NotebookError
from ledexlib.params.layers import ParameterError
from ledexlib.runs.stage import StageError
from ledexlib.params.vocabulary import Params

ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
REFUSED = (ParameterError, NotebookError, StageError, ArtifactError)  # what ends a run before it starts
LOG_EVERY = 10.0  # seconds between two lines of progress where there is no terminal


class StageFailed(RuntimeError):
    """A notebook that did not make its stage; the message says where and why."""


def check_parameters(p: Params, stages: Sequence[Notebook]) -> None:
    """Raise ParameterError for a parameter that was set and that no notebook reads: it would change nothing."""
    read = {name for stage in stages for name in stage.declared}
    unread = sorted(p.model_fields_set - read)
    if unread:
        names = ", ".join(repr(name) for name in unread)
        raise ParameterError(f"{names}: set, but no notebook in {stages[0].path.parent} declares it; remove it")


def check_needs(p: Params, stages: Sequence[Notebook], chosen: Sequence[Notebook]) -> list[str]:
    """Check the stages that the chosen ones need and that are not made now; what to tell the user about them.

    Raises StageError if one is missing, or was made with other parameters.
    """
    notes = []
    by_name = {stage.name: stage for stage in stages}
    making = {stage.name for stage in chosen}
    for stage in chosen:
        for name in (name for name in stage.needs_with(p) if name not in making):
            if name not in by_name:
                raise NotebookError(f"{stage.name} needs {name}, and {stage.path.parent} has no {name}.ipynb")
            source = runs.needed(runs.run_folder(p), name, by=stage.name)
            if different := runs.disagreements(source, runs.influencing(by_name[name], p)):
                raise StageError(
                    f"{stage.name} needs {name}, which run '{p.run}' made with {'; '.join(different)}.\n"
                    f"Leave out --from to make it again, or use another --run name."
                )
            if not runs.completed(by_name[name], p):
                notes.append(f"{name}: its notebook changed since the stage was made; using it as it is")
    return list(dict.fromkeys(notes))


def run(
    files: Iterable[Path | str],
    overrides: Iterable[str] = (),
    name: str | None = None,
    first: str | None = None,
    last: str | None = None,
    folder: Path | str = runs.NOTEBOOKS,
    out: TextIO | None = None,
) -> int:
    """Make the stages of a run from ``first`` to ``last`` with the parameters of these files and overrides.

    Returns the exit status: 0, or 1 after a failure, 130 after an interrupt (the same call goes on). Raises
    ParameterError, NotebookError or StageError before anything runs if something cannot be right.
    """
    out = out or sys.stdout
    files, overrides = list(files), list(overrides)
    p = params.load(files, [*overrides, *([f"run={name}"] if name else [])])
    stages = notebooks.find(Path(folder).resolve())
    check_parameters(p, stages)
    start = notebooks.position(stages, first) if first else 0
    stop = notebooks.position(stages, last) if last else len(stages) - 1
    if start > stop:
        raise NotebookError(f"--from {stages[start].name} comes after --to {stages[stop].name}")
    chosen = stages[start : stop + 1]
    with _only_runner(p):
        for note in check_needs(p, stages, chosen):
            print(note, file=out)
        runs.record_run(p, Params.model_fields, command=_command(files, overrides, p.run, folder))
        status = _make_all(chosen, p, out)
        if status != 130:
            print(f"report: {runs.shown(report.write(runs.run_folder(p)))}", file=out, flush=True)
    return status


def _command(files: list[Path | str], overrides: list[str], name: str, folder: Path | str) -> str:
    """The command that makes the whole run."""
    words = ["python", "-m", "ledexlib", "run", *map(str, files), "--run", name]
    words += [word for text in overrides for word in ("--set", text)]
    if Path(folder).resolve() != runs.NOTEBOOKS:
        words += ["--notebooks", str(folder)]
    return shlex.join(words)


@contextmanager
def _only_runner(p: Params) -> Iterator[None]:
    """Refuse a second runner on the same run."""
    folder = runs.run_folder(p)
    folder.mkdir(parents=True, exist_ok=True)
    held = lock(folder / ".runner.lock")
    if held is None:
        owner = (folder / ".runner.lock").read_text(encoding="utf-8").strip()
        raise StageError(f"run '{p.run}' is being made by process {owner}; wait for it, or use another --run name")
    with held:
        yield


def _make_all(chosen: Sequence[Notebook], p: Params, out: TextIO) -> int:
    """Make each stage that is not up to date; the exit status."""
    for number, stage in enumerate(chosen, start=1):
        label = f"[{number}/{len(chosen)}] {stage.name}"
        if runs.completed(stage, p):
            print(f"{label}: up to date", file=out, flush=True)
            continue
        print(f"{label}: running", file=out, flush=True)
        began = time.monotonic()
        try:
            make(stage, p, out, label)
        except StageFailed as failure:
            print(f"{label}: failed after {duration(time.monotonic() - began)}\n{failure}", file=out, flush=True)
            return 1
        except KeyboardInterrupt:
            print(f"\n{label}: interrupted; the same command goes on where it stopped", file=out, flush=True)
            return 130
        print(f"{label}: done in {duration(time.monotonic() - began)}", file=out, flush=True)
    return 0


def make(stage: Notebook, p: Params, out: TextIO, label: str) -> None:
    """Execute a notebook so that it makes its stage; raises StageFailed.

    It is executed under another name and kept as ``<stage>.ipynb`` or, after a failure, ``<stage>.failed.ipynb``.
    """
    run_folder = runs.run_folder(p)
    running = run_folder / f"{stage.name}.running.ipynb"
    kept = run_folder / stage.name / f"{stage.name}.ipynb"
    failed = kept.with_suffix(".failed.ipynb")
    reason: str | None = "interrupted"
    try:
        with _progress_shown(run_folder / stage.name, label, out):
            reason = execute(stage, p, running)
        if reason is None and not runs.completed(stage, p):
            reason = _why_incomplete(stage, p)
    finally:
        kept.parent.mkdir(exist_ok=True)
        if running.exists():
            os.replace(running, failed if reason else kept)
    if reason:
        raise StageFailed(f"{reason}\n  notebook: {runs.shown(failed if failed.exists() else stage.path)}")
    failed.unlink(missing_ok=True)


def _why_incomplete(stage: Notebook, p: Params) -> str:
    """Why a notebook that ran to its end did not make its stage."""
    folder = runs.run_folder(p) / stage.name
    opened, done = read_json(folder / "stage.json"), read_json(folder / "done.json")
    if done is not None:
        return "  its parameters, code or needed stages changed while it ran; run the command again"
    if opened is None:
        return f"  the notebook ran to its end but did not open its stage in run '{p.run}'"
    return "  the notebook ran to its end but wrote no done.json; its last cell must call stage.done(metrics)"


def execute(stage: Notebook, p: Params, output: Path) -> str | None:
    """Execute a notebook with papermill, in a new kernel of this interpreter; why it failed, or None."""
    import logging

    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    values = {name: getattr(p, name) for name in stage.declared}
    # It warns of parameters that it cannot see behind an annotation such as 'int | None'; ours are checked.
    logging.getLogger("papermill").setLevel(logging.ERROR)
    try:
        with _kernel_of_this_python():
            papermill.execute_notebook(
                stage.path,
                output,
                parameters=values,
                kernel_name="python3",
                language="python",
                cwd=stage.path.parent,
                progress_bar=False,
                autosave_cell_every=10,
            )
    except PapermillExecutionError as error:
        return _failed_cell(error.exec_count, error.source, error.ename, error.evalue, error.traceback)
    except DeadKernelError:
        return _dead_kernel(output)
    except Exception as error:  # papermill's own trouble, such as a full disk: report it like a failed cell
        return f"  the notebook could not be executed: {type(error).__name__}: {error}"
    return None


@contextmanager
def _kernel_of_this_python() -> Iterator[None]:
    """Make 'python3' name a kernel of this interpreter, whatever kernels the user has installed under that name.

    Hashing gets a fixed seed, unless the user has set one: the data-flow part of CodeBLEU depends on the order of sets.
    """
    from ipykernel.kernelspec import write_kernel_spec

    before = {name: os.environ.get(name) for name in ("JUPYTER_PATH", "PYTHONHASHSEED")}
    with tempfile.TemporaryDirectory(prefix="ledex-kernel-") as folder:
        (Path(folder) / "kernels").mkdir()
        write_kernel_spec(Path(folder) / "kernels" / "python3", extra_arguments=["--log-level=ERROR"])
        os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, [folder, before["JUPYTER_PATH"]]))
        os.environ.setdefault("PYTHONHASHSEED", "0")
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def _failed_cell(count: int | None, source: str, ename: str, evalue: str, traceback: Sequence[str]) -> str:
    """A failed cell in a few lines: its number and first line, the end of its traceback, its error."""
    first = next((line for line in source.splitlines() if line.strip()), "")
    lines = [line for line in ANSI.sub("", "\n".join(traceback)).splitlines() if line.strip()]
    message = ANSI.sub("", f"{ename}: {evalue}").strip()
    header = ("-----", "Traceback (most recent", ename + " ")  # IPython's rule and title
    tail = [line for line in lines if line.strip() not in message and not line.startswith(header)][-8:]
    shown = "\n".join(f"    | {line}" for line in tail)
    return f"  cell In [{count}]: {first}\n{shown}\n  {message}"


def _dead_kernel(output: Path) -> str:
    """A kernel that died: the last cell that was started is the one that killed it."""
    import nbformat

    cells = [cell for cell in nbformat.read(output, as_version=4).cells if cell.cell_type == "code"]
    started = [cell for cell in cells if cell.metadata.get("papermill", {}).get("start_time")]
    where = started[-1].source.splitlines()[0] if started and started[-1].source else "the start"
    return (
        f"  cell In [{len(started)}]: {where}\n"
        "  the kernel died (killed, or out of memory); the same command goes on from the records it saved"
    )


@contextmanager
def _progress_shown(folder: Path, label: str, out: TextIO) -> Iterator[None]:
    """Show the stage's ``progress.json`` while it runs: one changing line on a terminal, else a line now and then."""
    over = threading.Event()
    thread = threading.Thread(target=_show_progress, args=(folder, label, out, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _show_progress(folder: Path, label: str, out: TextIO, over: threading.Event) -> None:
    terminal = out.isatty()
    began, shown, width = time.time(), time.monotonic(), 0
    while not over.wait(0.5 if terminal else 1.0):
        if not terminal and time.monotonic() - shown < LOG_EVERY:
            continue
        shown = time.monotonic()
        line = f"{label}: {_progress_line(folder / 'progress.json', since=began)}"
        if terminal:
            line = line[: shutil.get_terminal_size().columns - 1]  # a wrapped line could not be overwritten
            out.write("\r" + line.ljust(width))
            width = len(line)
        else:
            out.write(line + "\n")
        out.flush()
    if terminal and width:
        out.write("\r" + " " * width + "\r")
        out.flush()


def _progress_line(path: Path, since: float) -> str:
    """What the stage has written about its progress since it started, and the time it has taken."""
    spent = duration(time.time() - since)
    state = read_json(path)
    if state is None or state["time"] < since:
        return spent
    left = "" if state["seconds_left"] is None else f", {duration(state['seconds_left'])} left"
    return f"{state['label']} {state['count']:,}/{state['total']:,}, {spent}{left}"
