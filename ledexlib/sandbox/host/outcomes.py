"""How one process of a program ended, as its worker reports it."""

from __future__ import annotations

import signal
from dataclasses import dataclass

from ..wire.protocol import TOO_LARGE, UNTRANSPORTABLE


@dataclass(frozen=True)
class Outcome:
    """How a process ended; the report has ``output`` bytes of its output, then ``report`` bytes of its frames."""

    timed_out: bool
    cpu: float  # seconds
    seconds: float  # wall time
    exit: int  # negative: the signal that killed it
    report: int
    output: int
    dropped: int  # bytes beyond the limits
    fault: str  # why the conversation with the program was ended, if it was: see ``wire.protocol``
    exact: bool = True  # whether its own time could be measured
    setup_failed: bool = False  # in the worker itself, too

    @property
    def untransportable(self) -> bool:
        """Whether a test passes what cannot be sent to another process."""
        return self.fault == UNTRANSPORTABLE

    @property
    def late(self) -> bool:
        """Whether it ran out of time; the limit on processor time has a signal of its own."""
        return self.timed_out or self.exit == -signal.SIGXCPU

    @property
    def ending(self) -> str:
        """How it ended, for a process that should have continued."""
        if self.fault:
            return self.fault
        if self.dropped:
            return TOO_LARGE
        if self.exit < 0:
            return f"the process was killed by {_signal_name(-self.exit)}"
        return f"the process exited with status {self.exit}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
