"""What a notebook states: the values of its parameters cell, of the cell that papermill injects, of the files it names.

Values are read from the text of these cells as they were run last, never from the notebook's variables: a loop variable
that is called like a parameter changes nothing. A value in the parameters cell that equals the vocabulary's default
states nothing, so that the files named in ``params`` hold; what papermill injects always counts."""

import ast
from collections.abc import Mapping, Sequence
from typing import Any

from ledexlib.params.layers import FIELDS, Layered, ParameterError, stated
from ledexlib.params.paths import resolve

FILES = "params"  # the notebooks' list of parameter files
CELL, INJECTED = "this notebook's parameters cell", "injected"  # where a value was stated
INJECTED_HEAD = "# Parameters\n"  # of the cell that papermill inserts


def literals(source: str, place: str) -> dict[str, Any]:
    """Name and value of every ``name: type = literal`` or ``name = literal`` line of a cell.

    Raises ParameterError for anything else: what is derived from parameters belongs in the next cell."""
    found: dict[str, Any] = {}
    try:
        for statement in ast.parse(source).body:
            match statement:
                case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                    pass
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    pass
                case _:
                    raise ParameterError(
                        f"{place}, line {statement.lineno}: expected 'name: type = literal  # comment'; "
                        "what is derived from parameters belongs in the next cell")
            try:
                found[name] = ast.literal_eval(value)
            except ValueError:
                raise ParameterError(f"{place}, line {statement.lineno}: the value is not a literal") from None
    except SyntaxError as error:
        raise ParameterError(f"{place}, line {error.lineno}: {error.msg}") from None
    return found


def _is_parameters_cell(source: str) -> bool:
    """Whether a cell is a parameters cell: it declares, with types, at least the run and where it lies."""
    try:
        declared = [s.target for s in ast.parse(source).body if isinstance(s, ast.AnnAssign)]
    except SyntaxError:
        return False
    return {"run", "outputs"} <= {target.id for target in declared if isinstance(target, ast.Name)}


def _stated_in(cells: Sequence[str]) -> Layered:
    """The parameters that cells state, in the order in which they were run."""
    values = literals(next((cell for cell in reversed(cells) if _is_parameters_cell(cell)), ""), CELL)
    injected: dict[str, Any] = {}
    for cell in cells:
        if cell.startswith(INJECTED_HEAD):
            injected |= literals(cell, "the injected parameters")
    files = [f(FILES, None) for f in (injected.pop, values.pop)]
    changed = {name: value for name, value in values.items() if name not in FIELDS or value != FIELDS[name].default}
    here = Layered(changed, dict.fromkeys(changed, CELL)).over(_files(files[0] or files[1]))
    return Layered(injected, dict.fromkeys(injected, INJECTED)).over(here)


def _files(paths: Any) -> Layered:
    return stated([resolve(path) for path in ([paths] if isinstance(paths, str) else paths or ())])


def from_notebook(variables: Mapping[str, Any]) -> Layered:
    """The parameters that a running notebook states, and where: call with its ``globals()``.

    Without IPython's record of cells (a script), the variables that are called like parameters count. Raises
    ParameterError for a cell that is no list of literals, or a file that cannot be read."""
    if "In" in variables:
        return _stated_in([str(cell) for cell in variables["In"]])
    here = {name: variables[name] for name in FIELDS if name in variables}
    return Layered(here, dict.fromkeys(here, "this script")).over(_files(variables.get(FILES)))
