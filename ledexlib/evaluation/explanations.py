"""A check of explanations that needs no reader: do the exceptions that they name exist in the model's input?

Similarity to correct explanations, which is rewarded, can rise while explanations become untrue.
"""

from __future__ import annotations

import builtins
import re

_NAME = re.compile(r"\b[A-Z]\w*\b")
_BUILT_IN = {
    name for name, value in vars(builtins).items() if isinstance(value, type) and issubclass(value, BaseException)
}
_ASSERTION = "AssertionError"  # what a failed test is, however the feedback puts it


def exceptions_in(text: str) -> set[str]:
    """The exceptions that a text names: the built-in ones, and other capitalised words that end as they do."""
    words = _NAME.findall(text)
    return {word for word in words if word in _BUILT_IN or word.endswith(("Error", "Exception"))} - {_ASSERTION}


def invented_exceptions(explanation: str, *shown: str) -> set[str]:
    """The exceptions that an explanation names and that stand nowhere in what its author was shown."""
    return exceptions_in(explanation) - exceptions_in("\n".join(shown))
