"""Programs written to deceive or to do harm: none passes, hangs, or leaves a process or a file behind.

Each file of tests/hostile/ says in its first line what it tries. Every one defines a function ``f`` that knows no
right answer, and is run against tests of every kind. What is missing on this machine (``python -m ledexlib sandbox``)
is not asked for: without layers that hide files, for example, files may be left.
"""

import os
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import pytest

from ledexlib.sandbox import Assertion, Call, Check, InputOutput, Job, Limits
from ledexlib.sandbox.host.pool import Pool

PROGRAMS = {path.stem: path.read_text() for path in sorted((Path(__file__).parents[1] / "hostile").glob("*.py"))}
ANSWERS = ((2, 48611), (3, 62303), (4, 93851))
MAIN = "\n\nif __name__ == '__main__':\n    print(f(int(input())))\n"
CHECK = """
def check(candidate):
    assert candidate(2) == 48611
    assert abs(candidate(3) - 62303) < 1e-6
    assert candidate(4) in (93851, 93853)
"""
TESTS = {
    "call": tuple(Call(arguments=f"({n},)", expected=str(value)) for n, value in ANSWERS),
    "assertion": tuple(Assertion(statement=f"assert f({n}) == {value}") for n, value in ANSWERS),
    "check": (Check(source=CHECK),),
    "io": tuple(InputOutput(stdin=f"{n}\n", stdout=f"{value}\n") for n, value in ANSWERS),
    "in process": tuple(Assertion(statement=f"assert f(lambda: {n}) == {value}") for n, value in ANSWERS),
}
LIMITS = Limits(timeout=0.5, memory_mb=128, output_bytes=1 << 20, processes=40)
LONGEST = 60.0  # seconds for a verdict on a busy machine
# The weaker mode runs tests in the program's process, and its verdicts say so: these programs forge a pass there.
FORGE_IN_PROCESS = {
    "disables_assert", "equal_to_all", "float_equal_to_all", "forged_frames", "int_equal_to_all", "list_equal_to_all",
    "pretends_a_class", "reads_frames",
}  # fmt: skip
PLACES = {Path(folder) for folder in ("/tmp", "/var/tmp", "/dev/shm", tempfile.gettempdir(), ".", Path.home())}
OUR_WORDS = ("ledexlib", "_sandbox", "service.py", "fork_server", "__recorder__", "__remote__")


def left_files() -> set[str]:
    return {str(path) for place in PLACES if place.is_dir() for path in place.glob("ledex-hostile*")}


def left_processes(folders: list[str]) -> list[str]:
    """Processes that come from these workers, by their command lines, which forks share, or by their own words."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = entry.read_bytes().decode("utf-8", "replace")
        except OSError:  # it has gone meanwhile
            continue
        if "ledex-hostile" in text or any(folder in text for folder in folders):
            found.append(text.replace("\0", " "))
    return found


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The verdicts on all programs by kind of test, the layers that were active, and what was left behind."""
    canaries = [Path(folder) / "ledex-canary" for folder in ("/tmp", "/var/tmp") if os.access(folder, os.W_OK)]
    for canary in canaries:
        canary.write_text("secret 48611")
    found = defaultdict(dict)
    slow = []
    with Pool(2, LIMITS) as pool:
        jobs = (
            Job((kind, name), program + (MAIN if kind == "io" else ""), tests, None if kind == "io" else "f")
            for kind, tests in TESTS.items()
            for name, program in PROGRAMS.items()
        )
        since = time.monotonic()
        for (kind, name), verdict in pool.verdicts(jobs):
            found[kind][name] = verdict
            if time.monotonic() - since > LONGEST:
                slow.append((kind, name))
            since = time.monotonic()
        layers = {name for name, why in pool.workers[0].layers.items() if not why}
        folders = [worker.folder for worker in pool.workers]
        running = [text for text in left_processes(folders) if "ledex-hostile" in text]
    time.sleep(2.2)  # the time that a daemon waits before it writes
    left = {
        "processes": running + left_processes(folders),
        "files": sorted(left_files()) + [folder for folder in folders if os.path.exists(folder)],
        "canaries": [str(c) for c in canaries if not c.is_file() or c.read_text() != "secret 48611"],
        "slow": slow,
    }
    for path in (*canaries, *map(Path, left_files())):
        path.unlink(missing_ok=True)
    return found, layers, left


def test_there_are_programs_and_each_says_what_it_tries():
    assert len(PROGRAMS) >= 40
    assert all(program.startswith("# Tries: ") for program in PROGRAMS.values())


@pytest.mark.parametrize("kind", TESTS)
def test_none_passes(results, kind):
    found, layers, _ = results
    verdicts = found[kind]
    assert set(verdicts) == set(PROGRAMS)
    assert {verdict.mode for verdict in verdicts.values()} == {"in_process" if kind == "in process" else "proxy"}
    forged = {name for name, verdict in verdicts.items() if verdict.passed or verdict.n_passed}
    assert forged - (FORGE_IN_PROCESS if kind == "in process" else set()) == set()
    if "pid_namespace" in layers:
        assert {name for name, verdict in verdicts.items() if verdict.status == "infra"} == set()


@pytest.mark.parametrize("kind", TESTS)
def test_what_they_did_is_told_in_short(results, kind):
    for name, verdict in results[0][kind].items():
        assert len(verdict.feedback) < 2000, name
        assert not any(word in verdict.feedback for word in OUR_WORDS), name


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for processes in /proc")
def test_none_hangs_or_leaves_anything(results):
    _, layers, left = results
    assert left["slow"] == []
    assert left["processes"] == []
    if {"landlock", "mount_namespace"} & layers:
        assert left["files"] == []
        assert left["canaries"] == []
