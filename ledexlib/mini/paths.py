"""Where the packaged model is."""

from pathlib import Path

BACKBONE = Path(__file__).resolve().parent / "backbone"
