"""The caches of completions and verdicts: batches and seeds that a kill does not change, nothing drawn or run twice."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from ledexlib.models import Completion
from ledexlib.params import Params
from ledexlib.records import Assertion, Problem, Sampling, Trajectory, content_id
from ledexlib.repair import CompletionCache, VerdictCache, caches, longest_first
from ledexlib.repair.caches import in_order
from ledexlib.runs import JsonLines, Progress

PROMPTS = ["one", "three", "fifteen", "two", "eleven"]
SAMPLING = Sampling(temperature=0.7, max_tokens=9, seed=3)
IN_ORDER = in_order(2)


class Scripted:
    """A generator whose answers follow from prompt, seed and place, and which counts its calls."""

    name = "scripted"

    def __init__(self):
        self.calls = []

    def generate(self, prompts, n, sampling):
        self.calls.append((list(prompts), n, sampling))
        return [[Completion(f"{p} {sampling.seed} {k}", k + 1, k > 0) for k in range(n)] for p in prompts]


@pytest.fixture
def cache(tmp_path):
    """Opens the cache of one file, with all its generators in ``generators``."""

    def open_(seed=7, batching=IN_ORDER) -> CompletionCache:
        generator, progress = Scripted(), partial(Progress, tmp_path)
        open_.generators.append(generator)
        return CompletionCache(open_.path, "m", lambda: generator, SAMPLING, seed, batching, progress)

    open_.generators, open_.path = [], tmp_path / "completions.jsonl"
    return open_


def seed_of(root, step, number):
    return int(content_id(root, step, number)[:8], 16)


def test_collection_draws_its_prompts_in_order_with_a_seed_for_each_batch(cache):
    found = cache()(PROMPTS, 3, "solutions")
    calls = cache.generators[0].calls
    assert [(prompts, n) for prompts, n, _ in calls] == [(PROMPTS[:2], 3), (PROMPTS[2:4], 3), (PROMPTS[4:], 3)]
    seeds = [sampling.seed for _, _, sampling in calls]
    assert seeds == [seed_of(7, "solutions", number) for number in range(3)]
    assert all(s == SAMPLING.model_copy(update={"seed": s.seed}) for _, _, s in calls)
    assert [sample.text for sample in found[6:9]] == [f"fifteen {seeds[1]} {k}" for k in range(3)]
    assert [sample.tokens for sample in found[:3]] == [1, 2, 3] and not found[0].finished and found[1].finished


def test_evaluation_draws_the_most_wanted_and_longest_together(cache):
    cache(SAMPLING, longest_first(4))([*PROMPTS, "two", "one"], 1, "b refine")
    calls = cache.generators[0].calls
    assert [(prompts, n) for prompts, n, _ in calls] == [(["one", "two"], 2), (["fifteen", "eleven", "three"], 1)]
    assert [s.seed for _, _, s in calls] == [seed_of(SAMPLING, "b refine", number) for number in range(2)]


def test_a_completion_says_how_it_was_drawn(cache):
    opened = cache()
    found = opened(PROMPTS, 2, "solutions")
    drawn = [opened.sampling_of(sample) for sample in found]
    assert [s.index for s in drawn] == [0, 1] * 5 and drawn[-1].seed == seed_of(7, "solutions", 2)
    assert all((s.temperature, s.max_tokens) == (0.7, 9) for s in drawn)


@pytest.mark.parametrize("lines", range(15))
def test_what_a_kill_left_becomes_what_an_undisturbed_call_leaves(cache, lines):
    undisturbed = cache()(PROMPTS, 3, "solutions")
    whole = cache.path.read_bytes()
    cache.path.write_bytes(b"".join(whole.splitlines(keepends=True)[:lines]) + b'{"id": "torn')
    assert cache()(PROMPTS, 3, "solutions") == undisturbed
    assert cache.path.read_bytes() == whole
    drawn = [prompt for prompts, _, _ in cache.generators[1].calls for prompt in prompts]
    assert drawn == PROMPTS[lines // 6 * 2 :], "batches that were there are not drawn again"
    assert cache()(PROMPTS, 3, "solutions") == undisturbed and cache.generators[2].calls == []


# Verdicts

RIGHT, WRONG, SLOW = "def f(x): return 1", "def f(x): return 2", "while True: pass"


def problem(statement: str, task: str = "t") -> Problem:
    tests = (Assertion(statement=statement),)
    return Problem(task_id=task, prompt="", entry_point="f", tests=tests, reference="", benchmark="b", split="test")


def test_equal_programs_run_once_and_known_ones_never_again(tmp_path, monkeypatch):
    p, path = Params(timeout=5.0), tmp_path / "verdicts.jsonl"
    programs = [("t", RIGHT), ("t", WRONG), ("t", RIGHT)]
    cache = VerdictCache(p, path, partial(Progress, tmp_path))
    assert [v.passed for v in cache([problem("assert f(1) == 1")], programs, "verdicts")] == [True, False, True]
    assert path.read_text().count("\n") == 2
    with path.open("ab") as lines:
        lines.write(b'{"id": "half a li')
    monkeypatch.setattr("ledexlib.repair.caches.verify_programs", None)  # would fail if anything were run
    again = VerdictCache(p, path)([problem("assert f(1) == 1")], programs)
    assert again == cache([problem("assert f(1) == 1")], programs)
    with pytest.raises(TypeError, match="NoneType"):
        cache([problem("assert f(1) == 2")], programs)  # other tests, other verdicts


def test_trouble_of_the_harness_is_remembered_on_disk_but_not_in_memory(tmp_path, monkeypatch):
    run, ran = caches.verify_programs, []

    def counted(items, *more):
        ran.extend(name for name, *_ in items)
        return run(items, *more)

    monkeypatch.setattr(caches, "verify_programs", counted)
    unusable, usable = problem("assert f(1 =="), problem("assert f(1) == 1", "u")
    programs = [("t", RIGHT), ("u", RIGHT)]
    for cache, runs in ((VerdictCache(Params()), 3), (VerdictCache(Params(), tmp_path / "verdicts.jsonl"), 2)):
        ran.clear()
        for _ in range(2):
            assert [v.status for v in cache([unusable, usable], programs)] == ["infra", "passed"]
        assert len(ran) == runs


# A kill

COLLECT = """
import sys, time
from functools import partial
from pathlib import Path
from ledexlib.models import Completion
from ledexlib.params import Params
from ledexlib.records import Assertion, Problem
from ledexlib import repair
from ledexlib.runs import Progress, write_records

