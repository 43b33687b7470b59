"""Running untrusted programs against tests: ``run(jobs)`` yields verdicts as they finish.

The parts, from the caller down: ``jobs`` (what is asked), ``suite`` and ``instrument`` (a problem's tests, prepared
once), ``pool`` and ``handle`` (workers and their queue), ``worker`` with ``system`` and ``streams`` (a warm process
that forks a child for each program), ``candidate`` (what the child does), ``frames`` and ``plain`` (what it may say),
``judge`` and ``compare`` (what is made of it), ``show`` (values as text).

Protects against: programs that never end, that fill memory, disk or output, that exit, crash or kill their process,
that leave processes or files behind, that print what a pass would look like, that return objects with forged equality
from calls. Does not yet protect against: a program that searches its own process for the tests' expected values
(assertions run there), that reads the user's files, uses the network, or signals the user's other processes.
"""

from ledexlib.sandbox.jobs import Job, Limits
from ledexlib.sandbox.pool import run, run_one

__all__ = ["Job", "Limits", "run", "run_one"]
