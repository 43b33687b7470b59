"""Tests that are code, run outside the program's process: everything that real tests do works through proxies.

A row is a program, its tests, how many of the asserts in them hold, and the feedback if not all do.
"""

from pathlib import Path

import pytest

from ledexlib.sandbox import Assertion, Call, Check, Job, Limits, run, run_one

NODE = "class Node:\n    def __init__(self, val): self.val = val; self.next = None\n"
CHAIN = NODE + (
    "def chain(values):\n    head = None\n    for value in reversed(values):\n"
    "        node = Node(value); node.next = head; head = node\n    return head\n"
    "def values(head):\n    found = []\n    while head: found.append(head.val); head = head.next\n    return found\n"
)
REVERSE = "def f(x):\n    last = None\n    while x: x.next, last, x = last, x, x.next\n    return last"
KINDS = """
from collections import *
from decimal import Decimal
from fractions import Fraction
import datetime
P = namedtuple('P', 'x y')
def f(k): return [
    Counter('aab'), defaultdict(list, {1: [2]}), OrderedDict(a=1), P(1, 2), deque([1, 2]), Decimal('1.5'),
    Fraction(1, 2), range(3), datetime.date(2020, 1, 2), [Decimal(1), {2: deque()}], b'x', 1j, None, frozenset({1}),
][k]
"""
TRICKS = "\n".join(
    f"    __{name}__ = lambda self, *rest: {value}"
    for name, value in (("eq", True), ("ne", True), ("lt", True), ("contains", True), ("iter", "self"), ("next", "A()"))
)
ROWS = {
    "keywords": ("def f(x, *, k=1): return x * k", ["assert f(2, k=3) == 6", "assert f(k=2, x=[1]) == [1, 1]"], 2, ""),
    "in place": (
        "def f(x): x.sort()",
        ["l = [3, 1, 2]\nf(l)\nassert l == [1, 2, 3]", "d = {'a': [2, 1]}\nf(d['a'])\nassert d == {'a': [1, 2]}"],
        2, "",
    ),
    "the order of a set": (
        "def f(x): return tuple(x)",
        ["s = {12, 13, 14, 15, 16}\nassert f(s) == tuple(s)", "assert f({6, 7, 8, 9, 10, 11}) == (6, 7, 8, 9, 10, 11)"],
        2, "",
    ),
    "aliases": (
        "def f(x): x.sort(); return x",
        ["l = [3, 1, 2]\nassert f(l) is l\nassert l == [1, 2, 3]",
         "a = [2]; b = [1]; l = [a, b]\nf(l)\nassert l[0] is b and a == [2]"], 3, "",
    ),
    "inside": (
        "def f(m):\n    m[0][0] = 9; m.append([7]); m[1][2] = {4}",
        ["row = [1]\nm = [row, {}]\nf(m)\nassert row == [9] and m == [[9], {2: {4}}, [7]] and m[0] is row"], 1, "",
    ),
    "shared rows": ("def f(m): m[0][0] = 1", ["m = [[0]] * 2\nf(m)\nassert m == [[1], [1]]"], 1, ""),
    "generators": (
        "def f(n):\n    for i in range(n): yield i * i",
        ["assert list(f(4)) == [0, 1, 4, 9]", "assert next(f(3)) == 0", "assert 4 in f(9)", "assert sum(f(3000)) > 0",
         "a, b = f(2)\nassert b == 1", "assert f(1) == [0]"], 5,
        "assert f(1) == [0]\ngot <generator object f at 0x…>, expected [0]",
    ),
    "endless generator": ("def f():\n    while True: yield 7", ["g = f()\nassert [next(g), next(g)] == [7, 7]"], 1, ""),
    "generator that fails": (
        "def f(n):\n    yield 1\n    yield 1 // n",
        ["g = f(0)\nassert next(g) == 1\nassert next(g) == 0"], 1,
        "assert next(g) == 0\nZeroDivisionError: integer division or modulo by zero\nline 3, in f: yield 1 // n",
    ),
    "map": ("def f(n): return map(str, range(n))", ["assert list(f(3)) == ['0', '1', '2']"], 1, ""),
    "sets": (
        "def f(n): return set(range(n))",
        ["assert f(3) == {0, 1, 2}", "assert sorted(f(3)) == [0, 1, 2]", "assert isinstance(f(2), set)"], 3, "",
    ),
    "kinds": (
        KINDS,
        ["from collections import *\nassert f(0) == Counter('aab')", "assert f(1) == {1: [2]}",
         "assert f(2) == {'a': 1}", "assert f(3) == (1, 2) and f(3).y == 2", "assert f(4) == deque([1, 2])",
         "assert f(5) == 1.5", "assert f(6) == 0.5",
         "assert f(7) == range(3)", "import datetime\nassert f(8) == datetime.date(2020, 1, 2)",
         "assert f(9)[1] == {2: deque()}", "assert f(10) == b'x' and f(11) == 1j and f(12) is None and f(13) == {1}"],
        11, "",
    ),
    "tolerance": (
        "def f(x): return x / 3", ["assert abs(f(1) - 0.3333333) < 1e-6", "assert round(f(2), 3) == 0.667"], 2, "",
    ),
    "tricks": (
        f"class A:\n{TRICKS}\ndef f(x): return A()",
        ["assert f(1) == 1", "assert f(1) != 1", "assert f(1) < 1", "assert 3 in list(f(1))[:9]"], 0,
        "assert f(1) == 1\ngot <program.A object at 0x…>, expected 1",
    ),
    "match": ("import re\ndef f(x): return re.match('a', x)", ["assert f('a')", "assert not f('b')"], 2, ""),
    "exceptions": (
        "def f(x):\n    if x < 0: raise ValueError('neg %d' % x)\n    return x",
        ["try:\n    f(-3)\nexcept ValueError as e:\n    assert str(e) == 'neg -3'", "assert f(-1) == 1"], 1,
        "assert f(-1) == 1\nValueError: neg -1\nline 2, in f: if x < 0: raise ValueError('neg %d' % x)",
    ),
    "exceptions of one's own": (
        "class E(KeyError): pass\ndef f(x): raise E(3)",
        ["try:\n    f(1)\nexcept KeyError as e:\n    assert e.args == (3,)", "assert f(1) == 2"], 1,
        "assert f(1) == 2\nE: 3\nline 2, in f: def f(x): raise E(3)",
    ),
    "leaving where the test catches all": (
        "import os\ndef f(x): os._exit(0)", ["try:\n    f(1)\nexcept:\n    pass", "assert f(1) == 1"], 0,
        "try:\n    f(1)\nexcept:\n    pass\nthe process exited with status 0 before the end of test 1 of 2",
    ),
    "recursion": ("def f(x): return f(x - 1) + 1 if x else 0", ["assert f(900) == 900"], 1, ""),
    "large": (
        "def f(x): return x[::-1]", ["l = list(range(10**5))\nassert f(l) == l[::-1]\nassert f(l)[0] == 99999"], 2, "",
    ),
    "a builtin's name": (
        "def sum(a, b): return a - b\ndef len(x): return 9", ["assert sum(3, 1) == len([1, 1])"], 1, "",
    ),
    "the program's module": (
        "import sys\nsys.maxsize = 4\ndef f(): return 4", ["assert sys.maxsize != f()", "assert math.pi > 3"], 1,
        "assert math.pi > 3\nNameError: name 'math' is not defined",
    ),
    "loops on a hostile value": (
        "def f(): return 10**9", ["for i in range(f() * 1000): pass\nassert i"], 0,
        "assert i\ntimed out in the first test",
    ),
    "a hostile value in C": (
        "def f(): return 10**11", ["assert sum(range(f())) == 3"], 0,
        "timed out in the tests' own code, on a value of the program's",
    ),
    "a value far too large": (
        "def f(): return 'x' * (70 << 20)", ["assert f() == 3"], 0,
        "assert f() == 3\nthe results were more data than allowed before the end of test 1 of 1",
    ),
}  # fmt: skip
OF_SETUP = {
    "one object": (
        "def f(x): return x.val if x else None", ["assert f(Node(4)) == 4", "assert f(None) is None"], 2, "",
    ),
    "made by the program": (
        "def f(n): return chain(range(n))", ["assert values(f(3)) == [0, 1, 2]\nassert isinstance(f(1), Node)"], 2, "",
    ),
    "chain in place": (
        REVERSE,
        ["head = chain(range(5000))\nlast = f(head)\nassert values(last) == list(range(4999, -1, -1))",
         "assert values(head) == [0]"], 2, "",
    ),
    "circle": ("def f(x): x.next = x; return x", ["x = f(Node(1))\nassert x.next is x"], 1, ""),
    "class of the program's own": (
        "class Node:\n    val = 1\n    __eq__ = lambda a, b: True\ndef f(x): return Node()", ["assert f(1) == 1"], 0,
        None,
    ),
    "tests' helper": ("def values(head): return [1]\ndef f(x): return None", ["assert values(f(1)) == [1]"], 0, None),
}  # fmt: skip
IN_PROCESS = {
    "methods": (
        "class S:\n    def __init__(self): self.n = 0\n    def add(self, k): self.n += k; return self",
        ["x = S()\nx.add(3).add(4)\nassert x.n == 7\nx.n = 1\nassert x.n == 1"], 2, "",
    ),
    "objects": (
        "class S: pass", ["assert S() == S()"], 0,
        "assert S() == S()\ngot <program.S object at 0x…>, expected <program.S object at 0x…>",
    ),
    "function": ("def f(g, x): return g(x)", ["assert f(lambda v: v + 1, 2) == 3", "assert f(abs, -2) == 2"], 2, ""),
    "generator": ("def f(x): return list(x)", ["assert f(i for i in range(2)) == [0, 1]"], 1, ""),
    "wrong": ("def f(g): return 5", ["assert f(lambda: 1) == 1"], 0, "assert f(lambda: 1) == 1\ngot 5, expected 1"),
}
ENTRY = {"methods": "S", "objects": "S", "a builtin's name": "sum"}


