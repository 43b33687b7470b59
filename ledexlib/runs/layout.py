"""How a run is laid out: the table of its stages (``stages.yaml`` beside the notebooks), their keys and their folders.

A stage's content key is a SHA-256 over the parameters that its data follow from and the keys of the stages it needs;
code is no part of it. It is made in ``outputs/<run>/<stage>/``; one of another key is set aside in
``outputs/<run>/earlier/``, where a parameter that is changed back finds it again. ``done.json``, written last, lists
every file of the stage: one that is missing or of another size makes the stage incomplete."""

import difflib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import yaml

from ledexlib.params import FIELDS, FILES, GROUPS, NOTEBOOKS, Params, Refused, literals, resolve, validate
from ledexlib.runs.provenance import code_cells
from ledexlib.runs.storage import ArtifactError, JsonLines, R, lock, plain, read_json, write_json

STAGE_NAME = re.compile(r"^\d\d_[a-z0-9_]+$")
TABLE, COLUMNS = "stages.yaml", ("needs", "needs_each", "parameters")
EARLIER = "earlier"  # folder of stages that were made with other parameters
ANEW = "anew.json"  # how often each stage of a run was asked to be made anew with the same parameters

# Parameters that say where or how fast a stage works, not what comes out: changing one redoes nothing.
NOT_IN_KEY = frozenset({
    "run", "outputs", "workers", "requests_in_flight", "request_timeout", "model_endpoints", "teacher_endpoints",
    "sft_save_every", "ppo_save_every", "processes", "accelerate_config"})


class StageTableError(Refused, ValueError):
    """A table of stages or a notebook that cannot be used; the message names the file and what would be right."""


class StageError(Refused, RuntimeError):
    """A stage that cannot be opened or used; the message says what to run."""


class StageSpec(NamedTuple):
    """A stage as the table has it: the notebook that makes it, the stages it reads, what its data follow from.
    It needs ``needs`` and what the list parameter ``needs_each`` names; ``parameters`` are names of the vocabulary."""
    name: str
    notebook: Path
    needs: tuple[str, ...]
    needs_each: str | None
    parameters: tuple[str, ...]

    def needs_with(self, p: Params) -> tuple[str, ...]:
        """The stages it needs with these parameters; raises StageTableError for one that is not earlier than this."""
        named = getattr(p, self.needs_each) if self.needs_each else ()
        found = tuple(item for item in named if STAGE_NAME.match(item))
        if late := [item for item in found if item >= self.name]:
            raise StageTableError(f"{self.needs_each} names {late[0]!r}, which is not a stage before {self.name}")
        return tuple(dict.fromkeys((*self.needs, *found)))

    def influencing(self, p: Params) -> dict[str, Any]:
        """The parameters that its data follow from."""
        return {name: plain(getattr(p, name)) for name in sorted(self.parameters) if name not in NOT_IN_KEY}


