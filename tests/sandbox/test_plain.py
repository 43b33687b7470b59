"""Plain data between processes: what goes in comes out, exactly; nothing else comes out; what counts as the same."""

import math
from array import array
from collections import Counter, OrderedDict, namedtuple

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledexlib.sandbox.host.comparison import same, same_output
from ledexlib.sandbox.wire.plain import NotPlain, decode, encode
from ledexlib.sandbox.wire.text import VALUE_CHARS, mask_addresses, short_repr

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.complex_numbers() | st.text() | st.binary()
hashables = scalars | st.tuples(scalars, scalars) | st.frozensets(scalars, max_size=3)
values = st.recursive(
    hashables | st.sets(hashables, max_size=3),
    lambda inner: st.lists(inner, max_size=3)
    | st.tuples(inner, inner)
    | st.dictionaries(hashables, inner, max_size=3),
    max_leaves=6,
)
few = settings(max_examples=60, deadline=None)


def typed(value):
    """The value with its types spelled out, nan equal to itself, sets and dictionaries in one order."""
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, *map(typed, value)]
    if isinstance(value, (set, frozenset)):
        return [type(value).__name__, *sorted(map(str, map(typed, value)))]
    if isinstance(value, dict):
        return ["dict", *sorted(str((typed(k), typed(v))) for k, v in value.items())]
    return [type(value).__name__, repr(value)]


@few
@given(values)
def test_values_come_back_as_they_were(value):
    assert typed(decode(encode(value))) == typed(value)


@few
@given(values)
def test_equal_values_have_equal_bytes_and_are_the_same(value):
    data = encode(value)
    again = decode(data)
    assert encode(again) == data
    if "nan" not in repr(value):  # a nan inside a set or a key is equal to nothing
        assert same(again, value, "equal", 0.0)


@few
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data):
    try:
        value = decode(data)
    except NotPlain:
        return
    assert encode(value) is not None


def test_a_short_message_asks_for_no_memory():
    for tag in (b"[", b"(", b"<", b">", b"s", b"u", b"l"):
        with pytest.raises(NotPlain):
            decode(tag + (2**31 - 1).to_bytes(4, "little"))
    with pytest.raises(NotPlain):
        decode(b"[\x01\x00\x00\x00" * 100_000 + b"N")


def circle():
    found = []
    found.append(found)
    return found


def doubled(depth):
    value = ()
    for _ in range(depth):
        value = (value, value)
    return value


@pytest.mark.parametrize(
    "value",
    [
        object(), [print], range(3), (i for i in ()), {1: type}, compile("1", "", "eval"), bytearray(b"x"),
        [StopIteration],
        array("i", [1]), memoryview(b"x"), Counter("aab"), OrderedDict(a=1), [namedtuple("P", "x")(1)], circle(),
        type("Int", (int,), {})(3), [type("Text", (str,), {})("x")], doubled(60), numpy.float64(1), [numpy.zeros(3)],
    ],
)  # fmt: skip
def test_other_objects_are_not_plain(value):
    assert encode(value) is None


def test_sets_and_what_is_in_two_places_are_not_plain_where_that_shows():
    row = [1]
    for value in ({1, 2}, [row, row], {"a": {3, 4}}):
        assert encode(value, exactly=True) is None
        assert decode(encode(value)) == value
    assert encode([{1}, (2, 3), (2, 3)], exactly=True) is not None


def test_a_short_value_that_is_long_to_read_is_refused():
    with pytest.raises(NotPlain, match="too many containers"):
        decode(b"[" + (3_000_000).to_bytes(4, "little") + b"{0" * 3_000_000)


