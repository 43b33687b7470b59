"""The command ``verify``: samples in, verdicts out in order, clear refusals, resumption; agreement with a referee."""

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from referee import passes_all

from ledexlib.__main__ import main
from ledexlib.problems import load_problems, verify_programs
from ledexlib.records import Assertion, Check, Problem

PROBLEMS = [
    Problem(
        task_id="own/double", prompt="Double a number.", entry_point="f",
        tests=(Assertion(statement="assert f(2) == 4"), Assertion(statement="assert f(0) == 0")),
        reference="def f(x): return 2 * x", benchmark="own", split="test",
    ),
    Problem(
        task_id="own/next", prompt="def g(x):\n", stub="def g(x):\n", entry_point="g",
        tests=(Check(source="def check(candidate):\n    assert candidate(1) == 2\n    assert candidate(5) == 6\n"),),
        reference="def g(x):\n    return x", benchmark="own", split="train",
    ),
]  # fmt: skip
SAMPLES = [
    {"task_id": "own/next", "completion": "    return x + 1"},
    {"task_id": "own/double", "completion": "def f(x): return x * x"},
    {"task_id": "own/next", "solution": "def g(x): return 2"},
    {"task_id": "own/double", "solution": "def f(x): return x * x * x", "completion": "ignored"},
    {"task_id": "own/next", "completion": "    return (", "model": "other fields are allowed"},
]


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "problems.jsonl"
    path.write_text("".join(problem.model_dump_json() + "\n" for problem in PROBLEMS))
    return path


def write(path: Path, rows: list, cut: int = 0) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    text = text[: len(text) - cut]
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def verify(data, samples, out, *more):
    words = ["verify", "--benchmark", "jsonl", "--data", str(data), "--samples", str(samples), "--out", str(out), *more]
    return main(words)


@pytest.mark.parametrize("name", ["samples.jsonl", "samples.jsonl.gz"])
def test_one_verdict_a_sample_in_order(data, tmp_path, capsys, name):
    out = tmp_path / "deep" / "verdicts.jsonl"
    assert verify(data, write(tmp_path / name, SAMPLES), out) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert list(rows[0]) == ["task_id", "index", "status", "n_passed", "n_tests", "feedback", "seconds", "mode"]
    assert [(r["task_id"], r["index"], r["status"], r["n_passed"], r["n_tests"]) for r in rows] == [
        ("own/next", 0, "passed", 2, 2),
        ("own/double", 0, "passed", 2, 2),
        ("own/next", 1, "failed", 1, 2),
        ("own/double", 1, "failed", 1, 2),
        ("own/next", 2, "error", 0, 2),
    ]
    assert rows[2]["feedback"] == "assert g(5) == 6\ngot 2, expected 6"
    assert [path.name for path in out.parent.iterdir()] == ["verdicts.jsonl"]
    summary = capsys.readouterr().out
    assert "5 samples of 2 tasks: 2 passed, 2 failed, 1 error" in summary
    assert "pass@1 0.4167" in summary  # (1/3 + 1/2) / 2


@pytest.mark.parametrize(
    ("rows", "cut", "more", "message"),
    [
        ([{"task_id": "own/douple", "solution": ""}], 0, (), "samples.jsonl:1: unknown task_id 'own/douple'"),
        ([*SAMPLES, {"task_id": "own/next"}], 0, (), "samples.jsonl:6: neither 'solution' nor 'completion'"),
        ([{"task_id": "own/next", "solution": None}], 0, (), "samples.jsonl:1: neither"),
        (SAMPLES, 5, (), "samples.jsonl:5: not valid JSON"),
        ([[1]], 0, (), "samples.jsonl:1: expected a JSON object"),
        ([], 0, (), "samples.jsonl: no samples in it"),
        (SAMPLES, 0, ("--workers", "0"), "--workers: 'workers' = 0: input should be greater than or equal to 1"),
        (SAMPLES, 0, ("--timeout", "-1"), "--timeout: 'timeout' = -1.0: input should be greater than 0"),
        (SAMPLES, 0, ("--split", "test"), "samples.jsonl:1: unknown task_id 'own/next'"),
        (SAMPLES, 0, ("--out", "."), ".: is a folder"),
    ],
)
def test_bad_input_is_refused_before_any_work(data, tmp_path, capsys, rows, cut, more, message):
    out = tmp_path / "verdicts.jsonl"
    assert verify(data, write(tmp_path / "samples.jsonl", rows, cut), out, *more) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_missing_files_are_named(data, tmp_path, capsys):
    samples = write(tmp_path / "samples.jsonl", SAMPLES)
    assert verify(data, tmp_path / "none.jsonl", tmp_path / "out") == 2
    assert "none.jsonl: no such file of samples" in capsys.readouterr().err
    assert verify(tmp_path / "none.jsonl", samples, tmp_path / "out") == 2
    assert "none.jsonl: no such file" in capsys.readouterr().err


