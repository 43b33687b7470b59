"""An answer's tokens, coloured by what each was rewarded with, expected to bring, and is learned from."""

import textwrap
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.font_manager import FontProperties
from matplotlib.patches import PathPatch
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D

from ledexlib.report.plots.style import CORRECT, NEUTRAL, WIDTH, WRONG, Chart, panels

CREDIT = LinearSegmentedColormap.from_list("credit", [WRONG, "white", NEUTRAL], N=257)
CHARACTERS, LINE = 72, 0.2  # in a line; inches from one line to the next
MONO = FontProperties(family="DejaVu Sans Mono")
SIZE = 1 / 0.602  # of its letters, each of which is then one wide
LOWER = WIDTH / CHARACTERS / LINE  # the height of a line in the same unit
Rows = list[list[tuple[int, str]]]  # the lines of an answer: the number of each token in it, and its text


def token_credit(trace: Any, title: str) -> Chart:
    """One answer, three times: reward with KL penalty, value V and advantage A, from orange over white (0) to blue.

    ``trace`` is a ``TokenTrace`` of a training by reinforcement. Explanation and refinement have lines of their own
    colour below them. Each scale is symmetric around 0 and reaches to its largest number."""
    worth = {"R(e)": trace.explanation_reward, "R(r)": trace.code_reward}
    said = [f"{name} = {value:+.2f}" for name, value in worth.items() if value is not None] or ["no reward"]
    head = " · ".join([title, trace.task_id, "explain + refine" if trace.explain else "refine", trace.status, *said])
    rows = _rows(trace.tokens)
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


def _rows(tokens: Sequence[str]) -> Rows:
    """The tokens in lines, in pieces where a line ends."""
    rows: Rows = [[]]
    for number, token in enumerate(tokens):
        for piece in token.replace("\n", "⏎\n").splitlines(keepends=True):
            text = "".join(c if c.isprintable() else "·" for c in piece.rstrip("\n"))
            if sum(len(part) for _, part in rows[-1]) + len(text) > CHARACTERS:
                rows.append([])
            rows[-1].append((number, text))
            if piece.endswith("\n"):
                rows.append([])
    return [row for row in rows if row]


def _draw(ax: Axes, rows: Rows, colours: Sequence[str], explained: int) -> None:
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
    strength = (abs(value) / limit) ** 0.5 if limit else 0.0
    return to_hex(CREDIT(0.5 + 0.375 * np.copysign(strength, value)))
