"""CodeBLEU equals the package's on every pair, parts and degenerate cases included; sums by hand; odd texts."""

import gzip
import inspect
import json
import logging
import math
import random
import statistics
import textwrap

import pytest
from codebleu import calc_codebleu
from codebleu.dataflow_match import get_data_flow, normalize_dataflow
from codebleu.parser import DFG_python
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledexlib.rewards import codebleu
from ledexlib.rewards import dataflow

LIBRARY = [
    textwrap.dedent(inspect.getsource(function))
    for module in (random, statistics, textwrap, json.decoder, gzip, inspect)
    for _, function in inspect.getmembers(module, inspect.isfunction)
    if len(inspect.getsource(function)) < 900
]
RECORDED = ("ldb_mbpp_starcoder", "ldb_mbpp_codellama", "ldb_humaneval_codellama", "debugbench_leetcode")
ODD = [
    "", " \n\t ", "x", '"only a docstring"', "# only a comment", "def f(:\n  return", "if x:", "((((",
    "def f():\n\tpass", "x = '''\nnever closed", "λ = 'é' + ü\nfor λ in 'ß':\n    y = λ", "self.a = 'b'",
    "a.b = f'{c}'",
    "a, b = b, a", "for a.b in 'xyz':\n    print(a)", "while True:\n    x += 1\nelse:\n    x = 2", "x: int\ny: int = x",
    "def f(a, b=a + 1, *, c='d', **e):\n    return [a for b in c if b for d in b]", "lambda x, y=2: x",
    "try:\n  x\nexcept E as x:\n  y = x", "for i in range(3):\n    x = i\nelse:\n    x = 0", "if (n := 3) > 2: n",
    "x = y = z = 1\nx, (y, z) = z, (y, x)", "match x:\n    case [a, *b]:\n        c = a", "\x0cx = 1\\\n + 2\r\ny = x",
    "Return what is asked for.",
]  # fmt: skip
PIECES = ["x", "y = x", "for x in y:", "while x:", "if x:", "else:", "    ", "\n", "z += y", "'s'", "(", ")",
          "def f(a=b):", "\n    ", "\n        "]  # fmt: skip


@pytest.fixture(autouse=True)
def quiet():
    logging.disable(logging.WARNING)  # the package warns of every reference without data flow
    yield
    logging.disable(logging.NOTSET)


def assert_equal(prediction: str, reference: str) -> codebleu.Components:
    """Every part as the package computes it, and the counts of degenerate references."""
    package = calc_codebleu([[reference]], [prediction], "python")
    ours = codebleu.components(prediction, reference)
    for part, value in zip(ours[:5], package.values(), strict=True):
        assert part == pytest.approx(value, abs=1e-9), (prediction, reference, package, ours)
    assert (ours.without_flow + ours.unmatched_flow == 1) == (package["dataflow_match_score"] == 0)
    return ours


