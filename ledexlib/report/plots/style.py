"""The look of all figures: their size, their style, colours that everyone tells apart, also in grey (Okabe and Ito)."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

CORRECT, WRONG, NEUTRAL = "#009E73", "#D55E00", "#0072B2"
VERDICTS = {"correct": CORRECT, "wrong": WRONG}
EXAMPLES = {"generation": NEUTRAL, "refine": "#E69F00", "explain_refine": CORRECT}
LINES = (NEUTRAL, WRONG, CORRECT, "#CC79A7", "#E69F00", "#56B4E9", "#999999", "#000000")
WIDTH = 7.0  # inches: a figure no wider is still read on a phone, which shows it at half its size


def style() -> None:
    """Set the look of all figures; the first line of every notebook that draws."""
    sns.set_theme(context="notebook", style="whitegrid", rc={"figure.dpi": 100, "axes.titleweight": "bold"})


class Chart(Figure):
    """A figure whose notebooks keep, beside the image, what it shows in words: the image's alternative text."""

    @property
    def alt(self) -> str:
        """The figure's title, those of its panels, and what their axes measure."""
        texts = [self.get_suptitle(), self.get_supylabel(), self.get_supxlabel()]
        for ax in self.axes:
            measured = " by ".join(filter(None, (ax.get_ylabel(), ax.get_xlabel())))
            texts.append(", ".join(filter(None, (ax.get_title() or ax.get_title("left"), measured))))
        return "; ".join(filter(None, texts)).replace("\n", " ")

    def with_legend(self, columns: int = 3) -> "Chart":
        """The figure with one legend for all panels, below them: it covers nothing."""
        found = [ax.get_legend_handles_labels() for ax in self.axes]
        handles = {label: handle for shown, labels in found for handle, label in zip(shown, labels, strict=True)}
        self.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=columns, frameon=False)
        return self

    def name_rows(self, names: Sequence[str]) -> None:
        """In all panels a place for each name, the first one at the top."""
        for ax in self.axes:
            ax.set_yticks(range(len(names)), names)
            ax.set_ylim(len(names) - 0.5, -0.5)

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        return {}, {"image/png": {"alt": self.alt}}

    def _repr_png_(self) -> bytes:
        image = BytesIO()
        self.savefig(image, format="png", bbox_inches="tight")
        return image.getvalue()


def panels(number: int, height: float, title: str = "", columns: int = 2, **options: Any) -> tuple[Chart, list[Axes]]:
    """A figure of so many panels, each ``height`` inches high; ``options`` are those of ``Figure.subplots``."""
    columns = min(columns, number)
    rows = -(-number // columns)
    fig = Chart(figsize=(WIDTH, rows * height + (0.4 if title else 0)), layout="constrained")
    fig.get_layout_engine().set(w_pad=0.08, h_pad=0.06)
    axes = list(fig.subplots(rows, columns, squeeze=False, **options).flat)
    for ax in axes[number:]:
        ax.remove()
    if title:
        fig.suptitle(title, fontsize=13, fontweight="bold")
    return fig, axes[:number]


def message(text: str) -> Chart:
    """A figure that says why there is nothing to draw."""
    fig, (ax,) = panels(1, 1.0)
    ax.set_axis_off()
    ax.set_title(text, fontweight="normal", y=0.3)
    return fig


def bars(values: pd.Series, number: str, title: str, label: str, color: Any = NEUTRAL) -> Chart:
    """A figure of bars below each other, each with its name and its number, in the format ``number``."""
    fig, (ax,) = panels(1, 1.2 + 0.35 * len(values))
    ax.bar_label(ax.barh(values.index, values, color=color), fmt=number, padding=3)
    ax.set(title=title, xlabel=label)
    ax.invert_yaxis()
    ax.margins(x=0.12)
    ax.grid(axis="y", visible=False)
    return fig


def errors(rows: pd.DataFrame, value: str = "value", low: str = "low", high: str = "high") -> list[pd.Series]:
    """How far error bars reach to either side of the values."""
    return [(rows[value] - rows[low]).clip(lower=0), (rows[high] - rows[value]).clip(lower=0)]


def bins(values: np.ndarray, low: float, high: float, most: int = 24) -> np.ndarray:
    """Edges of equal bins, the first centred at ``low`` and the last at ``high``: a bar stands over its values.

    As wide as the least gap between values, so that few different ones have a bar each, but no more than ``most``."""
    gaps = np.diff(np.unique(values))
    step = max(gaps.min() if len(gaps) else 1.0, (high - low) / most) or 1.0
    if np.all(np.mod(values, 1) == 0):
        step = np.ceil(step)
    number = int(np.ceil((high - low) / step - 1e-9))
    return low + step * (np.arange(number + 2) - 0.5)


def histogram(ax: Axes, groups: Mapping[str, Any], ends: tuple[float, ...] = (), shares: bool = True) -> None:
    """Histograms of named groups of values over each other, of each one's shares or of counts; ``ends`` are shown."""
    groups = {name: np.asarray(values, float) for name, values in groups.items() if len(values)}
    if not groups:
        return
    everything = np.concatenate(list(groups.values()))
    edges = bins(everything, min([*ends, everything.min()]), max([*ends, everything.max()]))
    few = {"rwidth": 0.85} if len(edges) <= 14 else {"histtype": "stepfilled"}
    for name, values in groups.items():
        weights = np.full(len(values), 1 / len(values) if shares else 1.0)
        edge = {**VERDICTS, **EXAMPLES}.get(name, NEUTRAL)
        face = (*to_rgb(edge), 0.9 if len(groups) == 1 else 0.35)
        ax.hist(values, edges, weights=weights, facecolor=face, edgecolor=edge, linewidth=1.5, label=name, **few)
    ax.yaxis.get_major_locator().set_params(integer=not shares)
    ax.grid(axis="x", visible=False)