def jobs(rows, setup=""):
    for name, (program, tests, _, _) in rows.items():
        statements = tuple(Assertion(statement=text) for text in tests)
        yield Job(name, program, statements, ENTRY.get(name, "f"), setup=setup)


def check(rows, mode, setup=""):
    got = dict(run(jobs(rows, setup), limits=Limits(timeout=1)))
    assert {name: (v.n_passed, v.feedback) for name, v in got.items()} == {
        name: (n_passed, got[name].feedback if feedback is None else feedback)
        for name, (_, _, n_passed, feedback) in rows.items()
    }
    assert {v.mode for v in got.values()} == {mode}
    assert all(v.status != "infra" for v in got.values())
    assert all(v.passed == (v.n_passed == v.n_tests) for v in got.values())


def test_tests_run_outside_the_program():
    check(ROWS, "proxy")


def test_objects_of_the_setups_classes_travel():
    check(OF_SETUP, "proxy", CHAIN)


def test_what_cannot_be_sent_runs_in_the_weaker_mode_and_says_so():
    check(IN_PROCESS, "in_process")


def test_a_program_cannot_choose_the_weaker_mode():
    program = (
        "class Node:\n    def __init__(self, val): self.__reduce_ex__ = 1; self.__dict__['__reduce__'] = 2\n"
        "def f(x):\n    deep = []\n    for _ in range(300): deep = [deep]\n    return Node(1) if x else deep\n"
        "def g(x): return lambda: 1\n"
    )
    tests = ("assert f(f(1)) == 1", "assert f(f(0)) == f(0)", "assert g(g(1)) == 1")
    jobs = [Job(text, program, (Assertion(statement=text),), "f", setup=NODE) for text in tests]
    got = dict(run(jobs, limits=Limits(timeout=1)))
    assert {v.mode for v in got.values()} == {"proxy"}
    assert not got[tests[0]].passed
    assert not got[tests[2]].passed


