"""The log of requests to endpoints: a JSON line for each, and what they came to."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Request:
    """One request with all its tries; ``error`` is None if it was answered. Cost is in the currency of the prices."""

    endpoint: str
    model: str
    tokens_in: int
    tokens_out: int
    cost: float
    choices: int
    tries: int
    seconds: float
    error: str | None


@dataclass
class Totals:
    """What the requests of a log came to; ``seconds`` is the sum over requests, of which several ran at once."""

    requests: int = 0
    failed: int = 0
    tries: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0
    seconds: float = 0.0

    def add(self, request: Request) -> None:
        self.requests += 1
        self.failed += request.error is not None
        for name in ("tries", "tokens_in", "tokens_out", "cost", "seconds"):
            setattr(self, name, getattr(self, name) + getattr(request, name))


@dataclass
class RequestLog:
    """Requests appended to a file (to none if ``path`` is None), and the totals of all that it holds.

    Lines of earlier runs count too; a line that a killed process left half written does not.
    """

    path: Path | None = None
    totals: Totals = field(default_factory=Totals)

    def __post_init__(self) -> None:
        if self.path is not None and self.path.exists():
            for line in self.path.read_bytes().splitlines(keepends=True):
                if line.startswith(b"{") and line.endswith(b"}\n"):
                    self.totals.add(Request(**json.loads(line)))

    def append(self, request: Request) -> None:
        self.totals.add(request)
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b") as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # end the half-written line, so that this one is whole
                    file.write(b"\n")
            file.write(json.dumps(asdict(request)).encode() + b"\n")
