"""Resource limits (setrlimit)."""

from __future__ import annotations

import contextlib
import resource


def limit_within(name: str, most: int) -> tuple[int, int]:
    """A resource limit's number, and ``most`` or the hard limit, whichever is lower."""
    kind = getattr(resource, name)
    hard = resource.getrlimit(kind)[1]
    return kind, most if hard == resource.RLIM_INFINITY else min(most, hard)


def set_limit(name: str, most: int, soft: bool = False) -> None:
    """Lower a resource limit, where the system has it and permits that; only its ``soft`` part can be raised again."""
    if hasattr(resource, name):
        kind, most = limit_within(name, most)
        with contextlib.suppress(ValueError, OSError):  # macOS refuses some
            resource.setrlimit(kind, (most, resource.getrlimit(kind)[1] if soft else most))