def test_a_killed_run_goes_on_where_it_stopped(data, tmp_path):
    slow = "import time\ntime.sleep(0.3)\ndef f(x): return 2 * x"
    rows = [{"task_id": "own/double", "solution": f"{slow}  # {i}"} for i in range(40)]
    samples = write(tmp_path / "samples.jsonl", rows)
    out = tmp_path / "verdicts.jsonl"
    command = [sys.executable, "-m", "ledexlib", "verify", "--benchmark", "jsonl", "--data", str(data)]
    command += ["--samples", str(samples), "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (partial := list(tmp_path.glob(".verdicts.jsonl.*.partial"))) or not partial[0].stat().st_size:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not out.exists()
    with open(partial[0], "r+") as file:  # a line that was half written
        file.seek(0, os.SEEK_END)
        file.write('{"id": "half a li')
    done = [json.loads(line) for line in partial[0].read_text().splitlines()[:-1]]
    assert 0 < len(done) < 40
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert {row["verdict"]["seconds"] for row in done} <= {row["seconds"] for row in rows}
    assert [(row["index"], row["status"]) for row in rows] == [(i, "passed") for i in range(40)]
    assert "40 samples of 1 tasks: 40 passed" in again.stdout
    assert "40/40" in again.stderr


def attempts(shared_data, benchmark, model):
    with gzip.open(shared_data / "recorded" / f"ldb_{benchmark}_{model}.jsonl.gz", "rt") as lines:
        for row in map(json.loads, lines):
            yield from ((row["task_id"], code) for code in row["attempts"])


@pytest.mark.parametrize(("benchmark", "data"), [("mbpp", "mbpp/mbpp.jsonl"), ("humaneval", "humaneval")])
def test_verdicts_equal_an_independent_referees(shared_data, benchmark, data):
    problems = {problem.task_id: problem for problem in load_problems(benchmark, path=shared_data / data)}
    rows = [row for model in ("starcoder", "codellama") for row in attempts(shared_data, benchmark, model)]
    items = [(problems[task_id], code) for task_id, code in random.Random(7).sample(rows, 60)]
    named = [(number, problem, code) for number, (problem, code) in enumerate(items)]
    verdicts = dict(verify_programs(named))
    assert [verdicts[number].passed for number in range(len(items))] == passes_all(items)


@pytest.mark.parametrize(("model", "solved"), [("starcoder", 277), ("codellama", 287)])
def test_recorded_attempts_solve_as_many_problems_as_they_did(shared_data, tmp_path, model, solved):
    rows = [{"task_id": task_id, "solution": code} for task_id, code in attempts(shared_data, "mbpp", model)]
    samples, out = write(tmp_path / "samples.jsonl.gz", rows), tmp_path / "verdicts.jsonl"
    data = str(shared_data / "mbpp" / "mbpp.jsonl")
    assert main(["verify", "--benchmark", "mbpp", "--data", data, "--samples", str(samples), "--out", str(out)]) == 0
    last = {row["task_id"]: row["status"] for row in map(json.loads, out.read_text().splitlines())}
    assert list(last.values()).count("passed") == solved
    assert "infra" not in last.values()