def read_stages(folder: Path = NOTEBOOKS) -> list[StageSpec]:
    """The stages of a folder of notebooks, in their order; raises StageTableError."""
    path = folder / TABLE
    try:
        rows = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StageTableError(f"{folder}: no {TABLE}, the table of its stages") from None
    except yaml.YAMLError as error:
        raise StageTableError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not rows:
        raise StageTableError(f"{path}: no stages in it")
    found: dict[str, StageSpec] = {}
    for name, row in sorted(rows.items()):
        row = row or {}
        needs, each, listed = row.get("needs", ()), row.get("needs_each"), row.get("parameters", ())
        faults = [f"{key!r} is none of {', '.join(COLUMNS)}" for key in row if key not in COLUMNS]
        faults += [f"needs {need!r}, which is not the name of an earlier stage" for need in needs if need not in found]
        faults += [f"needs_each: {each!r} is not a parameter"] if each is not None and each not in FIELDS else []
        for item in (item for item in listed if item not in GROUPS and item not in FIELDS):
            near = difflib.get_close_matches(item, [*GROUPS, *FIELDS], n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            faults.append(f"{item!r} is neither a group of parameters nor a parameter{hint}")
        if not STAGE_NAME.match(name):
            faults.append(f"{name!r} is not a stage's name, such as 01_collect")
        if faults:
            raise StageTableError(f"{path}: {name}: {faults[0]}")
        parameters = dict.fromkeys(parameter for item in listed for parameter in GROUPS.get(item, (item,)))
        found[name] = StageSpec(name, path.with_name(f"{name}.ipynb"), tuple(needs), each, tuple(parameters))
    return list(found.values())


def parameters_cell(notebook: Path) -> dict[str, Any]:
    """The names and defaults in a notebook's one code cell tagged ``parameters``; raises StageTableError.
    papermill injects after it; without it the injected values come first, and the notebook's own replace them."""
    try:
        cells = code_cells(notebook)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StageTableError(f"{notebook}: not a notebook ({type(error).__name__}: {error})") from None
    found = [source for source, tags in cells if "parameters" in tags]
    if any("injected-parameters" in tags for _, tags in cells):
        raise StageTableError(f"{notebook}: an executed copy (it has an injected cell); start from the source")
    if len(found) != 1:
        raise StageTableError(f"{notebook}: {len(found) or 'no'} cells are tagged 'parameters'; tag one code cell")
    declared = literals(found[0], place := f"{notebook}: parameters cell")
    validate({name: value for name, value in declared.items() if name != FILES}, dict.fromkeys(declared, place))
    if missing := [name for name in ("run", "outputs") if name not in declared]:
        raise StageTableError(f"{notebook}: the parameters cell must declare {missing[0]}, which places the stage")
    return declared


def position(stages: Sequence[StageSpec], wanted: str) -> int:
    """Index of the stage called ``wanted``: '01_collect', 'collect' or '01'; raises StageTableError."""
    names = [stage.name for stage in stages]
    hits = [i for i, name in enumerate(names) if wanted in (name, name[:2], name[3:])]
    if len(hits) > 1:
        raise StageTableError(f"stage '{wanted}' could be {' or '.join(names[i] for i in hits)}; write its full name")
    if not hits:
        near = difflib.get_close_matches(wanted, names + [name[3:] for name in names], n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise StageTableError(f"there is no stage '{wanted}'; {hint}The stages are {', '.join(names)}")
    return hits[0]


def run_folder(p: Params) -> Path:
    """The folder of the run that the parameters name."""
    return resolve(p.outputs) / p.run


def hold(path: Path, what: str, wait: float = 0.0) -> TextIO:
    """The lock on ``path``, to use in ``with``; StageError says which process does ``what`` ('… is being written')."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if (held := lock(path, wait)) is None:
        raise StageError(f"{what} by process {path.read_text(encoding='utf-8').strip()}; wait for it, or stop it")
    return held


def stage_key(spec: StageSpec, p: Params, needs: dict[str, str]) -> str:
    """The content key of a stage, given the keys of the stages it needs; another one each time it is made anew."""
    anew = (read_json(run_folder(p) / ANEW) or {}).get(spec.name)
    content = {"parameters": spec.influencing(p), "needs": needs, **({"anew": anew} if anew else {})}
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
    notebooks = (f"{folder.name}{end}.ipynb" for end in ("", ".failed", ".interrupted"))
    own = {"done.json", "stage.json", "progress.json", *notebooks}
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
    What another key left is set aside, not deleted; what was set aside under this key comes back."""
    before, kept, moved = (read_json(folder / "stage.json") or {}).get("key"), _earlier(folder, key), ""
    if before == key:
        return None
    if before is not None:
        aside = _earlier(folder, before)
        aside.parent.mkdir(exist_ok=True)
        os.rename(folder, aside)
        moved = f"what was there is now in {EARLIER}/{aside.name}"
    if kept.exists():
        shutil.rmtree(folder, ignore_errors=True)  # without a stage.json: nothing was recorded in it
        os.rename(kept, folder)
        return f"{folder.name}: the records of these parameters are back; {moved}".rstrip("; ")
    return f"{folder.name}: parameters or needed stages changed; {moved}" if moved else None


class Needed(NamedTuple):
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
    """The completed stage ``name`` of the run in this folder; raises StageError, with the command that makes it, if
    it is missing, damaged, or older than a stage it needs."""
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
        make = f"ledex run PARAMS.yaml --run {run.name} --to {name}"
        notebook = f"notebooks/{name}.ipynb with run = {run.name!r}"
        raise StageError(f"{by} needs {name}, which {fault}.\nMake it with: {make}\nor run {notebook}.")
    for source in done["needs"]:
        needed(run, source, by=name)
    return Needed(name, folder, done)