@pytest.mark.parametrize(
    ("got", "expected", "comparison", "tolerance", "answer"),
    [
        (1, True, "equal", 0, True),
        (1, 1.0, "equal", 0, True),
        ([1], (1,), "equal", 0, False),
        ([1, (2, [3])], [1, [2, (3,)]], "json", 0, True),
        (math.nan, math.nan, "equal", 0, True),
        ([math.nan, 1], [math.nan, 1], "equal", 1e-6, True),
        (math.inf, math.inf, "equal", 1e-6, True),
        (math.inf, 1e308, "equal", 1e-6, False),
        (-math.inf, math.inf, "equal", 1e-6, False),
        (0.1 + 0.2, 0.3, "equal", 0, False),
        (0.1 + 0.2, 0.3, "equal", 1e-9, True),
        ({"a": [0.5, 1.0]}, {"a": [0.5, 1.0000001]}, "equal", 1e-6, True),
        ([1.0], (1.0,), "equal", 1e-6, False),
        (10**9 + 1, 10**9, "equal", 1e-6, False),
        (3.0000001, 3, "equal", 1e-6, True),
        (10**400, 1.5, "equal", 1e-6, False),
        (1 + 1e-9j, 1 + 0j, "equal", 1e-6, True),
        ("1.0", 1.0, "equal", 1e-6, False),
        ([1, 2, 2], (2, 1), "set", 0, True),
        ([1, 2], (3, 1), "set", 0, False),
        (5, [5], "set", 0, False),
        ([[1]], [[1]], "set", 0, False),
        (None, None, "same_none", 0, True),
        ("x", None, "same_none", 0, False),
        ("x", 7, "same_none", 0, True),
        (True, 7, "same_none", 0, True),
        (False, 7, "same_none", 0, False),
        (False, None, "same_none", 0, True),
    ],
)
def test_what_is_the_same(got, expected, comparison, tolerance, answer):
    assert same(got, expected, comparison, tolerance) is answer


@pytest.mark.parametrize(
    ("got", "expected", "answer"),
    [
        ("1 2\n3\n", "1 2 \r\n3", True),
        ("1 2 3", "1 2\n3\n", True),
        ("1 2", "1 2 3", False),
        ("YES", "Yes", False),
        ("0.3333333", "0.33333334", True),
        ("0.333", "0.33333334", False),
        ("7.0", "7", False),
        ("7", "7.0", True),
        ("1e9", "1000000000.0", True),
        ("nan", "1.5", False),
        ("", "", True),
    ],
)
def test_what_is_the_same_output(got, expected, answer):
    assert same_output(got, expected) is answer


@pytest.mark.parametrize(
    ("got", "expected", "as_numbers", "in_any_case"),
    [
        ("3.0", "3", True, True), ("3.5", "3", False, False), ("Yes", "YES", False, True), ("yes", "no", False, False),
        ("007", "7", True, True), ("1" * 5000, "1" * 4999 + "2", False, False), ("1_0", "10", False, False),
        ("1e3 x", "1000 x", True, True), ("x", "1", False, False), ("nan", "1", False, False),
    ],
)  # fmt: skip
def test_what_is_the_same_output_by_a_benchmarks_own_rule(got, expected, as_numbers, in_any_case):
    assert same_output(got, expected, "numbers") is as_numbers
    assert same_output(got, expected, "numbers_any_case") is in_any_case


@few
@given(values)
def test_shown_values_are_short_and_stable(value):
    text = short_repr(value)
    assert len(text) <= VALUE_CHARS
    assert short_repr(decode(encode(value))) == text


@few
@given(st.lists(st.integers() | st.text(max_size=5) | st.booleans() | st.tuples(st.integers()), max_size=4))
def test_small_values_are_shown_whole(value):
    assert short_repr(value, 1000) == mask_addresses(repr(value))


def test_shown_values():
    assert short_repr({3, 1, 2}) == "{1, 2, 3}"
    assert short_repr((1,)) == "(1,)"
    assert short_repr(frozenset({"b", "a"})) == "frozenset({'a', 'b'})"
    assert short_repr({"a": [1, ()], "b": set()}) == "{'a': [1, ()], 'b': set()}"
    assert short_repr(10**10000) == "<integer of 33220 bits>"
    assert short_repr("x" * 10**6).endswith("…")
    assert short_repr(type("Broken", (), {"__repr__": lambda self: 1 / 0})()) == "<Broken object>"
