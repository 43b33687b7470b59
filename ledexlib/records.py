"""The records that travel through the pipeline, and how they are named.

A trajectory is a problem's wrong solution with the refinements a teacher wrote for it, each with its verdict. Records
are written once, named by their content, and never edited: a later stage adds a file. On disk they are JSON lines.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Literal, Union

from pydantic import BaseModel, ConfigDict, Field

Status = Literal["passed", "failed", "error", "timeout", "infra"]
Mode = Literal["proxy", "in_process"]


class Record(BaseModel):
    """An immutable record; an unknown field is an error, because it is a typo or a file of another version."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Assertion(Record):
    """A statement run in the program's namespace, such as ``assert add(1, 2) == 3``.

    ``statement`` may be several lines; every ``assert`` in it counts as one test.
    """

    kind: Literal["assertion"] = "assertion"
    statement: str


class Check(Record):
    """Source of a function ``check(candidate)``, called with the problem's entry point; every ``assert`` is a test.

    This is HumanEval's form. ``candidate`` is the value of the expression ``Problem.entry_point``.
    """

    kind: Literal["check"] = "check"
    source: str


class Call(Record):
    """A call of the entry point whose result is compared with an expected value.

    ``arguments`` and ``expected`` are Python literals (``inf`` and ``nan`` allowed); ``arguments`` is a tuple.
    ``expected`` None means: what the problem's reference returns. ``comparison`` is ``equal``; ``set`` (order and
    repetition do not matter); ``same_none`` (only whether the result is None matters; a bool stands for the answer to
    that question), as EvalPlus needs; or ``json`` (a tuple equals the list with its items), as APPS needs.
    ``tolerance`` is absolute, for floats and containers of floats, beside a relative one of 1e-7 (EvalPlus's rule);
    0 asks for equality.
    """

    kind: Literal["call"] = "call"
    arguments: str
    expected: str | None = None
    tolerance: float = 0.0
    comparison: Literal["equal", "set", "same_none", "json"] = "equal"


class InputOutput(Record):
    """A whole program's standard input and the standard output expected of it (compared token by token)."""

    kind: Literal["io"] = "io"
    stdin: str
    stdout: str


Test = Annotated[Union[Assertion, Check, Call, InputOutput], Field(discriminator="kind")]


class Problem(Record):
    """A programming task.

    ``prompt`` is what a model is asked. ``stub`` is the code that a completion continues (HumanEval: the signature and
    docstring; otherwise empty), so that a program is ``stub + completion``. ``entry_point`` is a Python expression for
    the function under test, or None for a program that reads stdin. ``setup`` is code run before the program.
    """

    task_id: str
    prompt: str
    entry_point: str | None
    tests: tuple[Test, ...]
    reference: str
    benchmark: str
    split: str
    setup: str = ""
    stub: str = ""


class Verdict(Record):
    """What running a program against its tests said.

    ``infra`` is the harness's own trouble and is never scored. ``feedback`` is what a model is shown: the first failing
    test with the value that came out, or the error with its line; empty for a passed program. ``mode`` says where the
    tests ran: outside the program's process (``proxy``), or within it, where a program written to deceive could forge
    them (``in_process``, and of verdicts from before this was recorded).
    """

    status: Status
    n_passed: int
    n_tests: int
    feedback: str
    seconds: float
    mode: Mode = "in_process"

    @property
    def passed(self) -> bool:
        return self.status == "passed"


class Sampling(Record):
    """How a completion was drawn; ``index`` counts the samples of one prompt from 0."""

    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 512
    seed: int = 0
    index: int = 0


class Solution(Record):
    """A model's first program for a task."""

    id: str
    task_id: str
    code: str
    completion: str
    model: str
    sampling: Sampling
    verdict: Verdict | None = None


class Refinement(Record):
    """A teacher's answer to a wrong solution: an explanation (or none) and a repaired program, from one completion."""

    id: str
    solution_id: str
    task_id: str
    explanation: str | None
    code: str
    completion: str
    teacher: str
    sampling: Sampling
    verdict: Verdict | None = None


class Judged(Record):
    """The verdict on the solution or refinement of this id, kept beside it."""

    id: str
    verdict: Verdict


class Trajectory(Record):
    """A solution with its verdict and the verified refinements made for it (none for a correct solution)."""

    id: str  # the solution's
    solution: Solution
    refinements: tuple[Refinement, ...] = ()

    @property
    def correct(self) -> tuple[Refinement, ...]:
        """R_c, the refinements that pass every test; their explanations are E_c (paper section 3)."""
        return tuple(r for r in self.refinements if r.verdict is not None and r.verdict.passed)


class Repair(Record):
    """A model's answer when it was asked to repair its own program.

    ``edited`` counts the lines it changed, ``needed`` those of them without which the repair does not pass (None where
    that was not examined).
    """

    explanation: str | None
    code: str
    verdict: Verdict
    tokens: int
    finished: bool
    edited: int
    needed: int | None = None


class Attempt(Record):
    """A model's program for a task of a benchmark, and its repairs: ``refine`` (direct), ``explain`` (explained).

    ``fails`` says whether the tests that the model may see fail, ``feedback`` what it was told. In the refined scores
    the repairs take the place of the programs that fail; a program that does not fail may have repairs too, made to see
    whether they break it.
    """

    id: str
    task_id: str
    index: int
    code: str
    verdict: Verdict
    fails: bool
    feedback: str
    tokens: int
    finished: bool
    repairs: dict[str, Repair] = {}


def content_id(*parts: object) -> str:
    """A name for a record: 16 hexadecimal digits of the SHA-256 of its parts' JSON."""
    text = json.dumps([p.model_dump() if isinstance(p, BaseModel) else p for p in parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
