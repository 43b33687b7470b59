"""How values and sentences are written, the same in notebooks, pages and the terminal; the templates."""

import re
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup, escape


def parameter_text(value: Any) -> str:
    """A parameter's value: a list as its items."""
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def metric_text(value: Any) -> str:
    """A metric: three digits of a fraction, thousands apart."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}" if isinstance(value, float) else str(value)


def as_html(text: str) -> Markup:
    """A sentence as HTML, what stands in backticks as code."""
    return Markup(re.sub(r"`([^`\n]+)`", r"<code>\1</code>", str(escape(text))))


def cell_html(value: Any) -> str:
    """A table's cell: two decimals, lines kept; a number with its interval is not broken, on GitHub neither."""
    if value is None or value != value:
        return "–"
    text = f"{value:.2f}" if isinstance(value, float) else str(value)
    if re.fullmatch(r"[-+−\d., \[\]\n]+", text):
        text = text.replace(" ", "\u00a0")
    return as_html(text).replace("\n", Markup("<br>"))


def date(stamp: str) -> str:
    """'2026-01-31T12:30:59+00:00' as '2026-01-31 12:30 UTC'."""
    return f"{stamp[:10]} {stamp[11:16]} UTC"


TEMPLATES = Environment(loader=PackageLoader("ledexlib.report"), autoescape=select_autoescape(), trim_blocks=True)
TEMPLATES.filters |= {"code": as_html, "cell": cell_html, "date": date, "parameter": parameter_text}
