"""What a notebook says about itself, read without running it: its parameters, its code, the stages it needs."""

from __future__ import annotations

import ast
import difflib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ledexlib.params import layers as params
from ledexlib.params.vocabulary import Params

STAGE_NAME = re.compile(r"^\d\d_[a-z0-9_]+$")
# Calls are written with a literal name, so that the runner sees them too; a call behind a '#' does not count.
OPENS = re.compile(r"""^[^#\n]*\bopen_stage\(\s*["']([^"']+)["']""", re.MULTILINE)
NEEDS = re.compile(r"""\.need\(\s*["']([^"']+)["']""")
NEEDS_EACH = re.compile(r"""\.need_each\(\s*["']([^"']+)["']""")


class NotebookError(ValueError):
    """A notebook that cannot be a stage; the message names the file, what is wrong and what would be right."""


@dataclass(frozen=True)
class Notebook:
    """A stage's source: ``declared`` maps its parameters to their defaults, ``code`` is all other code.

    It always needs the stages ``needs``, and those that the lists in its parameters ``needs_each`` name.
    """

    path: Path
    declared: dict[str, Any]
    code: str
    needs: tuple[str, ...]
    needs_each: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.path.stem

    def named_by(self, parameter: str, p: Params) -> tuple[str, ...]:
        """The stages that a list parameter names; raises NotebookError for one that is not earlier than this."""
        found = tuple(item for item in getattr(p, parameter) if STAGE_NAME.match(item))
        late = [item for item in found if item >= self.name]
        if late:
            raise NotebookError(f"{parameter} names {late[0]!r}, which is not a stage before {self.name}")
        return found

    def needs_with(self, p: Params) -> tuple[str, ...]:
        """The stages it needs with these parameters."""
        chosen = (name for parameter in self.needs_each for name in self.named_by(parameter, p))
        return tuple(dict.fromkeys((*self.needs, *chosen)))


def text(cell: dict[str, Any]) -> str:
    """A cell's source."""
    return "".join(cell["source"])


def tags(cell: dict[str, Any]) -> list[str]:
    """A cell's tags."""
    return cell.get("metadata", {}).get("tags", [])


def cells_of(path: Path) -> list[dict[str, Any]]:
    """The cells of a notebook file; raises NotebookError if it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))["cells"]
    except FileNotFoundError:
        raise NotebookError(f"{path}: no such notebook") from None
    except (ValueError, KeyError, TypeError) as error:
        raise NotebookError(f"{path}: not a notebook ({type(error).__name__}: {error})") from None


def parameters_cell(path: Path, cells: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The one code cell tagged ``parameters``.

    papermill injects after that cell. Without it the injected values come first and the notebook's own overwrite them.
    """
    found = [cell for cell in cells if "parameters" in tags(cell) and cell["cell_type"] == "code"]
    if any("injected-parameters" in tags(cell) for cell in cells):
        raise NotebookError(f"{path}: an executed copy (it has an injected-parameters cell); start from the source")
    if len(found) != 1:
        raise NotebookError(f"{path}: {len(found) or 'no'} cells are tagged 'parameters'; tag exactly one code cell")
    return found[0]


def declarations(path: Path, source: str) -> dict[str, Any]:
    """Name and default of every ``name: type = literal`` line of a parameters cell, checked against the vocabulary."""
    declared: dict[str, Any] = {}
    try:
        for statement in ast.parse(source).body:
            typed = isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
            if not typed or statement.value is None:
                raise NotebookError(
                    f"{path}: parameters cell, line {statement.lineno}: expected 'name: type = literal  # comment'; "
                    "what is derived from parameters belongs in the next cell"
                )
            declared[statement.target.id] = ast.literal_eval(statement.value)
    except SyntaxError as error:
        raise NotebookError(f"{path}: parameters cell, line {error.lineno}: {error.msg}") from None
    except ValueError as error:
        if isinstance(error, NotebookError):
            raise
        raise NotebookError(f"{path}: parameters cell, line {statement.lineno}: the default is not a literal") from None
    params.check(declared, dict.fromkeys(declared, f"{path}: parameters cell"))
    missing = [name for name in ("run", "outputs") if name not in declared]
    if missing:
        raise NotebookError(f"{path}: the parameters cell must declare {' and '.join(missing)}, which place the stage")
    return declared


def read(path: Path) -> Notebook:
    """The stage in this notebook file; raises NotebookError, or ParameterError for a bad default."""
    cells = cells_of(path)
    head = parameters_cell(path, cells)
    code = "\n\n".join(text(cell).rstrip() for cell in cells if cell["cell_type"] == "code" and cell is not head)
    opens = OPENS.findall(code)
    if opens != [path.stem]:
        was = f"opens {' and '.join(map(repr, opens))}" if opens else "opens no stage"
        raise NotebookError(f"{path}: {was}; it must call runs.open_stage({path.stem!r}, …) once")
    said = "\n".join(line.partition("#")[0] for line in code.splitlines())
    needs = tuple(dict.fromkeys(NEEDS.findall(said)))
    late = [need for need in needs if not (STAGE_NAME.match(need) and need < path.stem)]
    if late:
        raise NotebookError(f"{path}: needs {late[0]!r}, which is not the name of an earlier stage")
    declared = declarations(path, text(head))
    needs_each = tuple(dict.fromkeys(NEEDS_EACH.findall(said)))
    undeclared = [name for name in needs_each if not isinstance(declared.get(name), list)]
    if undeclared:
        raise NotebookError(f"{path}: need_each({undeclared[0]!r}): the parameters cell declares no list of that name")
    return Notebook(path, declared, code, needs, needs_each)


def find(folder: Path) -> list[Notebook]:
    """The stages of a folder, ``NN_name.ipynb``, in their order; other files (copies, drafts) are not stages."""
    paths = sorted(path for path in folder.glob("*.ipynb") if STAGE_NAME.match(path.stem))
    if not paths:
        raise NotebookError(f"{folder}: no notebooks named like 01_collect.ipynb")
    found = [read(path) for path in paths]
    for notebook in found:
        for need in notebook.needs:
            if need not in (other.name for other in found):
                raise NotebookError(f"{notebook.path}: needs {need!r}, and {folder} has no {need}.ipynb")
    return found


def position(stages: Sequence[Notebook], wanted: str) -> int:
    """Index of the stage called ``wanted``: '01_collect', 'collect' or '01'; raises NotebookError with the nearest."""
    hits = [i for i, stage in enumerate(stages) if wanted in (stage.name, stage.name[:2], stage.name[3:])]
    if len(hits) == 1:
        return hits[0]
    names = [stage.name for stage in stages]
    if hits:
        raise NotebookError(f"stage '{wanted}' could be {' or '.join(names[i] for i in hits)}; write its full name")
    near = difflib.get_close_matches(wanted, names + [name[3:] for name in names], n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'? " if near else ""
    raise NotebookError(f"there is no stage '{wanted}'; {hint}The stages are {', '.join(names)}")
