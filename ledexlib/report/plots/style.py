"""The look of all figures: their style, and colours that everyone tells apart, also in grey (Okabe and Ito)."""

from __future__ import annotations

import seaborn as sns

CORRECT, WRONG, NEUTRAL = "#009E73", "#D55E00", "#0072B2"
VERDICTS = {"correct": CORRECT, "wrong": WRONG}


def style() -> None:
    """Set the look of all figures; the first line of every notebook that draws."""
    sns.set_theme(context="notebook", style="whitegrid", rc={"figure.dpi": 100, "axes.titleweight": "bold"})
