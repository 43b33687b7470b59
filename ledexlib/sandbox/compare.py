"""Whether what came out is what was expected. Runs in the trusted process, on plain data only."""

from __future__ import annotations

import math

from ledexlib.sandbox.plain import NotPlain, spread

RELATIVE = 1e-7  # beside the absolute tolerance of a call, as numpy.testing.assert_allclose and EvalPlus have it
STDOUT_TOLERANCE = 1e-6  # relative or absolute, for a printed number that is expected with a decimal point


def same(got: object, expected: object, comparison: str, tolerance: float) -> bool:
    """Whether a call's result is right; ``comparison`` and ``tolerance`` as in ``records.Call``.

    Equality is Python's (1 equals True and 1.0; a list does not equal a tuple) except that nan equals nan. With a
    tolerance, numbers of which one is a float may differ; containers must have the same type, length and keys.
    """
    try:
        match comparison:
            case "same_none":
                wanted = expected is not None
                return got is wanted if isinstance(got, bool) else (got is not None) is wanted
            case "set":
                return set(spread(list(got))) == set(expected)
            case "json":
                return _close(_lists(got), _lists(expected), tolerance)
            case "equal":
                return got == expected or _close(got, expected, tolerance)
        raise ValueError(f"'{comparison}' is not a comparison")
    except (TypeError, RecursionError, NotPlain):  # what has no items, or is nested too deeply, is not the same
        return False


def _lists(value: object) -> object:
    """The value with its tuples made lists, as JSON stores them."""
    if isinstance(value, (list, tuple)):
        return [_lists(item) for item in value]
    if isinstance(value, dict):
        return {key: _lists(item) for key, item in value.items()}
    return value


def _close(got: object, expected: object, tolerance: float) -> bool:
    if isinstance(got, (int, float, complex)) and isinstance(expected, (int, float, complex)):
        return got == expected or _near(got, expected, tolerance)
    if type(got) is not type(expected):
        return False
    if isinstance(got, (list, tuple)):
        return len(got) == len(expected) and all(
            _close(a, b, tolerance) for a, b in zip(got, expected, strict=True)
        )
    if isinstance(got, dict):
        return got.keys() == expected.keys() and all(_close(got[key], expected[key], tolerance) for key in got)
    return got == expected


def _near(got: complex, expected: complex, tolerance: float) -> bool:
    if not isinstance(got, (float, complex)) and not isinstance(expected, (float, complex)):
        return False
    if got != got or expected != expected:
        return got != got and expected != expected
    if not tolerance:
        return False
    try:
        return abs(got - expected) <= tolerance + RELATIVE * abs(expected) < math.inf
    except OverflowError:  # an integer beyond the range of floats
        return False


def same_output(got: str, expected: str) -> bool:
    """Whether a program's standard output is right: the same tokens in the same order.

    Tokens are what white space separates; line breaks and blanks do not matter. A token must have the expected text,
    except that a number expected with a decimal point or an exponent may differ by STDOUT_TOLERANCE.
    """
    tokens, wanted = got.split(), expected.split()
    return len(tokens) == len(wanted) and all(map(_same_token, tokens, wanted))


def _same_token(got: str, expected: str) -> bool:
    if got == expected:
        return True
    if not any(mark in expected for mark in ".eE"):
        return False
    try:
        a, b = float(got), float(expected)
    except ValueError:
        return False
    return math.isclose(a, b, rel_tol=STDOUT_TOLERANCE, abs_tol=STDOUT_TOLERANCE)
