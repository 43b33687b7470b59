"""Values and errors as short text, for feedback.

Used on both sides: in the candidate's process, where ``repr`` may be the candidate's own and is guarded, and in the
trusted process on plain data. A text never costs more than a little over its limit, however large the value is.
Standard library only: the worker loads this file.
"""

from __future__ import annotations

import re

VALUE = 200  # characters of a value
MESSAGE = 500  # characters of an exception's message
SOURCE = 300  # characters of a test's source
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,16}\b")
_BRACKETS = {list: "[]", tuple: "()", set: "{}", frozenset: "{}", dict: "{}"}


def cut(text: str, limit: int) -> str:
    """The text, or its start with an ellipsis if it is longer than ``limit`` characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def masked(text: str) -> str:
    """The text without memory addresses, which differ from run to run."""
    return _ADDRESS.sub("0x…", text)


def show(value: object, limit: int = VALUE) -> str:
    """``repr`` of the value cut to ``limit`` characters; sets are in sorted order, so that the text is stable."""
    try:
        return masked(cut(_show(value, limit), limit))
    except BaseException:  # the value's own __repr__ failed: its type is what can be said
        return f"<{type(value).__name__} object>"


def _show(value: object, budget: int) -> str:
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
    """The items of a container, until the budget is used up."""
    items = value
    if isinstance(value, (set, frozenset)) and len(value) <= budget:
        items = sorted(value, key=lambda item: (str(type(item)), _show(item, budget)))
        if len({type(item) for item in items}) == 1 and type(items[0]) in (int, float, str):
            items.sort()
    texts: list[str] = []
    for item in items:
        if budget <= 0:
            break
        text = _show(item, budget)
        if isinstance(value, dict):
            text += ": " + _show(value[item], budget)
        texts.append(text)
        budget -= len(text) + 2
    return ", ".join(texts)
