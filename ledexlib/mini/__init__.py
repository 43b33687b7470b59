"""The mini world: generated problems, a small backbone and a simulated teacher, for a laptop without a hub."""

from pathlib import Path

from ledexlib.mini.problems import BENCHMARKS, load_mini

BACKBONE = Path(__file__).resolve().parent / "backbone"

__all__ = ["BACKBONE", "BENCHMARKS", "load_mini"]
