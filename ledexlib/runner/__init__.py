"""The runner: notebooks in order, each in its own kernel; what would be done, and what can be checked before."""

from ledexlib.runner.checks import check_stages
from ledexlib.runner.run import plan, run
