"""A run's folder and the artifacts of its stages: ``outputs/<run>/<stage>/``.

A stage is made by one notebook. Its content key is a SHA-256 over what its results follow from: the parameters its
notebook declares, the notebook's other code, and the keys of the stages it needs. Records are kept under that key, and
``done.json``, written last, says that the stage is complete. The library's own code is not part of the key: each
``done.json`` records the commit instead, and a new ``--run`` name starts from nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO, TypeVar

from pydantic import BaseModel

from ledexlib.runs import notebooks
from ledexlib.runs import provenance
from ledexlib.runs.storage import ArtifactError, JsonLines, lock, plain, read_json, write_json
from ledexlib.runs.progress import Progress, duration
from ledexlib.runs.notebooks import Notebook
from ledexlib.params.paths import NOTEBOOKS, ROOT, resolve, shown
from ledexlib.params.vocabulary import Params

__all__ = ["NOT_IN_KEY", "ROOT", "ArtifactError", "JsonLines", "Progress", "Stage", "StageError", "open_stage"]


# Parameters that say where, how fast or at what price a stage works, not what comes out: changing one redoes nothing.
NOT_IN_KEY = frozenset({
    "run", "outputs",  # where
    "workers", "requests_in_flight", "request_timeout", "request_attempts",  # how fast, how patiently
    "model_endpoints", "teacher_endpoints",  # who serves the model that `model` and `teacher` name
    "cost_per_million_input", "cost_per_million_output",  # a price in the log
    "sft_save_every", "sft_processes", "sft_accelerate_config",  # how training is kept and spread
    "ppo_save_every", "ppo_processes", "ppo_accelerate_config",
})  # fmt: skip

R = TypeVar("R", bound=BaseModel)
_locks: dict[Path, TextIO] = {}  # held by this process; a notebook may run its opening cell twice


class StageError(RuntimeError):
    """A stage that cannot be opened or used; the message says what to run."""


def run_folder(p: Params) -> Path:
    """The folder of the run that the parameters name."""
    return resolve(p.outputs) / p.run


def influencing(notebook: Notebook, p: Params) -> dict[str, Any]:
    """The parameters that a stage's results follow from."""
    return {name: plain(getattr(p, name)) for name in sorted(notebook.declared) if name not in NOT_IN_KEY}


def stage_key(notebook: Notebook, p: Params, needs: dict[str, str]) -> str:
    """The content key of a stage, given the keys of the stages it needs."""
    content = {"parameters": influencing(notebook, p), "code": notebook.code, "needs": needs}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Needed:
    """A completed stage, to read from."""

    name: str
    folder: Path
    done: dict[str, Any]

    @property
    def key(self) -> str:
        return self.done["key"]

    @property
    def metrics(self) -> dict[str, Any]:
        return read_json(self.folder / "metrics.json") or {}

    def path(self, name: str) -> Path:
        """The stage's file of this name; raises StageError if it wrote none."""
        path = self.folder / name
        if not path.exists():
            there = ", ".join(sorted(p.name for p in self.folder.iterdir() if not p.name.startswith(".")))
            raise StageError(f"{self.name} wrote no {name}; in {self.folder} there is: {there}")
        return path

    def records(self, name: str, model: type[R], key: str = "id") -> JsonLines[R]:
        """The stage's records in the file of this name."""
        return JsonLines(self.path(name), model, key, complete=True)


def needed(folder: Path, name: str, by: str) -> Needed:
    """The completed stage ``name`` of the run in ``folder``, whole and made from what the run now holds.

    Raises StageError, with the command that makes it, if it is missing, damaged, or older than a stage it needs.
    """
    make = (
        f"Make it with: python -m ledexlib run PARAMS.yaml --run {folder.name} --to {name}\n"
        f"or run notebooks/{name}.ipynb with run = {folder.name!r}."
    )
    done = read_json(folder / name / "done.json")
    if done is None:
        state = "was started but is not complete" if (folder / name / "stage.json").exists() else "has not been run"
        raise StageError(f"{by} needs {name}, which {state} in run '{folder.name}' ({folder / name}).\n{make}")
    for file, size in done["files"].items():
        path = folder / name / file
        there = path.stat().st_size if path.exists() else None
        if there != size:
            was = "is gone" if there is None else f"has {there:,} bytes, not the {size:,} it was completed with"
            raise StageError(f"{by} needs {name}, which is damaged: {path} {was}.\n{make}")
    for source, key in done["needs"].items():
        now = read_json(folder / source / "done.json")
        if now is None or now["key"] != key:
            raise StageError(f"{by} needs {name}, which was made from an earlier {source} than the run holds.\n{make}")
        needed(folder, source, by=name)
    return Needed(name, folder / name, done)


def completed(notebook: Notebook, p: Params) -> bool:
    """Whether the run holds this stage as these parameters and this notebook would make it now."""
    folder = run_folder(p)
    try:
        needs = {name: needed(folder, name, by=notebook.name).key for name in notebook.needs_with(p)}
        return needed(folder, notebook.name, by="run").key == stage_key(notebook, p, needs)
    except StageError:
        return False


def disagreements(stage: Needed, values: dict[str, Any]) -> list[str]:
    """How a completed stage's parameters differ from ``values``, for the names in both."""
    made = stage.done["parameters"]
    return [
        f"{name} = {made[name]!r}, now {value!r}"
        for name, value in values.items()
        if name in made and made[name] != value
    ]


