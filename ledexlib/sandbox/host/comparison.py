"""Comparison of actual with expected results, on plain data only."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from itertools import zip_longest
from typing import Any

from ..wire.plain import refuse_collisions

RELATIVE_TOLERANCE = 1e-7  # beside the absolute one of a call, as in numpy.testing.assert_allclose and EvalPlus
_TOKEN = re.compile(r"\S+")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|nan|infinity)", re.IGNORECASE | re.ASCII)
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
STDOUT_TOLERANCE = 1e-6  # relative or absolute, for a printed number that is expected with a decimal point


def same(actual: object, expected: object, comparison: str, tolerance: float) -> bool:
    """Whether a call's result is right; ``comparison`` and ``tolerance`` as in ``types.Call``.

    Equality is Python's (1 equals True and 1.0; a list does not equal a tuple) except that nan equals nan. With a
    tolerance, numbers of which one is a float may differ; containers must have the same type, length and keys.
    """
    try:
        match comparison:
            case "same_none":
                wanted = expected is not None
                return actual is wanted if isinstance(actual, bool) else (actual is not None) is wanted
            case "set":
                return set(refuse_collisions(list(actual))) == set(expected)
            case "json":
                return _close(_lists(actual), _lists(expected), tolerance)
            case "equal":
                return bool(actual == expected) or _close(actual, expected, tolerance)
        raise ValueError(f"'{comparison}' is not a comparison")
    except (TypeError, ValueError, ArithmeticError, RecursionError):  # no items, an array's truth, nested too deeply
        return False


def _lists(value: object) -> object:
    """The value with lists in place of tuples, as JSON stores them."""
    if isinstance(value, (list, tuple)):
        return [_lists(item) for item in value]
    if isinstance(value, dict):
        return {key: _lists(item) for key, item in value.items()}
    return value


def _close(actual: object, expected: object, tolerance: float) -> bool:
    actual, expected = _plain_number(actual), _plain_number(expected)
    if isinstance(actual, (int, float, complex)) and isinstance(expected, (int, float, complex)):
        return actual == expected or _near(actual, expected, tolerance)
    if type(actual) is not type(expected):
        return False
    if isinstance(actual, (list, tuple)):
        return len(actual) == len(expected) and all(
            _close(a, b, tolerance) for a, b in zip(actual, expected, strict=True)
        )
    if isinstance(actual, dict):
        return actual.keys() == expected.keys() and all(_close(actual[key], expected[key], tolerance) for key in actual)
    return actual == expected


def _plain_number(value: Any) -> Any:
    """Python's own number for one of numpy's."""
    return value.item() if type(value).__module__ == "numpy" and getattr(value, "shape", None) == () else value


def _near(actual: complex, expected: complex, tolerance: float) -> bool:
    if not isinstance(actual, (float, complex)) and not isinstance(expected, (float, complex)):
        return False
    if actual != actual or expected != expected:
        return actual != actual and expected != expected
    if not tolerance:
        return False
    try:
        return abs(actual - expected) <= tolerance + RELATIVE_TOLERANCE * abs(expected) < math.inf
    except OverflowError:  # an integer beyond the range of floats
        return False


def same_output(actual: str, expected: str, comparison: str = "tokens") -> bool:
    """Whether a program's standard output is right: the same tokens in the same order.

    White space separates tokens; line breaks and blanks do not matter. ``comparison`` as in ``types.InputOutput``.
    However long the output is, this takes no memory to speak of.
    """
    if comparison == "numbers_any_case":
        actual, expected = actual.lower(), expected.lower()
    pairs = zip_longest(_TOKEN.finditer(actual), _TOKEN.finditer(expected))
    is_number = _any_number if comparison != "tokens" else _written_as_float
    return all(a and b and (a[0] == b[0] or _near_number(a[0], b[0], is_number)) for a, b in pairs)


def _written_as_float(expected: str) -> bool:
    return any(mark in expected for mark in ".eE")


def _any_number(_: str) -> bool:
    return True


def _near_number(actual: str, expected: str, is_number: Callable[[str], bool]) -> bool:
    if not is_number(expected) or not (_NUMBER.fullmatch(actual) and _NUMBER.fullmatch(expected)):
        return False
    if _INTEGER.fullmatch(actual) and _INTEGER.fullmatch(expected):
        return actual.lstrip("+0") == expected.lstrip("+0") and actual != ""
    return math.isclose(float(actual), float(expected), rel_tol=STDOUT_TOLERANCE, abs_tol=STDOUT_TOLERANCE)
