"""The sandbox: verdicts, feedback, limits, and what no program may get away with."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ledexlib import sandbox
from ledexlib.sandbox import Assertion, Call, Check, InputOutput, Job, Limits, run, run_one
from ledexlib.sandbox.host.pool import Pool

SQUARES = tuple(Assertion(statement=f"assert f({n}) == {n * n}") for n in (2, 3, 4))
SHORT = Limits(timeout=1.0)


def verdicts(programs, tests=SQUARES, limits=SHORT, entry_point="f", **options):
    jobs = [Job(name, program, tests, entry_point, **options) for name, program in programs.items()]
    return dict(run(jobs, limits=limits))


def verdict(program, tests=SQUARES, limits=SHORT, entry_point="f", **options):
    return verdicts({0: program}, tests, limits, entry_point, **options)[0]


FEEDBACK = {
    "wrong value": ("def f(x): return x + x", "failed", 1, "assert f(3) == 9\ngot 6, expected 9"),
    "exception": (
        "def f(x):\n    y = x\n    return y + 'a'", "error", 0,
        "assert f(2) == 4\nTypeError: unsupported operand type(s) for +: 'int' and 'str'\nline 3, in f: return y + 'a'",
    ),
    "exception in one test": (
        "def f(x):\n    return {2: 4, 4: 16}[x]", "error", 2,
        "assert f(3) == 9\nKeyError: 3\nline 2, in f: return {2: 4, 4: 16}[x]",
    ),
    "syntax": ("x = 1\ndef f(x:\n", "error", 0, "SyntaxError: '(' was never closed\nline 2: def f(x:"),
    "missing": ("def g(x): return x", "error", 0, "assert f(2) == 4\nNameError: name 'f' is not defined"),
    "loading": ("import nothing_of_this_name", "error", 0,
                "ModuleNotFoundError: No module named 'nothing_of_this_name'\nline 1: import nothing_of_this_name"),
    "input": ("n = int(input())", "error", 0, "EOFError: EOF when reading a line\nline 1: n = int(input())"),
    "sys.exit": ("import sys\nsys.exit(0)", "error", 0, "SystemExit: 0\nline 2: sys.exit(0)"),
    "exit in test": ("def f(x): exit()", "error", 0,
                     "assert f(2) == 4\nSystemExit: None\nline 1, in f: def f(x): exit()"),
    "os._exit": ("import os\ndef f(x): os._exit(0)", "error", 0,
                 "assert f(2) == 4\nthe process exited with status 0 before the end of test 1 of 3"),
    "crash": ("import ctypes\ndef f(x): return x * x if x < 4 else ctypes.string_at(0)", "error", 2,
              "assert f(4) == 16\nthe process was killed by SIGSEGV before the end of test 3 of 3"),
    "endless": ("def f(x):\n    while x == 4: pass\n    return x * x", "timeout", 2,
                "assert f(4) == 16\ntimed out after test 2 of 3"),
    "endless load": ("while True: pass", "timeout", 0,
                     "timed out while the program was loading, before the first test"),
    "asleep": ("import time\ndef f(x): time.sleep(99)", "timeout", 0, "assert f(2) == 4\ntimed out in the first test"),
    "recursion": ("def f(x): return f(x)", "error", 0,
                  "assert f(2) == 4\nRecursionError: maximum recursion depth exceeded\n"
                  "line 1, in f: def f(x): return f(x)"),
    "memory": ("def f(x): return [0] * 10**10", "error", 0,
               "assert f(2) == 4\nMemoryError\nline 1, in f: def f(x): return [0] * 10**10"),
    "address": ("def f(x): return object()", "failed", 0, "assert f(2) == 4\ngot <object object at 0x…>, expected 4"),
}  # fmt: skip


@pytest.fixture(scope="module")
def feedback():
    return verdicts({name: row[0] for name, row in FEEDBACK.items()})


@pytest.mark.parametrize("name", FEEDBACK)
def test_what_went_wrong_is_told(feedback, name):
    _, status, n_passed, text = FEEDBACK[name]
    got = feedback[name]
    assert (got.status, got.n_passed, got.n_tests, got.feedback) == (status, n_passed, 3, text)


def test_a_right_program_passes():
    got = verdict("def f(x): return x * x")
    assert (got.status, got.n_passed, got.n_tests, got.feedback) == ("passed", 3, 3, "")


FRAMES = """
import os, struct
for fd in range(3, 64):
    for kind, test in ((b'P', 0), (b'P', 1), (b'P', 2), (b'Z', 0)):
        try: os.write(fd, struct.pack('<cIQ', kind, test, 16) + b'0' * 16)
        except OSError: pass
