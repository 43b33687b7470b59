"""Values as short text, for feedback.

Runs in the program's process, where ``repr`` may be the program's own and is guarded, and in trusted ones on plain
data. However large the value is, its text costs little more than its limit.
"""

from __future__ import annotations

import re

VALUE_CHARS = 200  # of a value
MESSAGE_CHARS = 500  # of an exception's message
SOURCE_CHARS = 300  # of a test's source
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,16}\b")
_BRACKETS = {list: "[]", tuple: "()", set: "{}", frozenset: "{}", dict: "{}"}


def truncate(text: str, limit: int) -> str:
    """Return the text, cut to ``limit`` characters with an ellipsis at the end if it is longer."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def clean(text: str) -> str:
    """The text with what no file can hold, halves of surrogate pairs, escaped: for all text that comes from outside."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def class_name(text: str) -> str:
    """The text as a class can have it for its name."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def mask_addresses(text: str) -> str:
    """Replace memory addresses, which differ from run to run."""
    return _ADDRESS.sub("0x…", text)


def short_repr(value: object, limit: int = VALUE_CHARS) -> str:
    """Return ``repr(value)`` cut to ``limit`` characters; sets are sorted, so that the text is stable."""
    try:
        return mask_addresses(truncate(_render(value, limit), limit))
    except BaseException:  # the value's own __repr__ failed: name its type
        return f"<{type(value).__name__} object>"


def _render(value: object, budget: int) -> str:
    kind = type(value)
    if kind in (str, bytes):
        return repr(value) if len(value) <= budget else repr(value[:budget])
    if kind is int:
        bits = value.bit_length()
        return repr(value) if bits < 4 * budget else f"<integer of {bits} bits>"
    if kind not in _BRACKETS:
        return repr(value)
    if not value and kind in (set, frozenset):
        return repr(value)
    opening, closing = _BRACKETS[kind]
    if kind is tuple and len(value) == 1:
        closing = ",)"
    if kind is frozenset:
        opening, closing = "frozenset({", "})"
    return opening + _items(value, budget) + closing


def _items(value: object, budget: int) -> str:
    """Render the items of a container until the budget of characters is used up."""
    items = value
    if isinstance(value, (set, frozenset)) and len(value) <= budget:
        items = sorted(value, key=lambda item: (str(type(item)), _render(item, budget)))
        if len({type(item) for item in items}) == 1 and type(items[0]) in (int, float, str):
            items.sort()
    texts: list[str] = []
    for item in items:
        if budget <= 0:
            break
        text = _render(item, budget)
        if isinstance(value, dict):
            text += ": " + _render(value[item], budget)
        texts.append(text)
        budget -= len(text) + 2
    return ", ".join(texts)
