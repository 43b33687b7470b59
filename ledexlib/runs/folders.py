"""A run's folder and its stages' folders: ``outputs/<run>/<stage>/``, found by the content key of what they hold.

A stage's content key is a SHA-256 over the parameters that its data follow from and the keys of the stages it needs;
code is no part of it. A stage of another key is set aside in ``outputs/<run>/earlier/``, where a parameter that is
changed back finds it again. ``done.json``, written last, lists every file of the stage: one that is missing or of
another size makes the stage incomplete.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from ledexlib.params import Params, resolve
from ledexlib.runs.storage import ArtifactError, JsonLines, read_json, write_json
from ledexlib.runs.table import StageSpec, StageTableError

EARLIER = "earlier"  # folder of stages that were made with other parameters
ANEW = "anew.json"  # how often each stage of a run was asked to be made anew with the same parameters
UNLISTED = ("done.json", "stage.json", "progress.json")

R = TypeVar("R", bound=BaseModel)


class StageError(RuntimeError):
    """A stage that cannot be opened or used; the message says what to run."""


def run_folder(p: Params) -> Path:
    """The folder of the run that the parameters name."""
    return resolve(p.outputs) / p.run


def stage_key(spec: StageSpec, p: Params, needs: dict[str, str]) -> str:
    """The content key of a stage, given the keys of the stages it needs; another one each time it is made anew."""
    content: dict[str, Any] = {"parameters": spec.influencing(p), "needs": needs}
    if anew := (read_json(run_folder(p) / ANEW) or {}).get(spec.name):
        content["anew"] = anew
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def make_anew(p: Params, name: str) -> None:
    """Give a stage another key, and so all that need it: what is there is set aside when it is made."""
    counts = read_json(run_folder(p) / ANEW) or {}
    write_json(run_folder(p) / ANEW, {**counts, name: counts.get(name, 0) + 1})


def expected_keys(stages: Sequence[StageSpec], p: Params) -> dict[str, str]:
    """The key of every stage with these parameters, whatever the run holds."""
    keys: dict[str, str] = {}
    for spec in stages:
        needs = spec.needs_with(p)
        if unknown := [name for name in needs if name not in keys]:
            raise StageTableError(f"{spec.needs_each} names '{unknown[0]}', which is no stage")
        keys[spec.name] = stage_key(spec, p, {name: keys[name] for name in needs})
    return keys


def listing(folder: Path) -> dict[str, int]:
    """Every file of a stage's folder and its size, but for what the runner adds."""
    own = (*UNLISTED, *(f"{folder.name}{end}.ipynb" for end in ("", ".failed", ".interrupted")))
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith("."))
    return {name: path.stat().st_size for path in files if (name := str(path.relative_to(folder))) not in own}


def damage(folder: Path) -> dict[str, str]:
    """The files of a completed stage that are not as they were completed, and what is wrong with each."""
    found = {}
    for file, size in (read_json(folder / "done.json") or {"files": {}})["files"].items():
        path = folder / file
        there = path.stat().st_size if path.exists() else None
        if there != size:
            found[file] = "is gone" if there is None else f"has {there:,} bytes, not the {size:,} it was completed with"
    return found


def whole(folder: Path) -> bool:
    """Whether the stage in this folder is complete, with every file that it was completed with."""
    try:
        return (folder / "done.json").exists() and not damage(folder)
    except ArtifactError:
        return False


def _earlier(folder: Path, key: str) -> Path:
    """Where a stage's folder of this key is set aside."""
    return folder.parent / EARLIER / f"{folder.name}-{key[:12]}"


def holding(folder: Path, key: str) -> Path | None:
    """Where what was made under this key lies: in the stage's folder, among the earlier ones, or nowhere."""
    places = (folder, _earlier(folder, key))
    return next((place for place in places if (read_json(place / "stage.json") or {}).get("key") == key), None)


def bring_back(folder: Path, key: str) -> str | None:
    """Make a stage's folder hold what belongs to this key, if anything does; what was moved, in words.

    What another key left is set aside, not deleted; what was set aside under this key comes back.
    """
    before, kept, moved = read_json(folder / "stage.json"), _earlier(folder, key), ""
    if before is not None and before["key"] == key:
        return None
    if before is not None:
        aside = _earlier(folder, before["key"])
        aside.parent.mkdir(exist_ok=True)
        os.rename(folder, aside)
        moved = f"what was there is now in {EARLIER}/{aside.name}"
    if kept.exists():
        shutil.rmtree(folder, ignore_errors=True)  # without a stage.json: nothing was recorded in it
        os.rename(kept, folder)
        return f"{folder.name}: the records of these parameters are back; {moved}".rstrip("; ")
    return f"{folder.name}: parameters or needed stages changed; {moved}" if moved else None


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
        if not (self.folder / name).exists():
            there = ", ".join(sorted(p.name for p in self.folder.iterdir() if not p.name.startswith(".")))
            raise StageError(f"{self.name} wrote no {name}; in {self.folder} there is: {there}")
        return self.folder / name

    def records(self, name: str, model: type[R], key: str = "id") -> JsonLines[R]:
        """The stage's records in the file of this name."""
        return JsonLines(self.path(name), model, key, complete=True)


def needed(run: Path, name: str, by: str) -> Needed:
    """The completed stage ``name`` of the run in this folder, whole and made from what the run now holds.

    Raises StageError, with the command that makes it, if it is missing, damaged, or older than a stage it needs.
    """
    folder, done, fault = run / name, read_json(run / name / "done.json"), ""
    if done is None:
        state = "was started but is not complete" if (folder / "stage.json").exists() else "has not been run"
        fault = f"{state} in run '{run.name}' ({folder})"
    elif broken := damage(folder):
        file, what = next(iter(broken.items()))
        fault = f"is damaged: {folder / file} {what}"
    elif other := [s for s, key in done["needs"].items() if (read_json(run / s / "done.json") or {}).get("key") != key]:
        fault = f"was made from an earlier {other[0]} than the run holds"
    if fault:
        raise StageError(
            f"{by} needs {name}, which {fault}.\nMake it with: ledex run PARAMS.yaml --run {run.name} --to {name}\n"
            f"or run notebooks/{name}.ipynb with run = {run.name!r}."
        )
    for source in done["needs"]:
        needed(run, source, by=name)
    return Needed(name, folder, done)
