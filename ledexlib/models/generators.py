"""Generators: whatever answers prompts, and the model and the teacher that the parameters name.

What runs them is implied: endpoints that are given; a registered teacher; else transformers in this process. A package
registers models by entry points of the group ``ledexlib.models`` (name: checkpoint folder) and teachers by those of
``ledexlib.teachers`` (name: what makes a ``Generator`` from a seed).
"""

from collections.abc import Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from ledexlib.models.answers import DONE
from ledexlib.models.prompts import Prompt
from ledexlib.params import ParameterError, Params, resolve
from ledexlib.records import Sampling

STOP = (DONE,)  # what ends a completion of a text prompt
Role = Literal["model", "teacher"]


class Completion(NamedTuple):
    """A model's answer to a prompt."""

    text: str  # without the stop string or end-of-turn token that ended it
    tokens: int  # tokens sampled, with those that ended it
    finished: bool  # ended by itself, not by its length


class Generator(Protocol):
    """Anything that answers prompts. ``name`` is recorded with what it wrote."""

    name: str

    def generate(self, prompts: Sequence[Prompt], n: int, sampling: Sampling) -> list[list[Completion]]:
        """``n`` completions of each prompt, in order; ``sampling.seed`` makes the call repeatable."""
        ...


@cache
def _registered(kind: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=f"ledexlib.{kind}")}


def checkpoint_path(name: str) -> str:
    """What transformers loads for a model's name: a folder where there is one, else the name, for the hub.

    A folder is registered under the name or named from the working folder, the repository or home (``~``).
    """
    if name in _registered("models"):
        return str(_registered("models")[name].load())
    folders = (Path(name).expanduser().resolve(), resolve(name))
    return next((str(folder) for folder in folders if folder.is_dir()), str(Path(name).expanduser()))


def check_checkpoint(name: str, parameter: str) -> None:
    """Raise ParameterError, naming the parameter, if the model is a folder by its name, but holds no checkpoint."""
    path = Path(checkpoint_path(name))
    if not path.is_dir():
        if name.startswith((".", "~", "/")) or name.count("/") > 1:
            raise ParameterError(f"{parameter} = '{name}': there is no folder {path}")
    elif not any((path / file).is_file() for file in ("config.json", "adapter_config.json")):
        if (path / "model" / "config.json").is_file():
            raise ParameterError(f"{parameter} = '{name}': this is a stage's folder; its model is '{name}/model'")
        raise ParameterError(f"{parameter} = '{name}': no checkpoint, the folder {path} has no config.json")


def check_generator(role: Role, p: Params) -> None:
    """Raise ParameterError, naming the parameter, for what cannot be loaded; it loads nothing itself."""
    name, endpoints = getattr(p, role), getattr(p, f"{role}_endpoints")
    for url in endpoints:
        if not url.startswith(("http://", "https://")):
            raise ParameterError(f"{role}_endpoints: '{url}' is not a URL such as http://localhost:8000/v1")
    if name not in _registered("teachers"):
        if not endpoints:
            check_checkpoint(name, role)
    elif role == "model":
        raise ParameterError(f"model = '{name}': this is a teacher, not a model; name a checkpoint, such as 'mini'")
    elif endpoints:
        raise ParameterError(f"teacher = '{name}': this teacher needs no endpoint; name the model at teacher_endpoints")
    elif p.teacher_style != "chat":
        raise ParameterError(f"teacher_style = '{p.teacher_style}': the teacher '{name}' reads only 'chat'")


def load_generator(role: Role, p: Params, log_path: Path | str | None = None) -> Generator:
    """The model or the teacher that the parameters name; raises ParameterError if it cannot be loaded.

    ``log_path`` is the JSON-lines file in which an endpoint's requests and their tokens are logged.
    """
    check_generator(role, p)
    name, endpoints = getattr(p, role), getattr(p, f"{role}_endpoints")
    if endpoints:
        from ledexlib.models.endpoint import EndpointGenerator

        return EndpointGenerator(name, endpoints, p.requests_in_flight, p.request_timeout, log_path=log_path)
    if name in _registered("teachers"):
        return _registered("teachers")[name].load()(p.seed)
    from ledexlib.models.local.generator import TransformersGenerator

    path = checkpoint_path(name)
    try:
        return TransformersGenerator(path, name=name)
    except (OSError, ValueError) as error:
        said = f"no checkpoint could be loaded from {path}, and no {role}_endpoints serve it"
        raise ParameterError(f"{role} = '{name}': {said}: {' '.join(str(error).split())}") from error
