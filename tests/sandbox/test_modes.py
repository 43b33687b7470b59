"""Where tests run: apart from the program, unless their own code or the reference shows that they cannot."""

import random

import pytest

from ledexlib.sandbox import Assertion, Call, Check, InputOutput, Job, Limits, run, run_one
from ledexlib.sandbox.host.isolation import doubt

PURSE = (
    "class Purse:\n    def __init__(self, n): self.n = n\n    def __eq__(self, other): return self.n == other.n\n"
    "    def __lt__(self, other): return self.n < other.n\n    def __contains__(self, n): return n <= self.n\n"
    "    def __enter__(self): return self\n    def __exit__(self, *_): self.n = 0\n"
)
IN_PROCESS = {
    "operators": (PURSE, "assert Purse(1) == Purse(1) and Purse(1) < Purse(2) and 1 in Purse(3)"),
    "sorted objects": (PURSE, "assert [p.n for p in sorted([Purse(2), Purse(1)])] == [1, 2]"),
    "a context manager": (PURSE, "p = Purse(3)\nwith p as q:\n    assert q.n == 3\nassert p.n == 0"),
    "an exception of one's own": (
        "class NoFunds(Exception): pass\ndef f(x): raise NoFunds(x)",
        "try:\n    f(1)\n    assert False\nexcept NoFunds as e:\n    assert e.args == (1,)",
    ),
    "caught output": (
        "def f(x): print(x)",
        "import contextlib, io\nout = io.StringIO()\nwith contextlib.redirect_stdout(out):\n    f(3)\n"
        "assert out.getvalue() == '3\\n'",
    ),
    "patched input": (
        "def f(): return int(input())",
        "from unittest import mock\nwith mock.patch('builtins.input', return_value='4'):\n    assert f() == 4",
    ),
    "a shared seed": ("import random\ndef f(): return random.random()",
                      "import random\nrandom.seed(5)\nx = f()\nrandom.seed(5)\nassert random.random() == x"),
    "a file": ("def f(): open('a', 'w').write('x')", "f()\nassert open('a').read() == 'x'"),
    "a coroutine": ("async def f(x): return x + 1", "import asyncio\nassert asyncio.run(f(1)) == 2"),
    "a kept list": ("L = []\ndef f(): return L", "f().append(1)\nassert f() is f() and f() == [1]"),
    "a function of the tests": ("def f(g): return g(2)", "assert f(lambda x: x + 1) == 3"),
}  # fmt: skip
PROXY = {
    "plain values": ("def f(x): return [x]", "assert f(1) == [1] and f(None) is not None"),
    "identity of an argument": ("def f(x): return x", "l = [1]\nassert f(l) is l"),
    "builtin exceptions": (
        "def f(x): raise ValueError(x)",
        "import unittest\nt = unittest.TestCase()\nwith t.assertRaises(ValueError):\n    f(1)",
    ),
    "constants in capitals": ("MAX = 3\ndef f(): return MAX", "assert f() == MAX"),
    "modules used on values": ("import math\ndef f(x): return math.pi", "assert math.isclose(f(1), 3.14159265358979)"),
}


def verdict(program, statement, **options):
    return run_one(Job(0, program, (Assertion(statement=statement),), "f", **options), Limits(timeout=3))


@pytest.mark.parametrize("name", IN_PROCESS)
def test_what_proxies_cannot_do_runs_in_the_programs_process_and_passes(name):
    got = verdict(*IN_PROCESS[name])
    assert (got.status, got.mode, got.feedback) == ("passed", "in_process", "")


@pytest.mark.parametrize("name", PROXY)
def test_all_else_runs_apart(name):
    got = verdict(*PROXY[name])
    assert (got.status, got.mode, got.feedback) == ("passed", "proxy", "")


def test_a_reference_settles_a_doubt():
    calls = "assert Purse(1).n == 1"
    assert verdict(PURSE, calls).mode == "in_process"
    assert verdict(PURSE, calls, reference=PURSE).mode == "proxy"
    compares = "assert Purse(1) == Purse(1)"
    assert verdict(PURSE, compares, reference=PURSE).mode == "in_process"
    assert verdict("class Purse:\n    def __init__(self, n): pass", compares, reference=PURSE).mode == "in_process"
    assert verdict(PURSE, compares, reference="class Purse: pass").mode == "proxy"  # it fails everywhere


def test_a_problem_can_name_its_mode():
    assert verdict("def f(x): return x", "assert f(1) == 1", isolation="in_process").mode == "in_process"
    got = verdict("def f(g): return g(1)", "assert f(lambda x: x) == 1", isolation="proxy")
    assert (got.status, got.mode) == ("infra", "proxy")
    assert "cannot be sent to another process" in got.feedback


@pytest.mark.parametrize("use", ["iter(f(1))", "map(str, f(1))", "zip(f(1))", "enumerate(f(1))", "type(f(1))"])
def test_no_program_chooses_the_mode_for_those_after_it(use):
    tests = (Assertion(statement=f"assert f({use}) == 1"),)
    odd = "def f(x): return iter([x]) if x == 1 else lambda: 1"
    jobs = [Job(number, program, tests, "f") for number, program in enumerate([odd, "def f(x): return [1]", odd])]
    assert {verdict.mode for _, verdict in run(jobs, workers=1, limits=Limits(timeout=2))} == {"proxy"}


