"""The generator interface, and the names of models and teachers.

A package registers models by entry points of the group ``ledexlib.models`` (name: checkpoint folder) and teachers by
those of ``ledexlib.teachers`` (name: what makes a ``Generator`` from a seed)."""

from collections.abc import Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import NamedTuple, Protocol

from ledexlib.models.answers import DONE
from ledexlib.models.prompts import Prompt
from ledexlib.params import ParameterError, resolve
from ledexlib.records import Sampling

STOP = (DONE,)  # what ends a completion of a text prompt


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
def registered(kind: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=f"ledexlib.{kind}")}


def checkpoint_path(name: str) -> str:
    """What transformers loads for a model's name: a folder where there is one, else the name, for the hub.

    A folder is registered under the name or named from the working folder, the repository or home (``~``)."""
    if name in registered("models"):
        return str(registered("models")[name].load())
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
