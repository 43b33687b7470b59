"""The layers that keep programs apart from the machine: which are active, what each does, and that none is needed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ledexlib.__main__ import main
from ledexlib.sandbox import LAYERS, Call, Job, Limits, layers_here
from ledexlib.sandbox.host.pool import Pool

ACTIVE = {name for name, why in layers_here().items() if not why}
LIMITS = Limits(timeout=5, memory_mb=256)
LINUX = sys.platform.startswith("linux")


def told(program, layers=LAYERS):
    """What a function of no arguments returns, as the feedback shows it."""
    tests = (Call(arguments="()", expected="'nothing'"),)
    with Pool(1, LIMITS, layers) as pool:
        ((_, verdict),) = pool.verdicts([Job(0, program, tests, "f")])
    return verdict.feedback.removeprefix("f()\ngot ").removesuffix(", expected 'nothing'")


def attempt(code, imports="os"):
    body = "\n".join("        " + line for line in code.splitlines())
    caught = "    except OSError as error:\n        return type(error).__name__\n"
    return told(f"import {imports}\ndef f():\n    try:\n{body}\n{caught}")


def needs(*layers):
    return pytest.mark.skipif(not set(layers) & ACTIVE, reason=f"none of {', '.join(layers)} is possible here")


def test_the_command_lists_every_layer(capsys):
    assert main(["sandbox"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(LAYERS)
    assert {line.split()[0] for line in lines if line.split()[1] == "yes"} == ACTIVE
    assert "rlimits" in ACTIVE


@pytest.mark.skipif(not LINUX, reason="layers of Linux")
def test_what_is_not_wanted_is_not_done():
    with Pool(1, LIMITS, ("rlimits", "no_new_privs")) as pool:
        list(pool.verdicts([Job(0, "def f(): pass", (Call(arguments="()", expected="1"),), "f")]))
        states = pool.workers[0].layers
    assert {name for name, why in states.items() if not why} == {"rlimits", "no_new_privs"}


@needs("no_new_privs")
def test_no_new_privileges_and_no_look_into_the_parent():
    assert attempt("return [l.split()[1] for l in open('/proc/self/status') if 'NoNewPrivs' in l]") == "['1']"
    assert attempt("return open(f'/proc/{os.getppid()}/mem', 'rb').read(1)") == "'PermissionError'"


@needs("seccomp", "network_namespace")
def test_no_network():
    connect = "socket.create_connection(('127.0.0.1', 9), 0.2)"
    assert attempt(connect, "socket") in ("'PermissionError'", "'ConnectionRefusedError'", "'OSError'")


@needs("seccomp")
@pytest.mark.parametrize("call", ["socket.socket()", "socket.socket(socket.AF_UNIX)", "os.setpriority(0, 0, 5)"])
def test_refused_system_calls(call):
    assert attempt(call, "os, socket") == "'PermissionError'"


@needs("seccomp")
def test_refused_system_calls_without_functions_in_python():
    program = "import ctypes, os\ndef f():\n    libc = ctypes.CDLL(None, use_errno=True)\n"
    program += "    return [{}, ctypes.get_errno()]"
    for call in ("libc.unshare(0x10000000)", "libc.ptrace(16, os.getppid(), 0, 0)", "libc.shmget(1, 4096, 0o1600)"):
        assert told(program.format(call)) == "[-1, 1]"


@needs("pid_namespace")
def test_other_processes_are_out_of_sight():
    assert attempt("return [os.getppid(), sorted(map(int, filter(str.isdigit, os.listdir('/proc'))))[0]]") == "[1, 1]"


@needs("mount_namespace", "landlock")
def test_files_of_others_are_out_of_reach(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("48611")
    assert attempt(f"return open({str(secret)!r}).read()") in ("'FileNotFoundError'", "'PermissionError'")
    assert attempt(f"open({str(secret)!r}, 'w')") != "None"
    assert attempt("open('/tmp/ledex-hostile-here', 'w')") in ("'PermissionError'", "'OSError'")
    assert attempt(f"return os.listdir({str(Path(__file__).parent)!r})") != "[]"
    assert secret.read_text() == "48611"


@needs("mount_namespace")
def test_scratch_files_are_bounded_together():
    fill = "for n in range(100):\n    open(f'{n}', 'wb').write(bytes(1 << 20))"
    assert attempt(fill) == "'OSError'"


@needs("unprivileged", "user_namespace")
def test_programs_are_not_root():
    assert attempt("return [os.getuid() == 0, os.geteuid() == 0]") == "[False, False]"


@needs("landlock", "mount_namespace")
def test_what_python_needs_is_there():
    program = (
        "import decimal, hashlib, json, sqlite3, subprocess, tempfile, unicodedata\ndef f():\n"
        "    with tempfile.NamedTemporaryFile('w+') as file:\n        print('x', file=file, flush=True)\n"
        "        return subprocess.run(['cat', file.name], capture_output=True, text=True).stdout\n"
    )
    assert told(program) == r"'x\n'"


@pytest.mark.parametrize("missing", [*LAYERS, "pid_namespace mount_namespace", " ".join(LAYERS)])
def test_no_layer_is_needed_by_another(missing):
    program = "import os\ndef f():\n    open('a', 'w').close()\n    return os.listdir()"
    assert told(program, [name for name in LAYERS if name not in missing.split()]) == "['a']"


@pytest.mark.skipif(not LINUX or os.getuid() != 0, reason="plays a user without privileges, which only root can")
def test_a_user_without_privileges_has_layers_too():
    words = ["unshare", "--user", "--map-user=1000", "--map-group=1000", sys.executable, "-m", "ledexlib", "sandbox"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode and "unshare" in done.stderr:
        pytest.skip("no user namespaces here")
    states = {line.split()[0]: line.split()[1] for line in done.stdout.splitlines()}
    assert states["user_namespace"] == states["pid_namespace"] == states["mount_namespace"] == "yes"
    assert states["unprivileged"] == "no"


def descriptors():
    return len(os.listdir("/proc/self/fd")) if LINUX else 0


def memory():
    fields = Path("/proc/self/status").read_text().split() if LINUX else ["VmRSS:", "0"]
    return int(fields[fields.index("VmRSS:") + 1])


@pytest.mark.parametrize("count", [600])
def test_many_programs_leave_nothing(count):
    """LEDEX_MANY=20000 in the environment runs so many."""
    count = int(os.environ.get("LEDEX_MANY", count))
    right = "def f(x): return x * x"
    programs = (right, "def f(x): return [x] * 300_000", "raise SystemExit", "import os; os._exit(3)")
    tests = tuple(Call(arguments=f"({n},)", expected=str(n * n)) for n in range(3))
    jobs = (Job(number, programs[number % 50 % 4 if number % 50 < 4 else 0], tests, "f") for number in range(count))
    before, seen, passed = descriptors(), [], 0
    with Pool(2, Limits(timeout=5)) as pool:
        for done, (_, verdict) in enumerate(pool.verdicts(jobs)):
            passed += verdict.passed
            if done in (count // 3, count - 1):
                workers = [worker.process.pid for worker in pool.workers]
                running = [len(Path(f"/proc/{w}/task/{w}/children").read_text().split()) for w in workers if LINUX]
                seen.append((memory(), descriptors(), running))
    assert passed == count - 3 * (count // 50) - max(0, min(3, count % 50 - 1))
    (early, early_fds, early_running), (late, late_fds, late_running) = seen
    assert late - early < 20_000 + early // 10  # kilobytes
    assert late_fds <= early_fds + 2
    assert early_running == late_running or not LINUX
    assert descriptors() == before
