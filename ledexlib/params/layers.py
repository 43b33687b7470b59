"""Parameters read from YAML files and ``key=value`` overrides, checked against the vocabulary.

Files layer from left to right (the later file wins), then overrides. Everything is checked before anything runs: an
unknown name, a wrong type or an impossible value is refused with its place and the nearest name."""

import argparse
import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import ValidationError

from ledexlib.params.vocabulary import Params

FIELDS: Mapping[str, Any] = Params.model_fields


class Refused(Exception):
    """What was given cannot be used; the message says what, where and what would be right."""


class ParameterError(Refused, ValueError):
    """A parameter that cannot be used; the message names the file, the key and what would be right."""


class Layered(NamedTuple):
    """Parameters that were stated, by name, and where each was: a file, an override or a notebook."""
    values: dict[str, Any]
    sources: dict[str, str]

    def over(self, lower: "Layered") -> "Layered":
        """These on top of others."""
        return Layered({**lower.values, **self.values}, {**lower.sources, **self.sources})


def validate(values: Mapping[str, Any], sources: Mapping[str, str] | None = None) -> Params:
    """The parameters with these values and defaults for the rest; raises ParameterError with a line for each fault."""
    try:
        return Params(**values)
    except ValidationError as error:
        faults = [_fault(item, str(item["loc"][0]), sources or {}) for item in error.errors()]
        raise ParameterError("\n".join(faults)) from None


def _fault(item: Mapping[str, Any], key: str, sources: Mapping[str, str]) -> str:
    """A fault that pydantic found: file, key, what is wrong, what would be right."""
    place = sources.get(key, "parameters")
    if item["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, FIELDS, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'?" if near else "params/README.md lists all"
        return f"{place}: '{key}' is not a parameter; {hint}"
    said = item["msg"].removeprefix("Value error, ").lower()
    return f"{place}: '{key}' = {item['input']!r}: {said} ({FIELDS[key].description})"


def _parse(text: str, place: str) -> dict[str, Any]:
    """The flat mapping in a YAML text; raises ParameterError if it is broken or not flat.

    A run's name is text, whatever YAML would make of 2024-05-01 or 007."""
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        node = None if node is None or node.tag.endswith(":null") else node
        if node is not None and not isinstance(node, yaml.MappingNode):
            kind = type(loader.construct_document(node)).__name__
            raise ParameterError(f"{place}: expected lines of 'name: value', got a {kind}")
        for key, value in node.value if node is not None else ():
            if key.value == "run" and isinstance(value, yaml.ScalarNode):
                value.tag = "tag:yaml.org,2002:str"
        return {str(key): value for key, value in (loader.construct_document(node) if node else {}).items()}
    except yaml.YAMLError as error:
        raise ParameterError(f"{place}: not valid YAML: {' '.join(str(error).split())}") from None


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
    layers = [(str(path), read_yaml(path)) for path in files]
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals:
            raise ParameterError(f"--set {text}: expected key=value")
        layers.append((f"--set {text}", _parse(f"{key.strip()}: {value}", f"--set {text}")))
    found = Layered({}, {})
    for place, layer in layers:
        found = Layered(layer, dict.fromkeys(layer, place)).over(found)
    return found


def load(files: Iterable[Path | str] = (), overrides: Iterable[str] = ()) -> Params:
    """The parameters of these YAML files, layered left to right, then of ``key=value`` overrides."""
    return validate(*stated(files, overrides))


def add_arguments(parser: argparse.ArgumentParser, named: bool) -> None:
    """Add what a command on a run takes: parameter files, its name (which ``named`` makes obligatory), parameters."""
    parser.add_argument("files", nargs="+", metavar="PARAMS.yaml", help="the run's parameter files; a later one wins")
    parser.add_argument("--run", required=named, metavar="NAME", help="name of the run, its folder under outputs/")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help="a parameter")


def from_arguments(arguments: argparse.Namespace) -> Params:
    """The parameters that the words of ``add_arguments`` say; raises ParameterError naming each fault."""
    return load(arguments.files, [*arguments.overrides, *([f"run={arguments.run}"] if arguments.run else [])])
