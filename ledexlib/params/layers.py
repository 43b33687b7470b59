"""Parameters read from YAML files and ``key=value`` overrides, checked against the vocabulary.

Files layer from left to right (the later file wins), then overrides. Everything is checked before anything runs: an
unknown name, a wrong type or an impossible value is refused with its place and the nearest name.
"""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import ValidationError

from ledexlib.params.vocabulary import Params

FIELDS: Mapping[str, Any] = Params.model_fields
# Parameters that are text: YAML would read a run called 2024-05-01 as a date and 007 as a number.
TEXTS = frozenset(
    name for name, field in FIELDS.items() if str in (field.annotation, *getattr(field.annotation, "__args__", ()))
)


class ParameterError(ValueError):
    """A parameter that cannot be used; the message names the file, the key and what would be right."""


class Layered(NamedTuple):
    """Parameters that were stated, by name, and where each was: a file, an override or a notebook."""

    values: dict[str, Any]
    sources: dict[str, str]

    def over(self, lower: Layered) -> Layered:
        """These on top of others."""
        return Layered({**lower.values, **self.values}, {**lower.sources, **self.sources})


def _explain(error: ValidationError, sources: Mapping[str, str]) -> str:
    """One line for each problem pydantic found: file, key, what is wrong, what would be right."""
    lines = []
    for item in error.errors():
        key = str(item["loc"][0])
        place = sources.get(key, "parameters")
        if item["type"] == "extra_forbidden":
            near = difflib.get_close_matches(key, FIELDS, n=1, cutoff=0.5)
            hint = f"; did you mean '{near[0]}'?" if near else "; params/README.md lists all"
            lines.append(f"{place}: '{key}' is not a parameter{hint}")
        else:
            said = item["msg"].removeprefix("Value error, ").lower()
            lines.append(f"{place}: '{key}' = {item['input']!r}: {said} ({FIELDS[key].description})")
    return "\n".join(lines)


def validate(values: Mapping[str, Any], sources: Mapping[str, str] | None = None) -> Params:
    """The parameters with these values and defaults for the rest; raises ParameterError naming each fault."""
    try:
        return Params(**values)
    except ValidationError as error:
        raise ParameterError(_explain(error, sources or {})) from None


def _parse(text: str, place: str) -> dict[str, Any]:
    """The flat mapping in a YAML text; raises ParameterError if it is broken or not flat."""
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return {}
        if not isinstance(node, yaml.MappingNode):
            kind = type(loader.construct_document(node)).__name__
            raise ParameterError(f"{place}: expected lines of 'name: value', got a {kind}")
        return {str(loader.construct_object(key)): _value(loader, key.value, value) for key, value in node.value}
    except yaml.YAMLError as error:
        raise ParameterError(f"{place}: not valid YAML: {' '.join(str(error).split())}") from None
    finally:
        loader.dispose()


def _value(loader: yaml.SafeLoader, name: str, node: yaml.Node) -> Any:
    """A parameter's value; in a text parameter a date stays the text that it is, and in a run's name a number too."""
    dates = "tag:yaml.org,2002:timestamp"
    written = isinstance(node, yaml.ScalarNode) and node.style is None
    as_text = name == "run" and node.tag != "tag:yaml.org,2002:null"
    if written and name in TEXTS and (as_text or node.tag == dates):
        return node.value
    return loader.construct_object(node, deep=True)


def read_yaml(path: Path | str) -> dict[str, Any]:
    """The flat mapping in a YAML file; raises ParameterError if the file is missing, broken or not flat."""
    path = Path(path).expanduser()
    try:
        return _parse(path.read_text(encoding="utf-8"), str(path))
    except IsADirectoryError:
        raise ParameterError(f"{path}: is a folder; name the parameter file in it") from None
    except OSError:
        known = ", ".join(sorted(str(p) for p in path.parent.glob("*.yaml"))) or "none in that folder"
        raise ParameterError(f"{path}: no such parameter file (there is: {known})") from None


def stated(files: Iterable[Path | str] = (), overrides: Iterable[str] = ()) -> Layered:
    """What YAML files, layered left to right, and then ``key=value`` overrides (values are YAML) say, unchecked."""
    found = Layered({}, {})
    for path in files:
        layer = read_yaml(path)
        found = Layered(layer, dict.fromkeys(layer, str(path))).over(found)
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals:
            raise ParameterError(f"--set {text}: expected key=value")
        layer = _parse(f"{key.strip()}: {value}", f"--set {text}")
        found = Layered(layer, dict.fromkeys(layer, f"--set {text}")).over(found)
    return found


def load(files: Iterable[Path | str] = (), overrides: Iterable[str] = ()) -> Params:
    """The parameters of these YAML files, layered left to right, then of ``key=value`` overrides."""
    return validate(*stated(files, overrides))


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
