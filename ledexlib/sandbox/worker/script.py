"""Scripts: what tests request of a program whatever it answers.

The tests run without any program, and every answer is an ``Unknown``. What they have requested when they pass an
answer on, or use one in any way but to compare it, follows from their own constants: it can be sent to any program
before it has answered anything.
"""

from __future__ import annotations

from typing import Any

from ..wire.testcode import AssertionRecorder
from .channels import ChannelClosed, ScriptChannel
from .client import ProgramClient, Unknown, Untransportable


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
