"""Values between processes: each standard type crosses as itself; hostile bytes build nothing else."""

import array
import collections
import datetime
import decimal
import enum
import fractions
import http
import math
import pathlib
import types
import uuid
import zoneinfo

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledexlib.sandbox.wire.graph import Opaque, encode_graph, exception_payload
from ledexlib.sandbox.wire.graph_decoder import GraphDecoder
from ledexlib.sandbox.wire.plain import NotPlain, encode

Point = collections.namedtuple("Point", "x y")
AWARE = datetime.datetime(2024, 5, 1, 12, tzinfo=datetime.timezone(datetime.timedelta(hours=2), "X"))
VALUES = [
    collections.Counter("aab"), collections.OrderedDict([("b", 1), ("a", 2)]), collections.deque([1, [2]], 3),
    collections.defaultdict(list, {1: [2]}), range(1, 9, 2), slice(1, None), bytearray(b"xy"), b"x", ...,
    NotImplemented,
    array.array("d", [1.5, 2]), datetime.date(2024, 5, 1), datetime.time(1, 2, fold=1), AWARE,
    AWARE.replace(tzinfo=zoneinfo.ZoneInfo("UTC")), AWARE.replace(tzinfo=None), datetime.timedelta(1, 2, 3),
    datetime.UTC, decimal.Decimal("1.50"), decimal.Decimal("NaN"), fractions.Fraction(1, 3), 1 + 2j,
    pathlib.Path("a/b"), pathlib.PurePosixPath("a"), uuid.UUID(int=7), types.SimpleNamespace(a=[1]), int,
    ValueError, http.HTTPStatus.OK, [Point(1, [2])], {1: {2, 8}}, frozenset({(1, 2)}), {"k": decimal.Decimal(1)},
    math.inf, 10**4000,
]  # fmt: skip
ARRAYS = [
    numpy.arange(6).reshape(2, 3), numpy.array([1.5, numpy.nan]), numpy.array(["a", "bc"]), numpy.zeros((0, 3)),
    numpy.array([True]), numpy.array(["2024-05-01"], "M8[D]"), numpy.array([1, "x", None], dtype=object),
]  # fmt: skip
SCALARS = [numpy.bool_(False), numpy.float64(1.5), numpy.int8(-3), numpy.str_("x"), numpy.complex64(1j)]


def crossed(value, **options):
    return GraphDecoder(**options).value(encode_graph(value, None), [])


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_standard_values_cross_as_themselves(value):
    got = crossed(value)
    assert repr(got) == repr(value)
    assert got == value or value != value
    assert type(got).__name__ == type(value).__name__
    assert type(value) is type(got) or isinstance(value, tuple)


@pytest.mark.parametrize("value", ARRAYS, ids=lambda value: f"{value.dtype}{value.shape}")
def test_arrays_cross_with_type_shape_and_content(value):
    got = crossed([value])[0]
    assert (type(got), got.dtype, got.shape) == (type(value), value.dtype, value.shape)
    assert numpy.array_equal(got, value, equal_nan=value.dtype.kind == "f")


@pytest.mark.parametrize("value", SCALARS, ids=repr)
def test_numpys_scalars_cross_as_what_they_are(value):
    got = crossed(value)
    assert type(got) is type(value)
    assert got == value


def test_views_of_dictionaries_and_of_memory_cross():
    assert crossed({1: 2}.keys()) == {1}
    assert list(crossed({1: 2}.values())) == [2]
    assert crossed({1: 2}.items()) == {(1, 2)}
    assert crossed(memoryview(array.array("i", [1, 2]))).tolist() == [1, 2]
    assert crossed(memoryview(b"x")).readonly


def test_an_aware_time_is_not_a_naive_one_and_a_default_works():
    assert crossed(AWARE).utcoffset() == datetime.timedelta(hours=2)
    assert crossed(collections.defaultdict(list))["new"] == []
    assert crossed(collections.OrderedDict([("b", 1), ("a", 2)])) != collections.OrderedDict([("a", 2), ("b", 1)])


def test_sets_keep_their_order_and_what_is_in_two_places_stays_one():
    assert list(crossed([{8, 0}])[0]) == [8, 0]
    row = [1]
    got = crossed([row, {"r": row}])
    assert got[0] is got[1]["r"]
    circle = {"v": 1}
    circle["next"] = circle
    got = crossed(circle)
    assert got["next"] is got


def test_what_refers_to_each_other_takes_no_exponential_time():
    head = last = {"v": 0, "prev": None, "next": None}
    for number in range(1, 200):
        node = {"v": number, "prev": last, "next": None}
        last["next"] = last = node
    assert crossed(head)["next"]["next"]["prev"]["v"] == 1
    pair = ()
    for _ in range(100):
        pair = (pair, pair)
    assert crossed(pair)[0] is not None


class Node:
    __slots__ = ("next", "val")

    def __init__(self, val):
        self.val, self.next = val, None


class Colour(enum.Enum):
    RED = 1


def test_objects_of_the_setups_classes_cross_with_slots_and_enumerations():
    node = Node(3)
    node.next = node
    classes = {"Node": Node, "Colour": Colour}
    got = GraphDecoder(classes=classes).value(encode_graph([node, Colour.RED], None, tuple(classes)), [])
    assert type(got[0]) is Node
    assert got[0].next is got[0]
    assert got[1] is Colour.RED


def test_a_subclass_of_the_programs_crosses_with_its_name_and_without_its_methods():
    lying = type("Lying", (int,), {"__eq__": lambda a, b: True, "__repr__": lambda a: "7"})
    got = crossed([lying(3)])[0]
    assert (got, type(got).__name__, repr(got), isinstance(got, int)) == (3, "Lying", "3", True)
    assert got != 4


@pytest.mark.parametrize("value", [object(), print, (i for i in ()), [lambda: 1], types])
def test_what_cannot_cross_says_its_type(value):
    with pytest.raises(Opaque) as raised:
        encode_graph(value, None)
    assert str(raised.value) == type(value[0] if isinstance(value, list) else value).__name__


def test_exceptions_keep_their_attributes_and_causes():
    import json

    try:
        json.loads("{")
    except json.JSONDecodeError as error:
        name, message, _, _, bases, *_ = exception_payload(error)
    assert (name, message[:9], bases[0]) == ("JSONDecodeError", "Expecting", ("json.decoder", "JSONDecodeError"))


nodes = st.recursive(
    st.sampled_from([None, 1, -1, 10**30, "x", b"x", (), "builtins.range", "os.system", "numpy.array"]),
    lambda inner: st.tuples(st.sampled_from(list('=[({f:moxtne!sh')), inner, inner) | st.lists(inner, max_size=3)
    | st.tuples(st.sampled_from(list("=[({f:moxt!")), inner) | st.tuples(st.just("x"), st.sampled_from(
        ["builtins.bytearray", "fractions.Fraction", "array.array", "builtins.memoryview", "collections.deque"]
    ), inner),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(nodes, st.lists(nodes, max_size=2), st.none() | st.lists(nodes, max_size=2))
def test_any_graph_is_built_or_refused(node, table, contents):
    data = encode((node, table, contents))
    for bytes_read in (data, data[:-1]):
        try:
            GraphDecoder(lambda *_: "proxy", lambda _: ValueError()).value(bytes_read, [[1], {2: 3}])
        except NotPlain:
            continue
