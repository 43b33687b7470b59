"""How values and sentences are written, the same in notebooks, pages and the terminal."""

from __future__ import annotations

import re
from html import escape
from typing import Any

CODE = re.compile(r"(`[^`\n]+`)")
MARKUP = re.compile(r"""[!"#$&*<>@\[\\\]^_`{|}~]""")


def parameter_text(value: Any) -> str:
    """A parameter's value: a list as its items."""
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def metric_text(value: Any) -> str:
    """A metric: three digits of a fraction, thousands apart."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def as_html(text: str) -> str:
    """A sentence as HTML, what stands in backticks as code."""
    parts = CODE.split(text)
    return "".join(f"<code>{escape(p[1:-1])}</code>" if n % 2 else escape(p) for n, p in enumerate(parts))


def as_markdown(text: str) -> str:
    """A sentence that a model may have written as Markdown: nothing in it is markup but code in backticks."""
    parts = CODE.split(text)
    plain = "".join(p if n % 2 else MARKUP.sub(_entity, p) for n, p in enumerate(parts))
    return re.sub(r"^(\s*\d*)([-+.)])", lambda found: f"{found[1]}&#{ord(found[2])};", plain)  # no list


def _entity(found: re.Match[str]) -> str:
    """A character that is no markup; MathJax looks for formulas in what Markdown leaves."""
    return f"<span>&#{ord(found[0])};</span>" if found[0] in "$\\" else f"&#{ord(found[0])};"
