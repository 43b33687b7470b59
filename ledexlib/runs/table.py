"""The table of stages, ``stages.yaml`` beside the notebooks: what each needs, and what its data follow from."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ledexlib.params import FIELDS, FILES, GROUPS, NOTEBOOKS, Params, literals, validate
from ledexlib.runs.storage import plain

STAGE_NAME = re.compile(r"^\d\d_[a-z0-9_]+$")
TABLE = "stages.yaml"
_KEYS = ("needs", "needs_each", "parameters")

# Parameters that say where or how fast a stage works, not what comes out: changing one redoes nothing.
NOT_IN_KEY = frozenset({
    "run", "outputs", "workers", "requests_in_flight", "request_timeout", "model_endpoints", "teacher_endpoints",
    "sft_save_every", "ppo_save_every", "processes", "accelerate_config",
})  # fmt: skip


class StageTableError(ValueError):
    """A table of stages or a notebook that cannot be used; the message names the file and what would be right."""


@dataclass(frozen=True)
class StageSpec:
    """A stage as the table has it: the notebook that makes it, the stages it reads, what its data follow from.

    It always needs ``needs``, and those that the list parameter ``needs_each`` names. ``parameters`` are names of the
    vocabulary.
    """

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
    found: dict[str, StageSpec] = {}
    for name, row in sorted((rows or {}).items()):
        found[name] = _spec(path, name, row or {}, found)
    if not found:
        raise StageTableError(f"{path}: no stages in it")
    return list(found.values())


def _spec(path: Path, name: str, row: dict[str, Any], earlier: dict[str, StageSpec]) -> StageSpec:
    """A row of the table, checked."""
    needs, each, listed = row.get("needs", ()), row.get("needs_each"), row.get("parameters", ())
    near = difflib.get_close_matches
    faults = [f"{key!r} is none of needs, needs_each, parameters" for key in row if key not in _KEYS]
    faults += [f"needs {need!r}, which is not the name of an earlier stage" for need in needs if need not in earlier]
    faults += [f"needs_each: {each!r} is not a parameter"] if each is not None and each not in FIELDS else []
    for item in (item for item in listed if item not in GROUPS and item not in FIELDS):
        hint = "".join(f"; did you mean {other!r}?" for other in near(item, [*GROUPS, *FIELDS], n=1, cutoff=0.5))
        faults.append(f"{item!r} is neither a group of parameters nor a parameter{hint}")
    if not STAGE_NAME.match(name):
        faults.append(f"{name!r} is not a stage's name, such as 01_collect")
    if faults:
        raise StageTableError(f"{path}: {name}: {faults[0]}")
    parameters = dict.fromkeys(parameter for item in listed for parameter in GROUPS.get(item, (item,)))
    return StageSpec(name, path.with_name(f"{name}.ipynb"), tuple(needs), each, tuple(parameters))


def parameters_cell(notebook: Path) -> dict[str, Any]:
    """The names and defaults in a notebook's one code cell tagged ``parameters``; raises StageTableError.

    papermill injects after that cell. Without it the injected values come first and the notebook's own overwrite them.
    """
    import nbformat  # takes seconds

    try:
        cells = [cell for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code"]
    except FileNotFoundError:
        raise StageTableError(f"{notebook}: no such notebook") from None
    except (nbformat.reader.NotJSONError, nbformat.ValidationError, AttributeError, KeyError) as error:
        raise StageTableError(f"{notebook}: not a notebook ({type(error).__name__}: {error})") from None
    found = [cell.source for cell in cells if "parameters" in cell.metadata.get("tags", ())]
    declared = literals(found[0], f"{notebook}: parameters cell") if len(found) == 1 else {}
    known = {name: value for name, value in declared.items() if name != FILES}
    validate(known, dict.fromkeys(known, f"{notebook}: parameters cell"))
    missing = [name for name in ("run", "outputs") if name not in declared]
    if any("injected-parameters" in cell.metadata.get("tags", ()) for cell in cells):
        raise StageTableError(f"{notebook}: an executed copy (it has an injected cell); start from the source")
    if len(found) != 1:
        raise StageTableError(f"{notebook}: {len(found) or 'no'} cells are tagged 'parameters'; tag one code cell")
    if missing:
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
