"""The mini world: generated problems, a small model and a simulated teacher, for a laptop without a hub.

Its benchmarks, its model and its teacher are registered by entry points; no other room imports it.
"""

from ledexlib.mini.paths import BACKBONE
from ledexlib.mini.teacher import SimulatedTeacher

__all__ = ["BACKBONE", "SimulatedTeacher"]
