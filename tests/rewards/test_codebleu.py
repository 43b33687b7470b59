"""CodeBLEU equals the package's on every pair, in every process; degenerate cases; sums by hand; odd texts."""

import gzip
import inspect
import json
import math
import os
import random
import statistics
import subprocess
import sys
import textwrap

import pytest
from codebleu.dataflow_match import normalize_dataflow
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledexlib.rewards import CodeBLEU, codebleu_parts, mean_codebleu
from ledexlib.rewards import codebleu as codebleu_module
from ledexlib.rewards.dataflow import PARSER, subtrees_and_flows
from ledexlib.rewards.set_order import get_data_flow, package_follow, string_hash

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


PACKAGE = """
import json, logging, sys
from codebleu import calc_codebleu
logging.disable(logging.WARNING)  # it warns of every reference without data flow
for line in sys.stdin:
    prediction, reference, weights = json.loads(line)
    print(json.dumps(list(calc_codebleu([[reference]], [prediction], "python", weights).values())), flush=True)
"""
OURS = """
import json, sys
from ledexlib.rewards import codebleu_parts
print(json.dumps([codebleu_parts(*pair) for pair in json.load(sys.stdin)]))
"""


def python(code: str, seed: str, **options) -> subprocess.Popen:
    """A Python process with this seed of its hashes."""
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    return subprocess.Popen([sys.executable, "-c", code], **pipes, **options)


