"""A stage in the making: opened by its notebook, filled with a bar of progress, completed."""

import os
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from tqdm.auto import tqdm

from ledexlib.params import FIELDS, NOTEBOOKS, ROOT, Layered, Params, from_notebook, shown, validate
from ledexlib.runs import layout, provenance
from ledexlib.runs.layout import TABLE, Needed, StageError, StageSpec, damage, hold, needed, run_folder
from ledexlib.runs.storage import JsonLines, R, read_json, write_json

QUIET = "LEDEX_QUIET"  # set in the environment where nobody looks on, such as under papermill: no bars
_locks: dict[Path, TextIO] = {}  # held by this process; a notebook may run its opening cell twice


def duration(seconds: float) -> str:
    """``seconds`` for people: '8.2 s', '3 min 05 s', '2 h 10 min'."""
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


class Progress(AbstractContextManager):
    """``total`` items, ``done`` of them from before: a bar of tqdm, and every second ``progress.json`` in ``folder``.
    With LEDEX_QUIET in the environment there is no bar, and one line at the end. A context manager."""

    def __init__(self, folder: Path, total: int, label: str, done: int = 0) -> None:
        self.path, self.label, self.total, self._before = Path(folder) / "progress.json", label, total, done
        self.count, self._began, self._next_write = done, time.monotonic(), 0.0
        self._quiet = bool(os.environ.get(QUIET))
        self._bar = tqdm(total=total, initial=done, desc=label, unit="", disable=self._quiet)
        self.advance(0)

    def advance(self, n: int = 1) -> None:
        """Count ``n`` more items as done."""
        self._bar.update(n)
        self.count += n
        if time.monotonic() >= self._next_write:
            self._next_write = time.monotonic() + 1.0
            self._write()

    def _write(self) -> None:
        new, elapsed = self.count - self._before, time.monotonic() - self._began
        left = (self.total - self.count) * elapsed / new if new else None
        state = {"label": self.label, "count": self.count, "total": self.total, "seconds_left": left}
        write_json(self.path, {**state, "time": time.time()}, sync=False)

    def close(self) -> None:
        """Write the last state; where there was no bar, print it unless all was there before."""
        self._write()
        self._bar.close()
        new, took = self.count - self._before, duration(time.monotonic() - self._began)
        if self._quiet and (new or not self._before):
            before = f", {self._before:,} of them made before" if self._before else ""
            print(f"{self.label} {self.count:,}/{self.total:,}{before}, {new:,} in {took}", flush=True)

    def __exit__(self, *_: object) -> None:
        self.close()


NewProgress = Callable[[int, str, int], Progress]  # total, label, done before


