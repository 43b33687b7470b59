"""What the name of a model or teacher stands for: something registered, a checkpoint folder, or a name on the hub.

A package registers models by entry points of the group ``ledexlib.models`` (name: checkpoint folder) and teachers by
those of ``ledexlib.teachers`` (name: what makes a ``Generator`` from a seed).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from ledexlib.params import ParameterError, resolve

if TYPE_CHECKING:
    from ledexlib.models.interface import Generator


@cache
def _registered(kind: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=f"ledexlib.{kind}")}


def find_teacher(name: str) -> Callable[[int], Generator] | None:
    """What makes the registered teacher of this name from a seed; None if there is none."""
    return _registered("teachers")[name].load() if name in _registered("teachers") else None


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
    if path.is_dir():
        if (path / "config.json").is_file() or (path / "adapter_config.json").is_file():
            return
        if (path / "model" / "config.json").is_file():
            raise ParameterError(f"{parameter} = '{name}': this is a stage's folder; its model is '{name}/model'")
        raise ParameterError(f"{parameter} = '{name}': no checkpoint, the folder {path} has no config.json")
    if name.startswith((".", "~", "/")) or name.count("/") > 1:
        raise ParameterError(f"{parameter} = '{name}': there is no folder {path}")
