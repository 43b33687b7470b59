"""An answer's tokens, coloured by what each was rewarded with, expected to bring, and is learned from."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import PathPatch
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D

from ledexlib.report.plots.style import CORRECT, WIDTH, panels

POSITIVE, NEGATIVE = (0, 114, 178), (213, 94, 0)  # Okabe and Ito's blue and vermilion
CHARACTERS, LINE = 72, 0.2  # in a line; inches from one line to the next
MONO = FontProperties(family="DejaVu Sans Mono")
SIZE = 1 / 0.602  # of its letters, each of which is then one wide
LOWER = WIDTH / CHARACTERS / LINE  # the height of a line in the same unit


def token_credit(trace: Any, title: str = "") -> Figure:
    """One answer, three times: reward with KL penalty, value V and advantage A, from orange over white (0) to blue.

    ``trace`` is a ``TokenTrace`` of a training by reinforcement. Explanation and refinement have lines of their own
    colour below them. Each scale is symmetric around 0 and reaches to its largest number.
    """
    worth = {"R(e)": trace.explanation_reward, "R(r)": trace.code_reward}
    said = [f"{name} = {value:+.2f}" for name, value in worth.items() if value is not None] or ["no reward"]
    asked = "explain + refine" if trace.explain else "refine"
    head = " · ".join(filter(None, [title, trace.task_id, asked, trace.status, *said]))
    rows = list(_rows(trace.tokens))
    head = textwrap.fill(f"{head}; underlined: explanation green, refinement grey", 68)
    fig, axes = panels(3, 0.35 + LINE * len(rows), head, columns=1)
    shown = {"reward, KL penalty included": trace.rewards, "value V": trace.values, "advantage A": trace.advantages}
    for ax, (name, values) in zip(axes, shown.items(), strict=True):
        ax.set(xlim=(0, CHARACTERS), ylim=(len(rows), 0))
        ax.set_axis_off()
        limit = max((abs(value) for value in values), default=0.0)
        scale = f"orange −{limit:.2g}, white 0, blue +{limit:.2g}" if limit else "all 0"
        ax.set_title(f"{name}: {scale}", loc="left", fontsize="medium", pad=3)
        _draw(ax, rows, [colour(value, limit) for value in values], trace.explanation_tokens)
    return fig


def _rows(tokens: Sequence[str]) -> Iterator[list[tuple[int, str]]]:
    """The lines of an answer: the number of each token in it and its text, in pieces where a line ends."""
    row: list[tuple[int, str]] = []
    for number, token in enumerate(tokens):
        for piece in token.replace("\n", "⏎\n").splitlines(keepends=True):
            text = "".join(c if c.isprintable() else "·" for c in piece.rstrip("\n"))
            if row and sum(len(part) for _, part in row) + len(text) > CHARACTERS:
                yield row
                row = []
            row.append((number, text))
            if piece.endswith("\n"):
                yield row
                row = []
    if row:
        yield row


def _draw(ax: Axes, rows: Sequence[list[tuple[int, str]]], colours: Sequence[str], explained: int) -> None:
    for y, row in enumerate(rows):
        ends = np.cumsum([0, *(len(text) for _, text in row)])
        spans = [(start, end - start) for start, end in pairwise(ends)]
        ax.broken_barh(spans, (y, 0.88), facecolors=[colours[number] for number, _ in row], linewidth=0)
        under = [CORRECT if number < explained else "0.35" for number, _ in row]
        ax.broken_barh(spans, (y + 0.9, 0.07), facecolors=under, linewidth=0)
        text = TextPath((0, 0), "".join(text for _, text in row).replace("$", r"\$"), SIZE, MONO)  # exact to the letter
        upright = Affine2D().scale(1, -LOWER).translate(0, y + 0.68)
        ax.add_patch(PathPatch(upright.transform_path(text), facecolor="black", linewidth=0))


def colour(value: float, limit: float) -> str:
    """White at 0, full at ±limit; the square root makes small numbers visible."""
    share = (min(abs(value) / limit, 1.0) if limit else 0.0) ** 0.5 * 0.75
    tint = POSITIVE if value > 0 else NEGATIVE
    red, green, blue = (round(255 - (255 - part) * share) for part in tint)
    return f"#{red:02x}{green:02x}{blue:02x}"
