"""How runs and their stages stand: status, time, key metrics, and the table of runs in the terminal."""

from pathlib import Path

from ledexlib.params import resolve
from ledexlib.report.text import date, metric_text
from ledexlib.runs import STAGE_NAME, StageError, changed_code, duration, in_words, lock, read_json, whole

KEY_METRICS = 6  # how many of a stage's metrics a table shows: the first ones that are single values


class StageState:
    """A stage as it stands: ``status`` is done, running, failed or unfinished; ``notebook`` is the executed one.

    ``changed`` are the files whose code is no longer what a completed stage was made by, ``other_code`` says so."""

    def __init__(self, folder: Path):
        self.name = folder.name
        self.done = read_json(folder / "done.json") or {}
        self.metrics = (read_json(folder / "metrics.json") or {}) if self.done else {}
        self.seconds = self.done.get("seconds", 0.0)
        self.time = duration(self.seconds) if self.done else ""
        self.status, self.notebook = _status(folder)
        made_by = self.done.get("code") or {}
        own = next((resolve(file) for file in made_by if file.endswith(f"{self.name}.ipynb")), None)
        self.changed = changed_code(made_by, own) if own and own.exists() else []
        self.other_code = f"made by other code, changed since: {in_words(self.changed)}" if self.changed else ""

    @property
    def singles(self) -> dict[str, str]:
        """Its metrics that are single values, as text; ``low`` and ``high`` are the interval of the one before."""
        found: dict[str, str] = {}
        for name, value in self.metrics.items():
            if name == "low":
                found[list(found)[-1]] += f" [{value:.3g}, {self.metrics['high']:.3g}]"
            elif not isinstance(value, (dict, list)) and name not in ("high", "command"):
                found[name.replace("prompt ", "base ", 1)] = metric_text(value)  # the paper's word for our base
        return found

    @property
    def key_metrics(self) -> str:
        """The first of them, such as 'problems 20, pass@1 0.317'."""
        return ", ".join(f"{name} {value}" for name, value in list(self.singles.items())[:KEY_METRICS])


def _status(folder: Path) -> tuple[str, Path | None]:
    """A stage's status and its executed notebook."""
    done, executed = folder / "done.json", folder / f"{folder.name}.ipynb"
    failed = folder / f"{folder.name}.failed.ipynb"
    lock_file = folder.parent / f".{folder.name}.lock"
    held = lock_file.exists() and lock(lock_file)  # None if another process holds it
    if held:
        held.close()
    if held is None:
        return "running", None
    if failed.exists() and not (done.exists() and failed.stat().st_mtime < done.stat().st_mtime):
        return "failed", failed
    return "done" if whole(folder) else "unfinished", executed if executed.exists() else None


class RunState:
    """A run as it stands: what its record says ``about`` it, and the ``stages`` that it has begun, in order."""

    def __init__(self, folder: Path):
        self.folder, self.name, self.about = folder, folder.name, read_json(folder / "run.json")
        self.stages = [StageState(p) for p in sorted(folder.iterdir()) if p.is_dir() and STAGE_NAME.match(p.name)]
        self.time = duration(sum(stage.seconds for stage in self.stages))
        self.page = "report/index.html" if (folder / "report" / "index.html").exists() else ""

    @property
    def summary(self) -> str:
        """How far it is, in a line."""
        done = sum(stage.status == "done" for stage in self.stages)
        return f"{done} of {len(self.stages)} stages done in {self.time}, updated {date(self.about['updated'])}"


def run_states(outputs: Path) -> list[RunState]:
    """All runs, by name."""
    return [RunState(path.parent) for path in sorted(outputs.glob("*/run.json"))]


def status_text(outputs: Path, only: str | None = None) -> str:
    """Runs with their stages, times and key metrics as text; raises StageError if there is no run called ``only``."""
    runs = run_states(outputs)
    shown = [run for run in runs if only in (None, run.name)]
    if only is not None and not shown:
        names = ", ".join(run.name for run in runs) or "none"
        raise StageError(f"no run '{only}' in {outputs}; the runs are: {names}")
    return "\n\n".join(map(_run_text, shown)) or f"no run in {outputs}"


def _run_text(run: RunState) -> str:
    width = max((len(stage.name) for stage in run.stages), default=0)
    lines = [f"{run.name}: {run.summary}"]
    for stage in run.stages:
        line = f"  {stage.name:{width}}  {stage.status:10}  {stage.time:>11}  {stage.key_metrics}"
        lines += [line.rstrip(), *([f"  {'':{width}}  {stage.other_code}"] if stage.changed else [])]
    return "\n".join(lines)
