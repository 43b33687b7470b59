"""Running untrusted programs against tests: ``run(jobs)`` yields verdicts as they finish.

The parts, from the caller down: ``jobs`` (what is asked), ``suite`` and ``instrument`` (a problem's tests, prepared
once), ``pool`` and ``handle`` (workers and their queue), ``judge``, ``compare``, ``reports`` (what is made of a
report). A worker (``start``) is two processes: ``worker`` is trusted and runs the tests (``tester``, ``recorder``)
against proxies (``remote``, ``channels``); ``parent`` is warm and ignorant and forks a process for each program
(``candidate``, ``servant``, ``operations``), apart from the rest of the machine (``isolation``, ``linux``,
``landlock``, ``seccomp``). Between them goes plain data (``frames``, ``plain``, ``graph``). ``show`` makes values text;
``streams``, ``tail`` and ``system`` are tools.
"""

from ledexlib.sandbox.handle import layers_here
from ledexlib.sandbox.jobs import LAYERS, Job, Limits
from ledexlib.sandbox.pool import run, run_one

__all__ = ["LAYERS", "Job", "Limits", "layers_here", "run", "run_one"]
