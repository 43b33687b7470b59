"""Parameters read from YAML files, ``key=value`` overrides and notebooks, checked against the vocabulary.

Files layer from left to right (the later file wins), then overrides. Everything is checked before anything runs: an
unknown name, a wrong type or an impossible value is refused with its place and the nearest name.
"""

from __future__ import annotations

import argparse
import ast
import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ledexlib.params.vocabulary import Params

FIELDS: Mapping[str, Any] = Params.model_fields


class ParameterError(ValueError):
    """A parameter that cannot be used; the message names the file, the key and what would be right."""


def _explain(error: ValidationError, where: Mapping[str, str]) -> str:
    """One line for each problem pydantic found: file, key, what is wrong, what would be right."""
    lines = []
    for item in error.errors():
        key = str(item["loc"][0])
        place = where.get(key, "parameters")
        if item["type"] == "extra_forbidden":
            near = difflib.get_close_matches(key, FIELDS, n=1, cutoff=0.5)
            hint = f"; did you mean '{near[0]}'?" if near else "; see ledexlib/vocabulary.py for all"
            lines.append(f"{place}: '{key}' is not a parameter{hint}")
        else:
            field = FIELDS[key]
            lines.append(f"{place}: '{key}' = {item['input']!r}: {item['msg'].lower()} ({field.description})")
    return "\n".join(lines)


def check(values: Mapping[str, Any], where: Mapping[str, str] | None = None) -> Params:
    """The parameters with these values and defaults for the rest; raises ParameterError naming each fault."""
    try:
        return Params(**values)
    except ValidationError as error:
        raise ParameterError(_explain(error, where or {})) from None


def _injected(variables: Mapping[str, Any]) -> list[str]:
    """Names that papermill assigned in the cell it inserts; it only warns of a name that it does not know."""
    cells = [ast.parse(source) for source in variables.get("In", ()) if source.startswith("# Parameters\n")]
    statements = [statement for cell in cells for statement in cell.body if isinstance(statement, ast.Assign)]
    return [target.id for statement in statements for target in statement.targets if isinstance(target, ast.Name)]


def from_notebook(variables: Mapping[str, Any]) -> Params:
    """The parameters among a notebook's variables: call as ``from_notebook(globals())`` below the parameters cell.

    Raises ParameterError for a bad value, and for a name given to papermill that is not a parameter.
    """
    values = {name: variables[name] for name in [*FIELDS, *_injected(variables)] if name in variables}
    return check(values, dict.fromkeys(values, "notebook's parameters cell"))


def read_yaml(path: Path | str) -> dict[str, Any]:
    """The flat mapping in a YAML file; raises ParameterError if the file is missing, broken or not flat."""
    path = Path(path)
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = ", ".join(sorted(str(p) for p in path.parent.glob("*.yaml"))) or "none in that folder"
        raise ParameterError(f"{path}: no such parameter file (there is: {known})") from None
    except yaml.YAMLError as error:
        raise ParameterError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ParameterError(f"{path}: expected lines of 'name: value', got a {type(data).__name__}")
    return {str(key): value for key, value in data.items()}


def load(files: Iterable[Path | str] = (), overrides: Iterable[str] = ()) -> Params:
    """The parameters of these YAML files, layered left to right, then of ``key=value`` overrides (values are YAML)."""
    values: dict[str, Any] = {}
    where: dict[str, str] = {}
    for path in files:
        layer = read_yaml(path)
        values.update(layer)
        where.update(dict.fromkeys(layer, str(path)))
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals:
            raise ParameterError(f"--set {text}: expected key=value")
        try:
            values[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ParameterError(f"--set {text}: the value is not valid YAML: {' '.join(str(error).split())}") from None
        where[key.strip()] = f"--set {text}"
    return check(values, where)


def add_arguments(parser: argparse.ArgumentParser, named: bool) -> None:
    """Add what a command on a run takes: parameter files, its name (which ``named`` makes obligatory), parameters."""
    add = parser.add_argument
    add("files", nargs="+", metavar="PARAMS.yaml", help="the run's parameter files; a later one wins")
    add("--run", required=named, metavar="NAME", help="name of the run, its folder under outputs/")
    add("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help="a parameter")


def from_arguments(arguments: argparse.Namespace) -> Params:
    """The parameters that the words of ``add_arguments`` say; raises ParameterError naming each fault."""
    run = [f"run={arguments.run}"] if arguments.run else []
    return load(arguments.files, [*arguments.overrides, *run])