@pytest.fixture(scope="module")
def package():
    """The package's scores of a pair, from a process where its sets of names have an order: PYTHONHASHSEED=0."""
    with python(PACKAGE, "0") as process:

        def scores(prediction: str, reference: str, weights=(0.25, 0.25, 0.25, 0.25)) -> list[float]:
            process.stdin.write(json.dumps([prediction, reference, weights]) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield scores
        process.stdin.close()


@pytest.fixture(scope="module")
def assert_equal(package):
    """Every part as the package computes it, and the counts of degenerate references."""

    def compare(prediction: str, reference: str) -> CodeBLEU:
        theirs, ours = package(prediction, reference), codebleu_parts(prediction, reference)
        for part, value in zip(ours[:5], theirs, strict=True):
            assert part == pytest.approx(value, abs=1e-9), (prediction, reference, theirs, ours)
        assert (ours.without_flow + ours.unmatched_flow == 1) == (theirs[4] == 0)
        return ours

    return compare


def truncated(programs: list[str], rng: random.Random, n: int) -> list[str]:
    """Programs cut off anywhere, and with a piece taken out: most do not parse."""
    cut = [text[: rng.randrange(len(text) + 1)] for text in rng.choices(programs, k=n)]
    holes = [(text, *sorted(rng.choices(range(len(text) + 1), k=2))) for text in rng.choices(programs, k=n // 4)]
    return cut + [text[:start] + text[end:] for text, start, end in holes]


def random_pairs(programs: list[str], n: int) -> list[tuple[str, str]]:
    rng = random.Random(0)
    pool = programs + truncated(programs, rng, len(programs) // 2)
    pairs = []
    for _ in range(n):
        one = rng.choice(pool)
        other = rng.choice(pool) if rng.random() < 0.7 else one.replace("return", "yield", 1)  # distant, or near
        pairs.append((one, other))
    return pairs


def test_equal_to_the_package_on_library_functions(assert_equal):
    assert len(LIBRARY) > 60
    for pair in random_pairs(LIBRARY, 800):
        assert_equal(*pair)


def test_equal_to_the_package_on_recorded_attempts(shared_data, assert_equal):
    programs = []
    for name in RECORDED:
        with gzip.open(shared_data / "recorded" / f"{name}.jsonl.gz", "rt") as file:
            for row in map(json.loads, file):
                programs += row.get("attempts") or [row["wrong"], row["refinement"]]
    for pair in random_pairs(random.Random(1).sample(sorted({p for p in programs if len(p) < 900}), 600), 1250):
        assert_equal(*pair)


def test_equal_in_processes_whose_strings_have_other_hashes(package):
    """Near pairs too, as a repair is to the program; texts that do not parse and such that are not in ASCII."""
    names = [f"{name}{i}" for name in ("total", "λ", "xs", "数", "key", "é") for i in range(3)]
    rng = random.Random(2)

    def loop() -> str:
        """A value with many parents in a loop, and as a default."""
        a, b, c, d, e = rng.sample(names, 5)
        broken = rng.choice(["", "", "  def ("])
        head = f"def f({a}, {b}={c} + {d} + {e} + {a}):\n    {c} += {b}\n"
        return f"{head}for {a} in {b}:\n    while {c}:\n        {d} = {a} + {b} + {c} + {e}\n    {e} = {d}\n{broken}"

    loops = ["".join(loop() for _ in range(n)) for n in (1, 1, 4) for _ in range(12)]  # 4: many, which it remembers
    pairs = random_pairs(LIBRARY, 60) + random_pairs(loops, 80) + [(text, text) for text in (*loops, *ODD)]
    found = []
    for seed in ("0", "1", "2", "random"):
        process = python(OURS, seed)
        found.append(json.loads(process.communicate(json.dumps(pairs))[0]))
    assert found[0] == found[1] == found[2] == found[3]
    for pair, ours in zip(pairs, found[1], strict=True):
        assert ours[:5] == pytest.approx(package(*pair), abs=1e-9), pair


def test_a_string_has_its_hash_of_a_process_with_seed_0():
    texts = ["", "a", "-1", "é", "数", "😀x", "\ud800", *(("abcdefgh" * 40)[:n] for n in range(300)), *PIECES]
    process = python("import json, sys; print([hash(text) for text in json.load(sys.stdin)])", "0")
    assert json.loads(process.communicate(json.dumps(texts))[0]) == [string_hash(text) for text in texts]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_equal_to_the_package_on_edited_programs_and_any_text(data, assert_equal):
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
def test_odd_texts_score_as_in_the_package(text, assert_equal):
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
        flow = normalize_dataflow(get_data_flow(code, [PARSER, package_follow]))
        assert subtrees_and_flows(code)[1] == flow
    assert codebleu_module.read(nested(40, head)).length > 40  # the package would need 2^40 walks


def test_bleu_by_hand():
    """Prediction 'return a + b', reference 'return a + c': 3 of 4, 2 of 3, 1 of 2 and 0 of 1 n-grams."""
    found = codebleu_parts("return a + b", "return a + c")
    assert found.ngram == pytest.approx((3 / 4 * 2 / 3 * 1 / 2 * 0.1) ** 0.25)
    assert found.weighted_ngram == pytest.approx(((1 + 0.4) / (1 + 0.6) * 2 / 3 * 1 / 2 * 0.1) ** 0.25)
    shorter = codebleu_parts("a + b", "a + b + c")  # two of five tokens are missing
    assert shorter.ngram == pytest.approx(math.exp(1 - 5 / 3) * (1.0 * 1.0 * 1.0 * 0.1) ** 0.25)


def test_a_program_with_itself_is_one():
    code = "def f(x):\n    y = x + 1\n    return y"
    assert codebleu_parts(code, code)[:5] == pytest.approx((1, 1, 1, 1, 1))


def test_the_degenerate_data_flow_rule_and_its_two_cases(assert_equal):
    flow, none = "def f(x):\n    y = x\n    return y", "pass"
    without = assert_equal(flow, none)
    assert (without.dataflow, without.without_flow, without.unmatched_flow) == (0, 1, 0)
    assert without.codebleu == pytest.approx(0.25 * sum(without[1:4]) + 0.25)
    unmatched = assert_equal(none, flow)
    assert (unmatched.dataflow, unmatched.without_flow, unmatched.unmatched_flow) == (0, 0, 1)
    assert unmatched.codebleu == pytest.approx(0.25 * sum(unmatched[1:4]) + 0.25)


def test_a_mean_over_references_with_its_parts_and_weights(package):
    prediction, references = "x = 1\ny = x", ["x = 1\ny = x", "pass", "for x in y: z = x"]
    found = mean_codebleu([codebleu_parts(prediction, reference) for reference in references])
    each = [package(prediction, reference) for reference in references]
    assert found.codebleu == pytest.approx(statistics.fmean(one[0] for one in each))
    assert found.syntax == pytest.approx(statistics.fmean(one[3] for one in each))
    assert (found.n_references, found.without_flow) == (3, 1)
    weights = (0.1, 0.2, 0.3, 0.4)
    weighted = statistics.fmean(package(prediction, reference, weights)[0] for reference in references)
    found = mean_codebleu([codebleu_parts(prediction, reference, weights) for reference in references])
    assert found.codebleu == pytest.approx(weighted)
    with pytest.raises(ValueError, match="at least one reference"):
        mean_codebleu([])


def test_a_program_is_read_once():
    codebleu_module.read.cache_clear()
    programs = [f"x = {i}" for i in range(10)]
    for _ in range(3):
        assert all(codebleu_parts(a, b) for a in programs for b in programs)
    assert codebleu_module.read.cache_info().misses == 10
