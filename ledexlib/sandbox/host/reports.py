"""Reports as the host has them: bytes, or a file that is read piece by piece, for values may take hundreds of MB."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

PIECE = 1 << 20  # bytes compared at once


@dataclass
class ReportFile:
    """An unnamed file, sliced like bytes; closed when it is garbage collected."""

    descriptor: int
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = os.fstat(self.descriptor).st_size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, place: slice) -> bytes:
        start, stop, _ = place.indices(self.size)
        return os.pread(self.descriptor, stop - start, start)

    def __del__(self) -> None:
        os.close(self.descriptor)


Report = bytes | ReportFile


def equal(one: Report, other: Report) -> bool:
    """Whether two reports are the same, byte for byte."""
    places = range(0, len(one), PIECE)
    return len(one) == len(other) and all(one[p : p + PIECE] == other[p : p + PIECE] for p in places)