def test_an_answer_is_never_sent_ahead_to_another_program():
    """The second program answers from an argument that only the first one's answer could have put there."""
    tests = (Assertion(statement="x = f(1)\nassert g(x) == 1\nassert x == 48611"),)
    right = "def f(x): return 48611\ndef g(x): return 1"
    thief = (
        "import sys\ndef f(x):\n    number, frame = int('486' + '11'), sys._getframe().f_back\n"
        "    while frame:\n        if number.to_bytes(4, 'little') in repr(frame.f_locals).encode('latin-1', 'ignore')"
        " or any(number.to_bytes(4, 'little') in r for v in frame.f_locals.values() if isinstance(v, dict)"
        " for r in v.get('inputs', ())): return number\n        frame = frame.f_back\n    return 0\n"
        "def g(x): return 1"
    )
    jobs = [Job(number, program, tests, "f") for number, program in enumerate([right, right, thief])]
    got = dict(run(jobs, workers=1))
    assert [got[number].passed for number in range(3)] == [True, True, False]


def test_deep_copies_and_loops_that_go_on_are_the_same_however_the_tests_run():
    program = "def f(n):\n    yield from range(n)\ndef g(): return [[1]]"
    statement = (
        "import copy\nx = f(9)\nfor n in x:\n    if n == 3: break\nassert next(x) == 4\n"
        "assert copy.deepcopy(g()) == [[1]]\nassert list(x) == [5, 6, 7, 8]"
    )
    jobs = [Job(number, f"{program}\n# {number}", (Assertion(statement=statement),), "f") for number in range(3)]
    assert {verdict.status for _, verdict in run(jobs, workers=1)} == {"passed"}


@pytest.mark.parametrize(
    "program",
    [
        "import os, struct, marshal\nfor fd in range(3, 64):\n    try: os.write(fd, struct.pack('<cIQ', b'S', 0, 0))\n"
        "    except OSError: pass\nos._exit(0)",
        "raise SystemExit", "def f(x): raise KeyboardInterrupt", "def f(x): raise GeneratorExit", "def f(x): exit()",
        "def f(x): raise ValueError('\\ud83d')",
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "tests",
    [
        (Call(arguments="(2,)", expected="4"),),
        (Assertion(statement="assert f(2) == 4"), Call(arguments="(2,)", expected="4")),
        (Check(source="def check(candidate):\n    assert candidate(2) == 4"),),
        (InputOutput(stdin="2", stdout="4"),),
    ],
    ids=["call", "both", "check", "io"],
)
def test_no_program_leaves_scoring(program, tests):
    entry = None if tests[0].kind == "io" else "f"
    got = run_one(Job(0, program, tests, entry, setup="import math"), Limits(timeout=2))
    assert got.status in ("failed", "error")
    assert got.model_dump_json()


def test_random_frames_never_raise_in_the_harness():
    chance = random.Random(0)
    kinds = [bytes([kind]) for kind in b"SLRPFEVGOZX\0"]
    values = [None, 1, 10**5000, "\ud83d", b"x", (), ("Boom", "m", 1, "f"), ("h", -1, "a"), [[[]]], {1: 2}]
    tests = (Assertion(statement="assert f(2) == 48611"), Call(arguments="(3,)", expected="62303"))
    jobs = []
    for number in range(40):
        frames = [(chance.choice(kinds), chance.choice((0, 1, 2**32 - 1)), chance.choice(values)) for _ in range(30)]
        program = (
            "import os, struct, marshal, sys\nsys.set_int_max_str_digits(0)\n"
            f"out = b''\nfor kind, index, value in {_source(frames)}:\n    data = marshal.dumps(value, 2)\n"
            "    out += struct.pack('<cIQ', kind, index, len(data)) + data\n"
            "for fd in range(3, 64):\n    try: os.write(fd, out)\n    except OSError: pass\ndef f(x): return 0"
        )
        jobs.append(Job(number, program, tests if number % 2 else tests[1:], "f"))
    for _, got in run(jobs, limits=Limits(timeout=1)):
        assert got.status in ("failed", "error", "timeout"), got
        assert got.n_passed == 0
        got.model_dump_json()


def _source(frames):
    return "[" + ", ".join(
        f"({kind!r}, {index}, {'10**5000' if isinstance(value, int) and value > 9 else ascii(value)})"
        for kind, index, value in frames
    ) + "]"


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("", "the test is empty"), ("pass", "the test is empty"), ("'a text'", "the test is empty"),
        ("assert True", "asserts nothing about the program"), ("assert 1 == 1", "asserts nothing about the program"),
    ],
)
def test_tests_that_test_nothing_are_refused(statement, why):
    got = verdict("def f(x): return x", statement)
    assert got.status == "infra"
    assert why in got.feedback


def test_a_check_that_never_uses_its_candidate_is_refused():
    got = run_one(Job(0, "def f(): pass", (Check(source="def check(candidate):\n    assert len([1]) == 1"),), "f"))
    assert got.status == "infra"


def test_code_that_runs_programs_apart_has_no_doubt():
    import ast

    source = "from typing import *\nx: List[int] = [1]\nassert f(x) == Optional"
    assert doubt(list(ast.walk(ast.parse(source))), {"List", "Optional", "x"}) == ""