def needs_of(notebook: Notebook, p: Params) -> dict[str, Needed]:
    """The stages a notebook needs; raises StageError if one cannot be used or was made with other parameters."""
    folder = run_folder(p)
    found = {name: needed(folder, name, by=notebook.name) for name in notebook.needs_with(p)}
    for name, stage in found.items():
        if different := disagreements(stage, influencing(notebook, p)):
            raise StageError(
                f"{notebook.name} needs {name}, which run '{p.run}' made with {'; '.join(different)}.\n"
                f"Run {name} again with these parameters, or use another run name."
            )
    return found


class Stage:
    """A stage that is being made; ``open_stage`` opens it."""

    def __init__(self, notebook: Notebook, p: Params, needs: dict[str, Needed], key: str) -> None:
        self.name, self.params, self.key = notebook.name, p, key
        self.folder = run_folder(p) / self.name
        self._needs, self._notebook = needs, notebook
        self._parameters = influencing(notebook, p)
        self._take_lock()
        self._move_aside()
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

    def _move_aside(self) -> None:
        """Records of another key are not mixed with this key's, and not deleted either."""
        before = read_json(self.folder / "stage.json")
        if before is not None and before["key"] != self.key:
            old = self.folder.with_name(f"{self.name}.old-{before['key'][:8]}")
            number = 2
            while old.exists():
                old = self.folder.with_name(f"{self.name}.old-{before['key'][:8]}-{number}")
                number += 1
            os.rename(self.folder, old)
            print(f"{self.name}: parameters, code or needed stages changed; what was there is now in {old.name}")

    def _record_opening(self) -> None:
        """``stage.json``: the key, and the time spent by earlier kernels (until they last wrote a file)."""
        before = read_json(self.folder / "stage.json")
        spent = 0.0
        if before is not None:
            last = max(path.stat().st_mtime for path in self.folder.iterdir())
            spent = before["seconds_before"] + max(0.0, last - before["opened"])
        self.folder.mkdir(exist_ok=True)
        self._opened, self._spent = time.time(), spent
        needs = {name: stage.key for name, stage in self._needs.items()}
        self._about = {"stage": self.name, "key": self.key, "parameters": self._parameters, "needs": needs}
        write_json(
            self.folder / "stage.json", {**self._about, "opened": self._opened, "seconds_before": self._spent}
        )

    def path(self, name: str) -> Path:
        """Where this stage's file of this name belongs; its folder is made."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def need(self, name: str) -> Needed:
        """A stage that this one reads. Write the name as a literal: the runner reads it in the notebook's source."""
        if name not in self._needs:
            raise StageError(f"{self.name}: the notebook as saved has no line with .need({name!r}); save it first")
        return self._needs[name]

    def need_each(self, parameter: str) -> dict[str, Needed]:
        """The stages among what a list parameter names. Write its name as a literal, as for ``need``."""
        if parameter not in self._notebook.needs_each:
            raise StageError(f"{self.name}: the notebook as saved has no line with .need_each({parameter!r})")
        return {name: self._needs[name] for name in self._notebook.named_by(parameter, self.params)}

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
        """Complete the stage: write ``metrics.json``, then ``done.json``. The notebook's last call."""
        write_json(self.folder / "metrics.json", metrics)
        seconds = self._spent + time.time() - self._opened
        about = {
            **self._about,
            "seconds": round(seconds, 1),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            **provenance.commit(ROOT),
            "files": {str(p.relative_to(self.folder)): p.stat().st_size for p in self.folder.rglob("*.jsonl")},
        }
        write_json(self.folder / "done.json", about)
        summary = {name: about[name] for name in ("key", "seconds", "finished", "commit", "dirty")}
        record_run(self.params, (), {self.name: summary})
        _locks.pop(self._lock_path).close()
        print(f"{self.name} done after {duration(seconds)}: {shown(self.folder)}")


def open_stage(name: str, p: Params, notebooks_folder: Path | str = NOTEBOOKS) -> Stage:
    """Open the stage that the notebook ``name`` of ``notebooks_folder`` makes, in the run that the parameters name.

    Goes on where a killed kernel stopped. Raises StageError if a needed stage is missing or out of date, or if another
    process is making this stage; NotebookError if the notebook is not there.
    """
    notebook = notebooks.read(Path(notebooks_folder) / f"{name}.ipynb")
    needs = needs_of(notebook, p)
    stage = Stage(notebook, p, needs, stage_key(notebook, p, {n: s.key for n, s in needs.items()}))
    record_run(p, notebook.declared)
    return stage


def record_run(
    p: Params, names: Iterable[str], stages: Mapping[str, Any] | None = None, command: str | None = None
) -> None:
    """Bring ``run.json`` up to date: the parameters of these names, finished stages, versions, commit, hardware."""
    folder = run_folder(p)
    folder.mkdir(parents=True, exist_ok=True)
    held = lock(folder / ".run.json.lock", wait=30)
    if held is None:
        raise StageError(f"{folder / 'run.json'} is locked by another process")
    with held:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        about = read_json(folder / "run.json") or {"run": p.run, "started": now, "parameters": {}, "stages": {}}
        about["parameters"].update({name: getattr(p, name) for name in names})
        about["stages"].update(stages or {})
        about["command"] = command or about.get("command")
        about.update(
            updated=now,
            **provenance.commit(ROOT),
            hardware=provenance.hardware(),
            versions=provenance.versions(),
        )
        write_json(folder / "run.json", about)