def truncated(programs: list[str], rng: random.Random, n: int) -> list[str]:
    """Programs cut off anywhere, and with a piece taken out: most do not parse."""
    cut = [text[: rng.randrange(len(text) + 1)] for text in rng.choices(programs, k=n)]
    holes = [(text, *sorted(rng.choices(range(len(text) + 1), k=2))) for text in rng.choices(programs, k=n // 4)]
    return cut + [text[:start] + text[end:] for text, start, end in holes]


def random_pairs(programs: list[str], n: int) -> None:
    rng = random.Random(0)
    pool = programs + truncated(programs, rng, len(programs) // 2)
    for _ in range(n):
        one = rng.choice(pool)
        other = rng.choice(pool) if rng.random() < 0.7 else one.replace("return", "yield", 1)  # distant, or near
        assert_equal(one, other)


def test_equal_to_the_package_on_library_functions():
    assert len(LIBRARY) > 60
    random_pairs(LIBRARY, 800)


def test_equal_to_the_package_on_recorded_attempts(shared_data):
    programs = []
    for name in RECORDED:
        with gzip.open(shared_data / "recorded" / f"{name}.jsonl.gz", "rt") as file:
            for row in map(json.loads, file):
                programs += row.get("attempts") or [row["wrong"], row["refinement"]]
    random_pairs(random.Random(1).sample(sorted({p for p in programs if len(p) < 900}), 600), 1250)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_equal_to_the_package_on_edited_programs_and_any_text(data):
    programs, places = st.sampled_from(LIBRARY[:60]), st.integers(0, 400)
    texts = st.one_of(
        st.sampled_from(ODD),
        st.builds(lambda p, i, t: p[:i] + t + p[i:], programs, places, st.text(max_size=8)),
        st.lists(st.sampled_from(PIECES), max_size=20).map(" ".join),
    )
    assert_equal(data.draw(texts.filter(encodes)), data.draw(texts.filter(encodes)))


def encodes(text: str) -> bool:
    return not any(0xD800 <= ord(character) < 0xE000 for character in text)


@pytest.mark.parametrize("text", ODD)
def test_odd_texts_score_as_in_the_package(text):
    for other in ("def f(x):\n    y = x\n    return y", text):
        assert_equal(text, other)
        assert_equal(other, text)


def nested(depth: int, head: str = "def f(a):\n") -> str:
    loops = [f"{'    ' * (i + 1)}{'while b' if i % 3 == 2 else f'for x{i} in a{i}'}:\n" for i in range(depth)]
    return head + "".join(loops) + "    " * (depth + 1) + "a, b = b + x0, a\n"


@pytest.mark.parametrize("head", ["def f(a):\n", "def f(a:\n"], ids=["parses", "does not parse"])
def test_loops_in_each_other_give_the_same_flow_and_cost_no_power_of_their_depth(head):
    for depth in (1, 3, 6, 7):
        code = nested(depth, head)
        flow = normalize_dataflow(get_data_flow(code, [dataflow.parser(), DFG_python]))
        assert dataflow.subtrees_and_flows(code)[1] == flow
    assert codebleu.read(nested(40, head)).length > 40  # the package would need 2^40 walks


def test_bleu_by_hand():
    """Prediction 'return a + b', reference 'return a + c': 3 of 4, 2 of 3, 1 of 2 and 0 of 1 n-grams."""
    found = codebleu.components("return a + b", "return a + c")
    assert found.ngram == pytest.approx((3 / 4 * 2 / 3 * 1 / 2 * 0.1) ** 0.25)
    assert found.weighted_ngram == pytest.approx(((1 + 0.4) / (1 + 0.6) * 2 / 3 * 1 / 2 * 0.1) ** 0.25)
    shorter = codebleu.components("a + b", "a + b + c")  # two of five tokens are missing
    assert shorter.ngram == pytest.approx(math.exp(1 - 5 / 3) * (1.0 * 1.0 * 1.0 * 0.1) ** 0.25)


def test_a_program_with_itself_is_one():
    code = "def f(x):\n    y = x + 1\n    return y"
    assert codebleu.components(code, code)[:5] == pytest.approx((1, 1, 1, 1, 1))


def test_the_degenerate_data_flow_rule_and_its_two_cases():
    flow, none = "def f(x):\n    y = x\n    return y", "pass"
    without = assert_equal(flow, none)
    assert (without.dataflow, without.without_flow, without.unmatched_flow) == (0, 1, 0)
    assert without.codebleu == pytest.approx(0.25 * sum(without[1:4]) + 0.25)
    unmatched = assert_equal(none, flow)
    assert (unmatched.dataflow, unmatched.without_flow, unmatched.unmatched_flow) == (0, 0, 1)
    assert unmatched.codebleu == pytest.approx(0.25 * sum(unmatched[1:4]) + 0.25)


def test_a_mean_over_references_with_its_parts_and_weights():
    prediction, references = "x = 1\ny = x", ["x = 1\ny = x", "pass", "for x in y: z = x"]
    (found,) = codebleu.mean_components([prediction], [references])
    each = [calc_codebleu([[reference]], [prediction], "python") for reference in references]
    assert found.codebleu == pytest.approx(statistics.fmean(one["codebleu"] for one in each))
    assert found.syntax == pytest.approx(statistics.fmean(one["syntax_match_score"] for one in each))
    assert (found.n_references, found.without_flow) == (3, 1)
    weights = (0.1, 0.2, 0.3, 0.4)
    weighted = statistics.fmean(
        calc_codebleu([[reference]], [prediction], "python", weights)["codebleu"] for reference in references
    )
    assert codebleu.mean_codebleu([prediction], [references], weights) == pytest.approx([weighted])


def test_no_references_and_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match="at least one reference"):
        codebleu.mean_codebleu(["x"], [[]])
    with pytest.raises(ValueError):
        codebleu.mean_codebleu(["x", "y"], [["x"]])
    assert codebleu.mean_codebleu([], []) == []


def test_a_program_is_read_once():
    codebleu.read.cache_clear()
    programs = [f"x = {i}" for i in range(10)]
    for _ in range(3):
        codebleu.mean_codebleu(programs, [programs] * 10)
    assert codebleu.read.cache_info().misses == 10
