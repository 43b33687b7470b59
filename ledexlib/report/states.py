"""How the stages of runs stand: status, time, key metrics, and the table of runs in the terminal."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ledexlib.params import resolve
from ledexlib.report.text import metric_text
from ledexlib.runs import STAGE_NAME, StageError, changed_code, duration, in_words, lock, read_json, whole

KEY_METRICS = 6  # how many of a stage's metrics a table shows: the first ones that are single values


@dataclass(frozen=True)
class StageState:
    """A stage as it stands: ``status`` is done, running, failed or unfinished; ``notebook`` is the executed one.

    ``changed`` are the files whose code is no longer what a completed stage was made by.
    """

    name: str
    status: str
    done: dict[str, Any]
    metrics: dict[str, Any]
    notebook: Path | None
    changed: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        return self.done.get("seconds", 0.0)

    @property
    def time(self) -> str:
        return duration(self.seconds) if self.done else ""

    @property
    def other_code(self) -> str:
        """Which code changed, in words."""
        return f"made by other code, changed since: {in_words(list(self.changed))}" if self.changed else ""

    @property
    def singles(self) -> dict[str, str]:
        """Its metrics that are single values, as text; ``low`` and ``high`` are the interval of the one before."""
        found: dict[str, str] = {}
        for name, value in self.metrics.items():
            if name in ("low", "high") and found and isinstance(value, float):
                before = list(found)[-1]
                found[before] += f" [{value:.3g}, " if name == "low" else f"{value:.3g}]"
            elif not isinstance(value, (dict, list)) and name != "command":
                found[name.replace("prompt ", "base ", 1)] = metric_text(value)  # the paper's word for our base
        return found

    @property
    def key_metrics(self) -> str:
        """The first of them, such as 'problems 20, pass@1 0.317'."""
        return ", ".join(f"{name} {value}" for name, value in list(self.singles.items())[:KEY_METRICS])


def stage_state(folder: Path) -> StageState:
    """The state of the stage in this folder."""
    name = folder.name
    done = read_json(folder / "done.json") or {}
    executed, failed = folder / f"{name}.ipynb", folder / f"{name}.failed.ipynb"
    if _locked(folder.parent / f".{name}.lock"):
        status, notebook = "running", None
    elif failed.exists() and not (done and failed.stat().st_mtime < (folder / "done.json").stat().st_mtime):
        status, notebook = "failed", failed
    else:
        status, notebook = ("done" if whole(folder) else "unfinished"), executed if executed.exists() else None
    metrics = (read_json(folder / "metrics.json") or {}) if done else {}
    return StageState(name, status, done, metrics, notebook, tuple(_changed(done, name)))


def _locked(path: Path) -> bool:
    """Whether a process holds the lock."""
    if not path.exists():
        return False
    held = lock(path)
    if held is None:
        return True
    held.close()
    return False


def _changed(done: dict[str, Any], name: str) -> list[str]:
    """The files whose code changed since the stage was made, where that was recorded and its notebook is there."""
    made_by = done.get("code") or {}
    own = next((resolve(file) for file in made_by if file.endswith(f"{name}.ipynb")), None)
    return changed_code(made_by, own) if own and own.exists() else []


def stage_states(run: Path) -> list[StageState]:
    """The stages that the run in this folder has begun, in order."""
    return [stage_state(p) for p in sorted(run.iterdir()) if p.is_dir() and STAGE_NAME.match(p.name)]


def run_folders(outputs: Path) -> list[Path]:
    """The folders of all runs, by name."""
    return sorted(path.parent for path in outputs.glob("*/run.json"))


def status_text(outputs: Path, only: str | None = None) -> str:
    """Runs with their stages, times and key metrics as text; raises StageError if there is no run called ``only``."""
    folders = run_folders(outputs)
    if only is not None:
        names = ", ".join(folder.name for folder in folders) or "none"
        folders = [folder for folder in folders if folder.name == only]
        if not folders:
            raise StageError(f"no run '{only}' in {outputs}; the runs are: {names}")
    return "\n\n".join(_run_text(folder) for folder in folders) or f"no run in {outputs}"


def _run_text(run: Path) -> str:
    states = stage_states(run)
    width = max((len(state.name) for state in states), default=0)
    lines = [f"{run.name}: {summary(run, states)}"]
    for state in states:
        line = f"  {state.name:{width}}  {state.status:10}  {state.time:>11}  {state.key_metrics}"
        lines += [line.rstrip(), *([f"  {'':{width}}  {state.other_code}"] if state.changed else [])]
    return "\n".join(lines)


def summary(run: Path, states: list[StageState]) -> str:
    """How far a run is, in a line."""
    about = read_json(run / "run.json") or {}
    done = sum(state.status == "done" for state in states)
    total = duration(sum(state.seconds for state in states))
    return f"{done} of {len(states)} stages done in {total}, updated {date(about['updated'])}"


def date(stamp: str) -> str:
    """'2026-01-31T12:30:59+00:00' as '2026-01-31 12:30 UTC'."""
    return f"{stamp[:10]} {stamp[11:16]} UTC"