@pytest.mark.parametrize("program", ["def encode(x): return x\ndef f(x): return x", "def f(x): return x[::-1]"])
def test_helpers_of_the_setup_are_the_tests_own(program):
    source = "def check(candidate):\n    assert candidate(encode('abc')) == 'abc'"
    verdict = run_one(Job(0, program, (Check(source=source),), "f", setup="def encode(x): return x[::-1]"))
    assert verdict.passed == ("[::-1]" in program)


ASKING = """
def check(candidate):
    assert candidate(1) == 2
    assert candidate(candidate(5)) == 7
    for n in range(3):
        assert candidate(n) == n + 1
    assert candidate([3, 1]) is None
"""
ANSWERING = {
    "right": "def f(x): return None if isinstance(x, list) else x + 1",
    "wrong": "def f(x): return x if x == [3, 1] else 2 * x",
    "raises": "def f(x):\n    if x == 1: raise KeyError(x)\n    return x + 1",
    "leaves": "import os\ndef f(x): return x + 1 if x != 2 else os._exit(0)",
    "never ends": "def f(x):\n    while x == 2: pass\n    return x + 1",
    "counts its calls": "calls = []\ndef f(x):\n    calls.append(x)\n    return len(calls) + 1",
    "changes its arguments": "def f(x):\n    if isinstance(x, list): return x.clear()\n    return x + 1",
    "answers with objects": "def f(x): return iter([x])",
    "does not load": "import nothing_of_this_name",
    "right again": "def f(x): return None if isinstance(x, list) else x + 1",
}


def test_what_tests_asked_of_other_programs_changes_no_verdict():
    tests, short = (Check(source=ASKING),), Limits(timeout=0.5)
    alone = {name: run_one(Job(name, program, tests, "f"), short) for name, program in ANSWERING.items()}
    jobs = [Job((number, name), program, tests, "f") for number in range(2) for name, program in ANSWERING.items()]
    jobs += [Job((number, "twice"), ANSWERING["right"], tests, "f") for number in range(3)]
    for (_, name), verdict in run(jobs, workers=1, limits=short):
        expected = alone.get(name, alone["right"])
        assert verdict.model_copy(update={"seconds": 0.0}) == expected.model_copy(update={"seconds": 0.0}), name


@pytest.mark.parametrize("thief", ["reads_earlier_answers", "reads_earlier_programs"])
@pytest.mark.parametrize(
    "test", [Assertion(statement="assert f(3) == 48611"), Call(arguments="(3,)", expected="48611")]
)
def test_a_program_finds_nothing_of_earlier_programs(test, thief):
    right = f"def f(x):\n    return 48611  # {'a text that is long enough to lie somewhere in memory ' * 9}"
    thief = (Path(__file__).parents[1] / "hostile" / f"{thief}.py").read_text()
    jobs = [Job(number, right if number < 3 else thief, (test,), "f") for number in range(5)]
    passed = {number: verdict.passed for number, verdict in run(jobs, workers=1)}
    assert passed == {0: True, 1: True, 2: True, 3: False, 4: False}
