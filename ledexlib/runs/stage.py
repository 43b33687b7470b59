"""A stage in the making: opened by its notebook, filled, completed."""

import os
import shutil
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO, TypeVar

from pydantic import BaseModel

from ledexlib.params import FIELDS, NOTEBOOKS, ROOT, Layered, Params, from_notebook, shown, validate
from ledexlib.runs import provenance
from ledexlib.runs.code import changed_code, current_code, in_words
from ledexlib.runs.folders import Needed, StageError, bring_back, damage, listing, needed, run_folder, stage_key
from ledexlib.runs.progress import QUIET, Progress, duration
from ledexlib.runs.storage import JsonLines, lock, read_json, write_json
from ledexlib.runs.table import TABLE, StageSpec, read_stages

R = TypeVar("R", bound=BaseModel)
_locks: dict[Path, TextIO] = {}  # held by this process; a notebook may run its opening cell twice


class Stage:
    """A stage that is being made; ``open_stage`` opens it.

    ``params`` are the run's, ``sources`` say where each was set, ``needs`` are the completed stages that it reads.
    """

    def __init__(self, spec: StageSpec, p: Params, sources: Mapping[str, str], needs: dict[str, Needed]) -> None:
        self.spec, self.name, self.params, self.sources = spec, spec.name, p, dict(sources)
        self.folder, self.needs = run_folder(p) / self.name, needs
        self.key = stage_key(spec, p, {name: stage.key for name, stage in needs.items()})
        self._take_lock()
        if moved := bring_back(self.folder, self.key):
            print(moved)
        self._remove_damage()
        self._record_opening()

    def _take_lock(self) -> None:
        """Keep a second kernel out. A kernel whose runner was killed notices within seconds, so wait for it."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self._lock_path = self.folder.parent / f".{self.name}.lock"
        if self._lock_path not in _locks:
            held = lock(self._lock_path, wait=30)
            if held is None:
                owner = self._lock_path.read_text(encoding="utf-8").strip()
                raise StageError(f"{self.folder} is being written by process {owner}; stop it or wait for it")
            _locks[self._lock_path] = held

    def _remove_damage(self) -> None:
        """A completed stage whose files are not whole is made again; a damaged folder, such as a model's, goes."""
        for file, fault in damage(self.folder).items():
            print(f"{self.name}: {file} {fault}; making it again")
            (self.folder / "done.json").unlink(missing_ok=True)
            top = self.folder / Path(file).parts[0]
            if top.is_dir():
                shutil.rmtree(top)

    def _record_opening(self) -> None:
        """``stage.json``: the key, the code, and the time spent by earlier kernels (until they last wrote a file)."""
        before = read_json(self.folder / "stage.json")
        spent, code = 0.0, current_code(self.spec.notebook)
        if before is not None:
            last = max(path.stat().st_mtime for path in self.folder.iterdir())
            spent = before["seconds_before"] + max(0.0, last - before["opened"])
            if other := changed_code(before.get("code"), self.spec.notebook):
                print(f"{self.name}: made by other code, and used (changed since: {in_words(other)})")
                code = before["code"]
        self.folder.mkdir(exist_ok=True)
        self._opened, self._spent = time.time(), spent
        self._about = {
            "stage": self.name, "key": self.key, "parameters": self.spec.influencing(self.params),
            "needs": {name: stage.key for name, stage in self.needs.items()}, "code": code,
        }  # fmt: skip
        write_json(self.folder / "stage.json", {**self._about, "opened": self._opened, "seconds_before": self._spent})

    @property
    def parameter_rows(self) -> list[dict[str, Any]]:
        """The resolved parameters that matter here: name, value, source (where it was set) and description."""
        return [
            {"name": name, "value": getattr(self.params, name), "source": self.sources.get(name, "default"),
             "description": field.description}
            for name, field in FIELDS.items() if name in self.spec.parameters
        ]  # fmt: skip

    def path(self, name: str) -> Path:
        """Where this stage's file of this name belongs; its folder is made."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def need(self, name: str) -> Needed:
        """A stage that this one reads, as the table of stages says."""
        if name not in self.needs:
            place = shown(self.spec.notebook.with_name(TABLE))
            raise StageError(f"{self.name} does not need {name}: add it to its needs in {place}")
        return self.needs[name]

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
            **provenance.commit(ROOT), "files": listing(self.folder),
        }  # fmt: skip
        write_json(self.folder / "done.json", about)
        summary = {name: about[name] for name in ("key", "seconds", "finished", "commit", "dirty")}
        record_run(self.params, {self.name: summary})
        if self._lock_path in _locks:
            _locks.pop(self._lock_path).close()
        print(f"{self.name} done after {duration(seconds)}: {shown(self.folder)}")


def open_stage(name: str, variables: Mapping[str, Any]) -> Stage:
    """Open the stage that a notebook makes: call as ``open_stage("01_collect", globals())`` below the parameters cell.

    Parameters that neither the notebook nor its files state are those that the needed stages were made with, else the
    vocabulary's defaults. Goes on where a killed kernel stopped. Raises ParameterError for a bad value, StageError if a
    needed stage is missing, out of date or made with other parameters, or if another process makes this stage.
    """
    stated = from_notebook(variables)
    if "injected" in stated.sources.values():
        os.environ[QUIET] = "1"  # papermill runs the notebook: nobody sees a bar
    spec = _spec_of(name)
    p = validate(*stated)
    needs = {need: needed(run_folder(p), need, by=name) for need in spec.needs_with(p)}
    inherited = _inherited(needs)
    for need, stage in needs.items():
        _agree(stage, stated, name, need, p.run)
        if other := changed_code(stage.done.get("code"), spec.notebook.with_name(f"{need}.ipynb")):
            print(f"{need} was made by other code (changed since: {in_words(other)})")
    values, sources = stated.over(inherited)
    stage = Stage(spec, validate(values, sources), sources, needs)
    record_run(stage.params)
    return stage


def _spec_of(name: str) -> StageSpec:
    """The stage of this name in the table beside the running notebook, else in the repository's."""
    folder = Path.cwd() if (Path.cwd() / TABLE).exists() else NOTEBOOKS
    for spec in read_stages(folder):
        if spec.name == name:
            return spec
    raise StageError(f"{shown(folder / TABLE)} has no stage {name!r}; add a line for it")


