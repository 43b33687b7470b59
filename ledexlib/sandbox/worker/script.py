"""Scripts: what tests request of a program whatever it answers.

The tests run without any program, and every answer is an ``Unknown``. What they have requested when they pass an
answer on, or use one in any way but to compare it, follows from their own constants: it can be sent to any program
before it has answered anything.
"""

from __future__ import annotations

from typing import Any, NoReturn

from ..wire.testcode import AssertionRecorder
from .channels import ChannelClosed, ScriptChannel
from .client import ProgramClient, Untransportable


class Unknown:
    """An answer that no program has given: comparisons with it hold, sums are it too, and no program can be passed it."""

    def __init__(self, client: ProgramClient) -> None:
        self.__client = client

    def __eq__(self, other: object) -> bool:
        return True

    __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __eq__
    __hash__ = object.__hash__

    def __add__(self, *_: object) -> Unknown:
        return self

    __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __add__
    __neg__ = __abs__ = __round__ = __add__

    def __reduce_ex__(self, _: object) -> NoReturn:
        self.__client.close()


class ScriptClient(ProgramClient):
    """Notes what is requested; ``untransportable`` tells what the tests pass that cannot be sent, if they do."""

    def __init__(self) -> None:
        super().__init__(ScriptChannel())
        self.untransportable = ""

    def request(self, operation: str, handle: int, *arguments: object, **options: object) -> Any:
        if self.channel.closed:
            raise ChannelClosed
        try:
            self.channel.send(self.message(operation, handle, arguments, options))
        except Untransportable as error:
            self.untransportable = self.untransportable or str(error)
            raise
        return Unknown(self)


class LenientRecorder(AssertionRecorder):
    """Lets every assert hold, so that the tests go on."""

    def open(self, index: int) -> bool:
        return True

    def raised(self, index: int) -> None:
        return None

    def compare(self, index: int, *_: object) -> None:
        return None

    truth = compare

    def close(self, index: int, *_: object, **__: object) -> None:
        return None
