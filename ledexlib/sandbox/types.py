"""The kinds of tests that a program is run against, and the verdict on it."""

from __future__ import annotations

from typing import Annotated, Literal, Union

from pydantic import BaseModel, ConfigDict, Field

Status = Literal["passed", "failed", "error", "timeout", "infra"]
Mode = Literal["proxy", "in_process"]
Isolation = Literal["auto", "proxy", "in_process"]


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

    This is HumanEval's form. ``candidate`` is the value of the expression ``Job.entry_point``.
    """

    kind: Literal["check"] = "check"
    source: str


class Call(Record):
    """A call of the entry point whose result is compared with an expected value.

    ``arguments`` and ``expected`` are Python literals (``inf`` and ``nan`` allowed); ``arguments`` is a tuple. With
    ``expected`` None, the result of the job's reference is expected. ``comparison`` is one of:

    - ``equal``: Python's equality, but nan equals nan;
    - ``set``: order and repetition do not matter;
    - ``same_none``: only whether the result is None matters (a bool stands for the answer), as EvalPlus needs;
    - ``json``: a tuple equals the list with its items, as APPS needs.

    ``tolerance`` is absolute, for floats and containers of floats, and comes with a relative one of 1e-7 (EvalPlus's
    rule); 0 asks for equality.
    """

    kind: Literal["call"] = "call"
    arguments: str
    expected: str | None = None
    tolerance: float = 0.0
    comparison: Literal["equal", "set", "same_none", "json"] = "equal"


class InputOutput(Record):
    """Standard input for a whole program, and the standard output expected of it, compared token by token.

    ``comparison`` is one of:

    - ``tokens``: the same text, but a number expected with a decimal point may differ by 1e-6;
    - ``numbers``: numbers by value, all else as text, as APPS's own checker does;
    - ``numbers_any_case``: the same without regard to case, as CodeContests's does.
    """

    kind: Literal["io"] = "io"
    stdin: str
    stdout: str
    comparison: Literal["tokens", "numbers", "numbers_any_case"] = "tokens"


Test = Annotated[Union[Assertion, Check, Call, InputOutput], Field(discriminator="kind")]


class Verdict(Record):
    """The result of running a program against its tests.

    ``status`` is ``infra`` when the harness or the problem is at fault: never score it. ``feedback`` is for a model:
    the first failing test with the actual value, or the error with its line; empty if the program passed. ``seconds``
    is wall time. ``mode`` tells where the tests ran: outside the program's process (``proxy``), or inside it, where a
    program written to deceive can forge them (``in_process``; also of verdicts recorded without a mode).
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
