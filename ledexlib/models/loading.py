"""The model and the teacher that the parameters name.

What runs them is implied: endpoints that are given; a registered teacher; else transformers in this process."""

from pathlib import Path
from typing import Literal

from ledexlib.models.interface import Generator, check_checkpoint, checkpoint_path, registered
from ledexlib.params import ParameterError, Params

Role = Literal["model", "teacher"]


def check_generator(role: Role, p: Params) -> None:
    """Raise ParameterError, naming the parameter, for what cannot be loaded; it loads nothing itself."""
    name, endpoints = getattr(p, role), getattr(p, f"{role}_endpoints")
    for url in endpoints:
        if not url.startswith(("http://", "https://")):
            raise ParameterError(f"{role}_endpoints: '{url}' is not a URL such as http://localhost:8000/v1")
    if name not in registered("teachers"):
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

    ``log_path`` is the JSON-lines file in which an endpoint's requests and their tokens are logged."""
    check_generator(role, p)
    name, endpoints = getattr(p, role), getattr(p, f"{role}_endpoints")
    if endpoints:
        from ledexlib.models.endpoint import EndpointGenerator

        return EndpointGenerator(name, endpoints, p.requests_in_flight, p.request_timeout, log_path=log_path)
    if name in registered("teachers"):
        return registered("teachers")[name].load()(p.seed)
    from ledexlib.models.local import TransformersGenerator

    path = checkpoint_path(name)
    try:
        return TransformersGenerator(path, name=name)
    except (OSError, ValueError) as error:
        said = f"no checkpoint could be loaded from {path}, and no {role}_endpoints serve it"
        raise ParameterError(f"{role} = '{name}': {said}: {' '.join(str(error).split())}") from error
