"""Run untrusted programs against tests: ``run(jobs)`` yields verdicts as they finish.

This room imports nothing of the rest of the package. README.md has the threat model, the promises and their tests,
and the map of the processes.
"""

from .host.jobs import LAYERS, Job, Limits
from .host.pool import run, run_one
from .host.preparation import unusable
from .host.worker_process import layers_here
from .types import Assertion, Call, Check, InputOutput, Isolation, Mode, Record, Status, Test, Verdict
from .wire.text import clean

__all__ = [
    "LAYERS", "Assertion", "Call", "Check", "InputOutput", "Isolation", "Job", "Limits", "Mode", "Record", "Status",
    "Test", "Verdict", "clean", "layers_here", "run", "run_one", "unusable",
]  # fmt: skip
