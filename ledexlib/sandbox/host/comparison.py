"""Comparison of actual with expected results, on plain data only."""

from __future__ import annotations

import math

from ..wire.plain import NotPlain, refuse_collisions

RELATIVE_TOLERANCE = 1e-7  # beside the absolute one of a call, as in numpy.testing.assert_allclose and EvalPlus
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
                return actual == expected or _close(actual, expected, tolerance)
        raise ValueError(f"'{comparison}' is not a comparison")
    except (TypeError, RecursionError, NotPlain):  # no items, or nested too deeply: not the same
        return False


def _lists(value: object) -> object:
    """The value with lists in place of tuples, as JSON stores them."""
    if isinstance(value, (list, tuple)):
        return [_lists(item) for item in value]
    if isinstance(value, dict):
        return {key: _lists(item) for key, item in value.items()}
    return value


def _close(actual: object, expected: object, tolerance: float) -> bool:
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


def same_output(actual: str, expected: str) -> bool:
    """Whether a program's standard output is right: the same tokens in the same order.

    White space separates tokens; line breaks and blanks do not matter. A token must have the expected text, but a
    number expected with a decimal point or an exponent may differ by STDOUT_TOLERANCE.
    """
    tokens, wanted = actual.split(), expected.split()
    return len(tokens) == len(wanted) and all(map(_same_token, tokens, wanted))


def _same_token(actual: str, expected: str) -> bool:
    if actual == expected:
        return True
    if not any(mark in expected for mark in ".eE"):
        return False
    try:
        a, b = float(actual), float(expected)
    except ValueError:
        return False
    return math.isclose(a, b, rel_tol=STDOUT_TOLERANCE, abs_tol=STDOUT_TOLERANCE)