def _inherited(needs: Mapping[str, Needed]) -> Layered:
    """The parameters that the needed stages were made with."""
    found = Layered({}, {})
    for name, stage in needs.items():
        mine = {key: value for key, value in stage.done["parameters"].items() if key in FIELDS}
        found = Layered(mine, dict.fromkeys(mine, name)).over(found)
    return found


def _agree(stage: Needed, stated: Layered, by: str, name: str, run: str) -> None:
    """Raise StageError if a needed stage was made with parameters other than those stated."""
    now = validate(stated.values, stated.sources)
    different = differences(stage.done["parameters"], {key: getattr(now, key) for key in stated.values})
    if different:
        raise StageError(
            f"{by} needs {name}, which run '{run}' made with {'; '.join(different)}.\n"
            f"Run {name} again with these parameters, or use another run name."
        )


def differences(made: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """How parameters differ from those that a stage was made with, for the names in both."""
    both = {name: value for name, value in now.items() if name in made}
    return [f"{name} = {made[name]!r}, now {value!r}" for name, value in both.items() if made[name] != value]


def record_run(p: Params, stages: Mapping[str, Any] | None = None, command: str | None = None) -> None:
    """Bring ``run.json`` up to date: the parameters, finished stages, versions, commit, hardware."""
    folder = run_folder(p)
    folder.mkdir(parents=True, exist_ok=True)
    held = lock(folder / ".run.json.lock", wait=30)
    if held is None:
        raise StageError(f"{folder / 'run.json'} is locked by another process")
    with held:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        about = read_json(folder / "run.json") or {"run": p.run, "started": now, "parameters": {}, "stages": {}}
        about["parameters"].update(p.model_dump())
        about["stages"].update(stages or {})
        about["command"] = command or about.get("command")
        about |= {"updated": now, **provenance.commit(ROOT), "hardware": provenance.hardware()}
        about["versions"] = provenance.versions()
        write_json(folder / "run.json", about)
