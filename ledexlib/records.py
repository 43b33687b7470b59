"""The records that travel through the pipeline, and how they are named.

A trajectory is a solution of a problem with the refinements made for it, each program with its verdict. Records
are written once, named by their content, and never edited: a later stage adds a file. On disk they are JSON lines."""

import hashlib
import json
from typing import Literal

from pydantic import BaseModel

from ledexlib.sandbox import Assertion, Call, Check, InputOutput, Isolation, Mode, Record, Status, Test, Verdict

__all__ = [
    "Assertion", "Call", "Check", "InputOutput", "Mode", "Problem", "Record", "Refinement", "Sampling", "Solution",
    "Status", "Test", "Trajectory", "Verdict", "Way", "content_id"]

Way = Literal["refine", "explain"]  # how a repair is asked for: directly, or explain + refine


class Problem(Record):
    """A programming task.

    ``prompt`` is what a model is asked. ``stub`` is the code that a completion continues (HumanEval: the signature and
    docstring; otherwise empty), so that a program is ``stub + completion``. ``entry_point`` is a Python expression for
    the function under test, or None for a program that reads stdin. ``setup`` is code run before the program, and
    ``isolation`` where the tests run (``sandbox.Job``)."""
    task_id: str
    prompt: str
    entry_point: str | None
    tests: tuple[Test, ...]
    reference: str
    benchmark: str
    split: str
    setup: str = ""
    stub: str = ""
    isolation: Isolation = "auto"


class Sampling(Record):
    """How a completion was drawn; ``index`` counts the samples of one prompt from 0."""
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 512
    seed: int = 0
    index: int = 0


class Solution(Record):
    """A model's first program for a task.

    ``feedback`` is what a model is told that is asked to repair it, None if that is its verdict's. ``fails`` says
    whether the tests that a model may see fail, where these are not the verdict's (None: they are)."""
    id: str
    task_id: str
    code: str
    completion: str
    model: str
    sampling: Sampling
    verdict: Verdict | None = None
    feedback: str | None = None
    tokens: int = 0  # tokens sampled
    finished: bool = True  # the completion ended by itself, not by its length
    fails: bool | None = None

    @property
    def needs_repair(self) -> bool:
        """Whether the tests that a model may see ran and failed; a verdict ``infra`` says nothing about a program."""
        return self.verdict.status not in ("passed", "infra") if self.fails is None else self.fails

    @property
    def told(self) -> str:
        """The feedback that a model is given on it."""
        return self.verdict.feedback if self.feedback is None else self.feedback


class Refinement(Record):
    """A repair of a solution: an explanation (or none) and a program, from one completion.

    ``way`` says how it was asked for: ``refine`` (the program alone) or ``explain`` (an explanation first). ``edited``
    counts the lines it changes, ``needed`` those of them without which it does not pass (None: not examined)."""
    id: str
    solution_id: str
    task_id: str
    explanation: str | None
    code: str
    completion: str
    teacher: str  # whoever wrote it; in evaluation the model itself
    sampling: Sampling
    verdict: Verdict | None = None
    way: Way = "explain"
    tokens: int = 0
    finished: bool = True
    edited: int | None = None
    needed: int | None = None


class Trajectory(Record):
    """A solution with its verdict and the verified refinements made for it (none if it was not sent to repair)."""
    id: str  # the solution's
    solution: Solution
    refinements: tuple[Refinement, ...] = ()

    @property
    def correct(self) -> tuple[Refinement, ...]:
        """R_c, the refinements that pass every test; their explanations are E_c (paper section 3)."""
        return tuple(r for r in self.refinements if r.verdict is not None and r.verdict.passed)

    def repair(self, way: Way) -> Refinement | None:
        """The first refinement that was asked for in this way."""
        return next((r for r in self.refinements if r.way == way), None)


def content_id(*parts: object) -> str:
    """A name for a record: 16 hexadecimal digits of the SHA-256 of its parts' JSON."""
    text = json.dumps([p.model_dump() if isinstance(p, BaseModel) else p for p in parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