os._exit(0)
"""
GARBAGE = """
import os
for fd in range(3, 64):
    try: os.write(fd, bytes([255]) * 4096)
    except OSError: pass
def f(x): return x * x
"""
FORGERIES = {
    "atexit": "import atexit, os\natexit.register(lambda: os._exit(0))\ndef f(x): return 0",
    "exit in a thread": "import os, threading\nthreading.Timer(0.1, os._exit, [0]).start()\ndef f(x):\n  while 1: 0",
    "printed": "print('passed 3 of 3')\nraise SystemExit",
    "frames on every descriptor": FRAMES,
    "garbage on every descriptor": GARBAGE,
    "exec": "import os\nos.execv('/bin/true', ['true'])",
    "exception group": "def f(x): raise BaseExceptionGroup('all', [KeyboardInterrupt()])",
    "interrupt": "def f(x): raise KeyboardInterrupt",
}


def test_leaving_early_and_forging_is_no_pass():
    got = verdicts(FORGERIES)
    assert {name for name in FORGERIES if got[name].passed} == set()
    assert {name for name in FORGERIES if got[name].status == "infra"} == set()


def test_returned_objects_are_compared_as_the_plain_data_they_hold():
    tests = (Call(arguments="(2,)", expected="4"), Call(arguments="(3,)", expected="9"))
    always = "__eq__ = lambda s, o: True\n    __ne__ = lambda s, o: False\n    __hash__ = None"
    got = verdicts(
        {
            "object": f"class A:\n    {always}\ndef f(x): return A()",
            "int": f"class A(int):\n    {always}\ndef f(x): return A(5)",
            "right int": f"class A(int):\n    {always}\ndef f(x): return A(x * x)",
        },
        tests,
    )
    assert [got[name].n_passed for name in ("object", "int", "right int")] == [0, 0, 2]
    assert got["object"].feedback == "f(2)\ngot <program.A object at 0x…>, expected 4"


def test_every_assert_of_a_check_is_a_test():
    source = """
METADATA = {}
def close(a, b):
    return abs(a - b) < 1e-6
def check(candidate):
    # the first comment
    assert candidate(1) == 1, "one"
    assert close(candidate(2), 4)
    assert 9 == candidate(3)
    for n in range(4, 8):
        assert candidate(n) == n * n
    assert not candidate(0)
    assert isclose(candidate(1.5), 2.25)
    assert candidate(5) in (24, 26), "wrong on purpose"