folder = Path(sys.argv[1])
p = Params(seed=1, prompts_per_batch=2, n_solutions=3, n_refinements=2, timeout=5.0)

class Slow:
    name = "slow"
    def generate(self, prompts, n, sampling):
        time.sleep(0.1)
        with (folder / "calls.txt").open("a") as calls:
            calls.write(f"{sampling.seed}\\n")
        codes = [[f"def f(x): return {(sampling.seed + k) % 3} + {len(p)}" for k in range(n)] for p in prompts]
        return [[Completion(code, 1, True) for code in row] for row in codes]

tests = (Assertion(statement="assert f(1) == 3"),)
problems = [
    Problem(task_id=f"t{i}", prompt="", entry_point="f", tests=tests, reference="", benchmark="b", split="train")
    for i in range(9)
]
progress = partial(Progress, folder)
verdicts = repair.VerdictCache(p, folder / "verdicts.jsonl", progress)
writer = repair.model_completions(p, folder, progress, "slow", Slow)
ask = lambda problem, *wrong: problem.task_id + "".join(w.code for w in wrong)
solutions = repair.draft_solutions(problems, p.n_solutions, ask, writer, verdicts)
wrong = repair.wrong_solutions(solutions)
refinements = repair.repair_solutions(wrong, problems, p.n_refinements, "explain", ask, writer, verdicts)
write_records(folder / "trajectories.jsonl", repair.assemble(solutions, refinements))
"""


def collect(folder: Path, kill_after: int | None = None) -> None:
    """Run the loop in a process of its own; kill it when so many completions or verdicts are on disk."""
    folder.mkdir(exist_ok=True)
    process = subprocess.Popen([sys.executable, "-c", COLLECT, str(folder)], start_new_session=True)
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        written = sum(path.read_bytes().count(b"\n") for path in folder.glob("*.jsonl"))
        if kill_after is not None and written >= kill_after:
            os.kill(process.pid, signal.SIGKILL)
        time.sleep(0.01)
    assert process.wait() == (0 if kill_after is None else -signal.SIGKILL)


def trajectories(folder: Path) -> list:
    found = [t.model_dump() for t in JsonLines(folder / "trajectories.jsonl", Trajectory, complete=True)]
    for t in found:
        for program in (t["solution"], *t["refinements"]):
            program["verdict"].pop("seconds")
    return found


def test_a_killed_collection_ends_with_the_records_of_an_undisturbed_one(tmp_path):
    collect(tmp_path / "undisturbed")
    for lines in (7, 29, 45):  # among the solutions, their verdicts, the refinements
        collect(tmp_path / "killed", kill_after=lines)
    collect(tmp_path / "killed")
    assert trajectories(tmp_path / "killed") == trajectories(tmp_path / "undisturbed")
    calls = [(tmp_path / name / "calls.txt").read_text().split() for name in ("killed", "undisturbed")]
    assert set(calls[0]) == set(calls[1]) and len(calls[0]) <= len(calls[1]) + 3, "a batch in flight at each kill"