class Stage:
    """A stage that is being made; ``open_stage`` opens it.
    ``params`` are the run's, ``sources`` say where each was set, ``needs`` are the completed stages that it reads."""

    def __init__(self, spec: StageSpec, p: Params, sources: Mapping[str, str], needs: dict[str, Needed]) -> None:
        self.spec, self.name, self.params = spec, spec.name, p
        self.sources = {key: place.removeprefix(f"{ROOT}/") for key, place in sources.items()}
        self.folder, self.needs = run_folder(p) / self.name, needs
        self.key = layout.stage_key(spec, p, {name: stage.key for name, stage in needs.items()})
        self._lock_path = self.folder.parent / f".{self.name}.lock"
        if self._lock_path not in _locks:  # a kernel whose runner was killed notices within seconds: wait for it
            _locks[self._lock_path] = hold(self._lock_path, f"{self.folder} is being written", wait=30)
        if moved := layout.bring_back(self.folder, self.key):
            print(moved)
        for file, fault in damage(self.folder).items():
            print(f"{self.name}: {file} {fault}; making it again")
            (self.folder / "done.json").unlink(missing_ok=True)
            top = self.folder / Path(file).parts[0]
            if top.is_dir():  # a damaged folder, such as a model's, goes; records that cost something stay
                shutil.rmtree(top)
        # The time spent by earlier kernels counts, until they last wrote a file.
        self._opened, self._spent, code = time.time(), 0.0, provenance.current_code(self.spec.notebook)
        if before := read_json(self.folder / "stage.json"):
            last = max(path.stat().st_mtime for path in self.folder.iterdir())
            self._spent = before["seconds_before"] + max(0.0, last - before["opened"])
            if other := provenance.changed_code(before.get("code"), self.spec.notebook):
                print(f"{self.name}: made by other code, and used (changed since: {provenance.in_words(other)})")
                code = before["code"]
        self.folder.mkdir(exist_ok=True)
        self._about = {
            "stage": self.name, "key": self.key, "parameters": self.spec.influencing(self.params),
            "needs": {name: stage.key for name, stage in self.needs.items()}, "code": code}
        write_json(self.folder / "stage.json", {**self._about, "opened": self._opened, "seconds_before": self._spent})

    @property
    def parameter_rows(self) -> list[dict[str, Any]]:
        """The resolved parameters that matter here: name, value, source (where it was set) and description."""
        return [
            {"name": name, "value": getattr(self.params, name), "source": self.sources.get(name, "default"),
             "description": field.description}
            for name, field in FIELDS.items() if name in self.spec.parameters]

    def path(self, name: str) -> Path:
        """Where this stage's file of this name belongs; its folder is made."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def need(self, name: str) -> Needed:
        """A stage that this one reads, as the table of stages says."""
        if name in self.needs:
            return self.needs[name]
        table = shown(self.spec.notebook.with_name(TABLE))
        raise StageError(f"{self.name} does not need {name}: add it to its needs in {table}")

    def records(self, name: str, model: type[R], key: str = "id") -> JsonLines[R]:
        """This stage's records in the file of this name, to append to; what a killed kernel appended is there."""
        lines = JsonLines(self.path(name), model, key)
        lines.append(())  # a line that a kill tore must not stay, even if every record is there already
        return lines

    def progress(self, total: int, label: str, done: int = 0) -> Progress:
        """A progress of ``total`` items, ``done`` of which were there before."""
        return Progress(self.folder, total, label, done)

    def figure(self, fig: Any, name: str) -> Path:
        """Save a matplotlib figure as ``figures/<name>.png``."""
        path = self.path(f"figures/{name}.png")
        fig.savefig(path, dpi=150, bbox_inches="tight")
        return path

    def done(self, metrics: dict[str, Any]) -> None:
        """Complete the stage: write ``metrics.json``, then ``done.json``. The notebook's last call, as often as run."""
        write_json(self.folder / "metrics.json", metrics)
        seconds = self._spent + time.time() - self._opened
        about = {
            **self._about, "seconds": round(seconds, 1), "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            **provenance.commit(), "files": layout.listing(self.folder)}
        write_json(self.folder / "done.json", about)
        summary = {name: about[name] for name in ("key", "seconds", "finished", "commit", "dirty")}
        record_run(self.params, {self.name: summary})
        if self._lock_path in _locks:
            _locks.pop(self._lock_path).close()
        print(f"{self.name} done after {duration(seconds)}: {shown(self.folder)}")


def open_stage(name: str, variables: Mapping[str, Any]) -> Stage:
    """Open the stage that a notebook makes: call as ``open_stage("01_collect", globals())`` below the parameters cell.
    What neither the notebook nor its files state is as the needed stages were made, else the vocabulary's default.
    Raises ParameterError, or StageError for a needed stage that is missing, out of date or otherwise made."""
    stated = from_notebook(variables)
    if "injected" in stated.sources.values():
        os.environ[QUIET] = "1"  # papermill runs the notebook: nobody sees a bar
    folder = Path.cwd() if (Path.cwd() / TABLE).exists() else NOTEBOOKS  # of the running notebook
    spec = next((spec for spec in layout.read_stages(folder) if spec.name == name), None)
    if spec is None:
        raise StageError(f"{shown(folder / TABLE)} has no stage {name!r}; add a line for it")
    p, inherited = validate(*stated), Layered({}, {})
    needs = {need: needed(run_folder(p), need, by=name) for need in spec.needs_with(p)}
    for need, source in needs.items():
        if different := differences(source.done["parameters"], {key: getattr(p, key) for key in stated.values}):
            made = f"{name} needs {need}, which run '{p.run}' made with {'; '.join(different)}."
            raise StageError(f"{made}\nRun {need} again with these parameters, or use another run name.")
        if other := provenance.changed_code(source.done.get("code"), spec.notebook.with_name(f"{need}.ipynb")):
            print(f"{need} was made by other code (changed since: {provenance.in_words(other)})")
        made_with = {key: value for key, value in source.done["parameters"].items() if key in FIELDS}
        inherited = Layered(made_with, dict.fromkeys(made_with, need)).over(inherited)
    values, sources = stated.over(inherited)
    stage = Stage(spec, validate(values, sources), sources, needs)
    record_run(stage.params)
    return stage


def differences(made: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """How parameters differ from those that a stage was made with, for the names in both."""
    other = {name: value for name, value in now.items() if name in made and made[name] != value}
    return [f"{name} = {made[name]!r}, now {value!r}" for name, value in other.items()]


def record_run(p: Params, stages: Mapping[str, Any] | None = None, command: str | None = None) -> None:
    """Bring ``run.json`` up to date: the parameters, finished stages, versions, commit, hardware."""
    path = run_folder(p) / "run.json"
    with hold(path.with_name(".run.json.lock"), f"{path} is being written", wait=30):
        now = datetime.now(UTC).isoformat(timespec="seconds")
        about = read_json(path) or {"run": p.run, "started": now, "parameters": {}, "stages": {}}
        about["parameters"].update(p.model_dump())
        about["stages"].update(stages or {})
        about |= {
            "command": command or about.get("command"), "updated": now, **provenance.commit(),
            "hardware": provenance.hardware(), "versions": provenance.versions()}
        write_json(path, about)