"""
    got = verdict("def f(x): return x * x if x < 6 else 7", (Check(source=source),), setup="from math import isclose")
    assert (got.status, got.n_passed, got.n_tests) == ("failed", 5, 7)
    assert got.feedback == "assert f(n) == n * n\ngot 7, expected 36"
    got = verdict("def f(x): return x", (Check(source=source),), setup="from math import isclose")
    assert (got.n_passed, got.feedback) == (2, "assert close(f(2), 4)\ngot False, expected a true value")


def test_asserts_in_a_loop_cannot_fail_for_ever():
    tests = (Assertion(statement="for n in range(10**9):\n    assert f(n) == n\n    if n > 99: break"),)
    got = verdict("import time\ndef f(x):\n    time.sleep(0.1)\n    return -1", tests)
    assert (got.status, got.n_tests) == ("failed", 1)


def test_the_tests_own_control_flow_keeps_its_meaning():
    raises = "try:\n    f(-1)\n    assert False, 'no error'\nexcept ValueError:\n    pass"
    branch = "if f(2) == 4:\n    assert f(3) == 9\nelse:\n    assert False"
    helper = "def same(a, b):\n    assert a == b\nsame(f(2), 4)\nsame(f(3), 9)"
    tests = tuple(Assertion(statement=text) for text in (raises, branch, helper))
    good = "def f(x):\n    if x < 0: raise ValueError(x)\n    return x * x"
    got = verdicts({"good": good, "lax": "def f(x): return x * x", "wrong": good.replace("x * x", "4")}, tests)
    assert (got["good"].status, got["good"].n_tests) == ("passed", 4)
    assert got["lax"].status == "failed"
    assert got["lax"].feedback == "assert False, 'no error'\nthe assertion failed: no error"
    assert got["wrong"].status == "failed"


def test_a_test_cut_short_fails_what_it_did_not_reach():
    tests = (Assertion(statement="assert f(1) == 1\nvalue = f(0)[0]\nassert value == 1\nassert f(2) == 4"),)
    got = verdict("def f(x): return x * x", tests)
    assert (got.status, got.n_passed, got.n_tests) == ("error", 1, 3)
    assert got.feedback == "assert value == 1\nTypeError: 'int' object is not subscriptable"


def test_a_class_is_bound_once_and_keyword_arguments_work():
    source = "def check(candidate):\n    assert candidate(n=1) == 1\n    assert candidate(n=1) == 2"
    program = "class Solution:\n    sum = 0\n    def add(self, n):\n        self.sum += n\n        return self.sum"
    assert verdict(program, (Check(source=source),), entry_point="Solution().add").passed
    calls = (Call(arguments="(1,)", expected="1"), Call(arguments="(1,)", expected="2"))
    assert verdict(program, calls, entry_point="Solution().add").passed


def test_calls_compare_with_the_reference():
    tests = (
        Call(arguments="([3, 1, 2],)"),
        Call(arguments="([],)"),
        Call(arguments="([nan, inf],)", tolerance=1e-6),
        Call(arguments="([0.5],)", tolerance=1e-6),
    )
    reference = "def f(x): return [v * 3 for v in x]"
    programs = {
        "same": "def f(x):\n    for i in range(len(x)): x[i] *= 3\n    return x",
        "close": "def f(x): return [v + v + v * 1.0000000001 for v in x]",
        "tuple": "def f(x): return tuple(v * 3 for v in x)",
        "generator": "def f(x): return (v * 3 for v in x)",
    }
    got = verdicts(programs, tests, reference=reference)
    assert got["same"].status == "passed"
    assert got["close"].n_passed == 3
    assert got["tuple"].feedback == "f([3, 1, 2])\ngot (9, 3, 6), expected [9, 3, 6]"
    assert got["generator"].feedback.startswith("f([3, 1, 2])\ngot <generator object f.<locals>.<genexpr> at 0x…>")


def test_a_reference_that_fails_is_nobodys_wrong_program():
    got = verdict("def f(x): return x", (Call(arguments="(1,)"),), reference="def f(x): raise ValueError('no')")
    assert got.status == "infra"
    assert "the reference gives no expected value" in got.feedback
    got = verdict("def f(x): return x", (Call(arguments="(1,)"),))
    assert (got.status, got.n_tests) == ("infra", 1)


def test_big_results_pass_and_fail():
    tests = (Call(arguments="(200_000,)"), Call(arguments="(1,)"))
    reference = "def f(n): return [i % 7 for i in range(n)]"
    got = verdicts(
        {"same": reference, "last differs": reference + "[:-1] + [8]"}, tests, Limits(timeout=5), reference=reference
    )
    assert got["same"].passed
    assert (got["last differs"].status, got["last differs"].n_passed) == ("failed", 0)
    assert len(got["last differs"].feedback) < 600
    flood = verdict("def f(n): return list(range(10**6))", (Call(arguments="(1,)", expected="4"),), Limits(timeout=5))
    assert flood.feedback == "f(1)\ngot a value that is far too large (5000005 bytes)"


IO = (InputOutput(stdin="1 2\n", stdout="3"), InputOutput(stdin="40 5\n", stdout="45\n"))


def test_stdin_programs_run_as_main():
    got = verdicts(
        {
            "main": "if __name__ == '__main__':\n    a, b = map(int, input().split())\n    print(a + b)",
            "buffer": "import sys\nprint(sum(map(int, sys.stdin.buffer.read().split())), end='')\nsys.exit()",
            "descriptor": "import os\nos.write(1, str(sum(map(int, os.read(0, 99).split()))).encode())\nos._exit(0)",
            "thread": "from threading import Thread\n"
            "Thread(target=lambda: print(sum(map(int, input().split())))).start()",
            "at exit": "import atexit, io, sys\nout = sys.stdout = io.StringIO()\n"
            "atexit.register(lambda: sys.__stdout__.write(out.getvalue()))\nprint(sum(map(int, input().split())))",
            "constant": "print(3)",
            "fails": "a, b = input().split()\nprint(a + b + c)",
            "status": "print(sum(map(int, input().split())))\nexit(3)",
            "silent": "",
        },
        IO,
        entry_point=None,
    )
    right = ("main", "buffer", "descriptor", "thread", "at exit")
    assert [name for name in got if got[name].passed] == [name for name in got if name in right]
    assert (got["constant"].n_passed, got["constant"].feedback) == (
        1, "input:\n40 5\noutput:\n3\nexpected output:\n45"
    )  # fmt: skip
    assert got["fails"].feedback == "input:\n1 2\nNameError: name 'c' is not defined\nline 2: print(a + b + c)"
    assert got["status"].feedback == "input:\n1 2\nthe process exited with status 3"


def test_output_is_cut():
    got = verdict("while True: print('x' * 10**6)", IO, Limits(timeout=0.5, output_bytes=1 << 20), entry_point=None)
    assert (got.status, got.n_passed, got.n_tests) == ("timeout", 0, 2)
    got = verdict("print('x' * 10**7)", IO, Limits(timeout=5, output_bytes=1 << 20), entry_point=None)
    assert got.feedback == f"input:\n1 2\nthe output was cut after {1 << 20} bytes"


def processes(text: str) -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if text in entry.read_bytes().decode("utf-8", "replace"):
                found.append(entry.parent.name)
        except OSError:  # it has gone meanwhile
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for processes in /proc")
def test_nothing_outlives_its_program():
    token = f"ledex-test-{os.getpid()}"
    daemon = (
        "import os, subprocess\ndef f(x):\n"
        f"    subprocess.Popen(['sleep', '98', '{token}'], start_new_session=True)\n"
        f"    subprocess.Popen(['bash', '-c', 'setsid sleep 98 # {token}'])\n"
        "    if os.fork() == 0:\n        os.setsid()\n        if os.fork() == 0:\n"
        f"            os.execvp('python3', ['python3', '-c', 'import time; time.sleep(98)', '{token}'])\n"
        "        os._exit(0)\n"
        "    return x * x"
    )
    assert verdict(daemon).passed
    assert processes(token) == []


def test_files_left_behind_are_gone():
    leave = "import os\nopen('left', 'w').write('x')\nos.makedirs('a/b')\nos.chmod('a', 0)\ndef f(x): return x * x"
    find = "import os\nassert os.listdir() == [], os.listdir()\ndef f(x): return x * x"
    remove = "import os\nos.rmdir(os.getcwd())\ndef f(x): return x * x"
    jobs = [Job(i, program, SQUARES, "f") for i, program in enumerate([leave, find, remove, find, leave, remove, find])]
    with Pool(1, SHORT) as pool:
        assert [v.status for _, v in pool.verdicts(jobs)] == ["passed"] * 7
        folder = Path(pool.workers[0].folder)
        assert folder.exists()
    assert not folder.exists()


MURDER = "import os\ndef f(x): os.kill(os.getppid(), 9)"
STOP = "import os, signal\ndef f(x):\n    os.kill(os.getppid(), signal.SIGSTOP)\n    return x * x"
RIGHT = "def f(x): return x * x"


def test_without_isolation_a_killed_worker_is_replaced_and_its_job_given_up_and_a_stopped_one_goes_on():
    programs = {0: RIGHT, "murder": MURDER, 1: RIGHT, "stop": STOP, **dict.fromkeys(range(2, 9), RIGHT)}
    with Pool(2, SHORT, layers=()) as pool:
        got = dict(pool.verdicts(Job(name, program, SQUARES, "f") for name, program in programs.items()))
    assert (got["murder"].status, got["murder"].n_tests) == ("infra", 3)
    assert got["stop"].passed
    assert all(got[number].passed for number in range(9))


def test_with_isolation_nobody_is_killed_or_stopped():
    with Pool(1, SHORT) as pool:
        got = dict(pool.verdicts(Job(p, p, SQUARES, "f") for p in (RIGHT, MURDER, STOP, RIGHT + "\n")))
        if not {"pid_namespace", "seccomp"} & {name for name, why in pool.workers[0].layers.items() if not why}:
            pytest.skip("neither PID namespaces nor seccomp here")
    assert [got[p].status for p in (RIGHT, RIGHT + "\n")] == ["passed", "passed"]
    assert got[MURDER].status in ("failed", "error")


def test_a_worker_killed_from_outside_costs_no_verdict():
    jobs = [Job(i, "import time\ntime.sleep(0.02)\ndef f(x): return x * x", SQUARES, "f") for i in range(40)]
    with Pool(2, Limits()) as pool:
        got = {}
        for name, verdict in pool.verdicts(jobs):
            got[name] = verdict.status
            if len(got) == 5:
                pool.workers[0].process.kill()
    assert got == dict.fromkeys(range(40), "passed")


def test_a_slow_consumer_makes_no_time_out():
    jobs = [Job(i, "def f(x): return x * x", SQUARES, "f") for i in range(8)]
    statuses = []
    for _, verdict in run(jobs, limits=Limits(timeout=0.3)):
        time.sleep(0.4)
        statuses.append(verdict.status)
    assert statuses == ["passed"] * 8


def test_jobs_are_taken_as_workers_become_free():
    taken = []

    def endless():
        while True:
            taken.append(len(taken))
            yield Job(len(taken), "def f(x): return x * x", SQUARES, "f")

    results = run(endless(), limits=SHORT)
    for _ in range(20):
        assert next(results)[1].passed
    results.close()
    assert len(taken) < 40


def test_programs_see_none_of_the_callers_modules_or_environment(monkeypatch):
    monkeypatch.setenv("LEDEX_SECRET", "1")
    program = (
        "import os, sys\n"
        "files = [getattr(module, '__file__', None) or '' for module in sys.modules.values()]\n"
        "ours = [p for p in (*files, *sys.path, *sys.path_importer_cache) if p.startswith(FOLDER)]\n"
        "names = {name.partition('.')[0] for name in sys.modules}\n"
        "others = names & {'torch', 'numpy', 'pydantic', 'ledexlib', '_sandbox'}\n"
        "def f(x): return [ours, others, os.environ.get('LEDEX_SECRET')]\n"
    ).replace("FOLDER", repr(str(Path(sandbox.__file__).parent)))
    assert verdict(program, (Call(arguments="(0,)", expected="[[], set(), None]"),)).passed


@pytest.mark.parametrize(
    ("tests", "fault"),
    [
        ((), "the problem has no tests"),
        ((Assertion(statement="assert f( == 1"),), "the test does not compile"),
        ((Check(source="def verify(c): pass"),), "no function 'check'"),
        ((Call(arguments="(os.sep,)", expected="1"),), "not a Python literal"),
        ((Call(arguments="[1]", expected="1"),), "arguments must be a tuple"),
        ((Call(arguments="(1,)", expected="1"), *IO), "cannot be mixed"),
    ],
)
def test_unusable_tests_are_not_the_programs_fault(tests, fault):
    got = verdict("def f(x): return x", tests)
    assert got.status == "infra"
    assert fault in got.feedback


def test_a_setup_that_fails_is_not_the_programs_fault():
    got = verdict("def f(x): return x * x", setup="import nothing_of_this_name")
    assert (got.status, got.n_tests) == ("infra", 3)


def test_feedback_names_no_path_of_the_harness():
    got = verdict("import os\ndef f(x): raise OSError(os.getcwd() + '/a')")
    assert got.feedback == (
        "assert f(2) == 4\nOSError: ./a\nline 2, in f: def f(x): raise OSError(os.getcwd() + '/a')"
    )


def test_limits_are_checked():
    with pytest.raises(ValueError, match="timeout is 0 seconds"):
        Limits(timeout=0)
    with pytest.raises(ValueError, match="workers is 0"):
        list(run([], workers=0))


def test_one_program_alone():
    assert run_one(Job("x", "def f(x): return x * x", SQUARES, "f")).passed


def test_the_sandbox_can_be_a_package_of_its_own(tmp_path):
    shutil.copytree(Path(sandbox.__file__).parent, tmp_path / "lifted", ignore=shutil.ignore_patterns("__pycache__"))
    script = (
        "import sys\nfrom lifted import Assertion, Job, run_one\n"
        "job = Job(0, 'def f(x): return x', (Assertion(statement='assert f(2) == 2'),), 'f')\n"
        "print(run_one(job).status, 'ledexlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "passed False\n"
