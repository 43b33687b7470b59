"""Who answers: one interface over a model in this process, OpenAI-compatible endpoints and the simulated teacher."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from ledexlib.params.layers import ParameterError
from ledexlib.models.prompts import DONE, Prompt
from ledexlib.records import Sampling
from ledexlib.params.vocabulary import Params

STOP = (DONE,)  # what ends a completion of a text prompt
SIMULATED_TEACHER = "mini-teacher"


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


def check_generator(role: Literal["model", "teacher"], p: Params) -> None:
    """Raise ParameterError, naming the parameter, if the parameters of this role contradict each other."""
    name, backend, endpoints = getattr(p, role), getattr(p, f"{role}_backend"), getattr(p, f"{role}_endpoints")
    given = f"{role} = '{name}' with {role}_backend = '{backend}'"
    if backend == "simulated" and role == "model":
        raise ParameterError(f"{given}: only the teacher can be simulated; use 'transformers' or 'endpoint'")
    if backend == "simulated" and name != SIMULATED_TEACHER:
        raise ParameterError(
            f"{given}: the simulated teacher is '{SIMULATED_TEACHER}'; "
            f"to run '{name}', set teacher_backend to 'transformers' or 'endpoint'"
        )
    if backend == "simulated" and p.teacher_style != "chat":
        raise ParameterError(f"teacher_style = '{p.teacher_style}': the simulated teacher reads only 'chat'")
    if backend != "simulated" and name == SIMULATED_TEACHER:
        right = "set teacher_backend to 'simulated'" if role == "teacher" else "name a checkpoint or 'mini'"
        raise ParameterError(f"{given}: '{name}' is the simulated teacher, not a model; {right}")
    if backend == "endpoint" and not endpoints:
        raise ParameterError(f"{given}: {role}_endpoints must list at least one base URL")
    if backend != "endpoint" and endpoints:
        raise ParameterError(f"{given}: {role}_endpoints is only for the backend 'endpoint'; set that, or list none")
    for url in endpoints:
        if not url.startswith(("http://", "https://")):
            raise ParameterError(f"{role}_endpoints: '{url}' is not a URL such as http://localhost:8000/v1")


def load_generator(role: Literal["model", "teacher"], p: Params, log_path: Path | str | None = None) -> Generator:
    """The model or the teacher that the parameters name; raises ParameterError if they cannot be used.

    ``log_path`` is the JSON-lines file in which an endpoint's requests, tokens and costs are logged.
    """
    check_generator(role, p)
    name, backend = getattr(p, role), getattr(p, f"{role}_backend")
    if backend == "simulated":
        from ledexlib.mini.teacher import SimulatedTeacher

        return SimulatedTeacher(p.seed)
    if backend == "endpoint":
        from ledexlib.models.endpoint import EndpointGenerator

        return EndpointGenerator(
            name, getattr(p, f"{role}_endpoints"), requests_in_flight=p.requests_in_flight, timeout=p.request_timeout,
            attempts=p.request_attempts, prices=(p.cost_per_million_input, p.cost_per_million_output),
            log_path=log_path,
        )  # fmt: skip
    from ledexlib.models.local.generator import TransformersGenerator

    path: str | Path = name
    if name == "mini":
        from ledexlib.mini import BACKBONE

        path = BACKBONE
    try:
        return TransformersGenerator(path, name=name)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ParameterError(f"{role} = '{name}': no checkpoint could be loaded from {path}: {reason}") from error
