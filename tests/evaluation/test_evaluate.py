"""The command ``evaluate`` with a real model and with recorded attempts; agreement with the command ``verify``."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ledexlib.__main__ import main
from ledexlib.evaluation import check_evaluation
from ledexlib.params import ParameterError, Params
from ledexlib.problems import ProblemError, load_problems
from ledexlib.records import Assertion, Problem, Trajectory

OPTIONS = ("--model", "mini", "--style", "few_shot", "--benchmark", "mini-mbpp,mini-mbppplus", "--samples", "3")
SMALL = ("--set", "evaluate_max_problems=3", "--set", "n_repair_shots=1", "--set", "evaluate_max_tokens=96",
         "--set", "timeout=5", "--set", "answers_per_batch=4")  # fmt: skip


def evaluate(out: Path, *more: str) -> int:
    return main(["evaluate", *OPTIONS, *SMALL, "--out", str(out), *more])


def trajectories(path: Path) -> list[Trajectory]:
    return [Trajectory.model_validate_json(line) for line in path.read_text().splitlines()]


def without_seconds(path: Path) -> list[dict]:
    rows = [trajectory.model_dump() for trajectory in trajectories(path)]
    for row in rows:
        for program in (row["solution"], *row["refinements"]):
            program["verdict"].pop("seconds")
    return rows


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("evaluated")
    assert evaluate(out) == 0
    return out


def test_every_failing_program_gets_a_repair_each_way(evaluated):
    found = trajectories(evaluated / "mini" / "mini-mbpp.jsonl")
    assert len(found) == len({t.id for t in found}) == 9
    failing = [t for t in found if t.solution.needs_repair]
    assert failing == [t for t in found if not t.solution.verdict.passed]
    assert all({r.way for r in t.refinements} == {"refine", "explain"} for t in failing)
    assert all("got" in t.solution.told or "Error" in t.solution.told for t in failing)
    unbroken = [t for t in found if t.solution.verdict.passed and t.refinements]
    passing = {t.solution.task_id for t in found if t.solution.verdict.passed}
    assert len(unbroken) == len(passing)  # one of each problem, for the break rate
    assert all(t.solution.told == "Every test passes." for t in unbroken)
    assert all(r.needed is not None for t in failing for r in t.correct)
    assert all(r.tokens and r.edited is not None for t in failing for r in t.refinements)


def test_a_plus_version_is_scored_on_the_same_samples(evaluated):
    base, plus = (trajectories(evaluated / "mini" / f"mini-mbpp{end}.jsonl") for end in ("", "plus"))
    assert [t.solution.code for t in base] == [t.solution.code for t in plus]
    tests = [(a.solution.verdict.n_tests, b.solution.verdict.n_tests) for a, b in zip(base, plus, strict=True)]
    assert all(few < many for few, many in tests)


def test_the_command_says_what_it_found_with_intervals_and_source_of_feedback(evaluated, capsys):
    assert evaluate(evaluated) == 0
    said = capsys.readouterr().out
    assert "Feedback from the tests of the benchmark." in said and "mini on overall: 6 tasks, 18 programs" in said
    for words in ("pass@1", "success refinement rate", "break rate", "invalid output"):
        assert words in said
    results = json.loads((evaluated / "results.json").read_text())
    assert results["parameters"]["n_samples"] == 3 and {row["k"] for row in results["scores"]} == {1}


def test_the_same_command_again_draws_and_runs_nothing(evaluated, capsys):
    before = {name: (evaluated / name).read_bytes() for name in ("completions.jsonl", "verdicts.jsonl")}
    assert evaluate(evaluated) == 0
    said = capsys.readouterr().out
    assert "mini on overall" in said and " in 0." not in said, "no progress of what was made before"
    assert before == {name: (evaluated / name).read_bytes() for name in before}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--samples", "4"), "n_samples = 3, now 4"),
        (("--set", "timeout=6"), "timeout = 5.0, now 6.0"),
        (("--benchmark", "mini-mbp"), "did you mean 'mini-mbpp'?"),
        (("--set", "n_sample=3"), "did you mean 'n_samples'?"),
        (("--set", "evaluate_split=tset"), "did you mean 'test'?"),
        (("--set", "model_endpoints=[localhost]"), "'localhost' is not a URL"),
        (("--benchmark", "mini-mbpp,mini-mbpp"), "name at least one, and each once"),
    ],
)
def test_what_cannot_be_used_is_refused(evaluated, capsys, more, said):
    assert evaluate(evaluated, *more) == 2
    assert said in capsys.readouterr().err


def test_the_samples_are_in_evalplus_format_and_verify_agrees(evaluated, tmp_path):
    def passes(t: Trajectory, score: str) -> bool:
        repaired = score == "refine" and t.solution.needs_repair
        return (t.repair("refine") if repaired else t.solution).verdict.passed

    for score in ("initial", "refine"):
        samples = evaluated / "mini" / "evalplus" / f"mini-mbpp-{score}.jsonl"
        out = tmp_path / f"{score}.jsonl"
        assert main(["verify", "--benchmark", "mini-mbpp", "--samples", str(samples), "--out", str(out)]) == 0
        verdicts = [json.loads(line)["status"] == "passed" for line in out.read_text().splitlines()]
        assert verdicts == [passes(t, score) for t in trajectories(evaluated / "mini" / "mini-mbpp.jsonl")]


def test_public_feedback_comes_from_the_prompt_alone(tmp_path):
    """Two of a docstring's five tests are visible: what fails only hidden ones is not sent to repair."""
    options = ("--benchmark", "mini-humaneval", "--feedback-from", "public", "--samples", "4")
    assert evaluate(tmp_path, *options, "--set", "evaluate_max_problems=3", "--set", "n_unbroken=0") == 0
    found = trajectories(tmp_path / "mini" / "mini-humaneval.jsonl")
    prompts = {problem.task_id: problem.prompt for problem in load_problems("mini-humaneval", "test")}
    failing = [t for t in found if t.solution.needs_repair]
    assert failing and all(bool(t.refinements) == t.solution.needs_repair for t in found)
    for solution in (t.solution for t in failing):
        call = solution.told.splitlines()[0]
        if call.startswith("assert "):
            assert call.removeprefix("assert ").partition(" == ")[0] in prompts[solution.task_id]


def test_a_killed_evaluation_ends_with_the_attempts_of_an_undisturbed_one(evaluated, tmp_path):
    command = [sys.executable, "-m", "ledexlib", "evaluate", *OPTIONS, *SMALL, "--out", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    path, deadline = tmp_path / "completions.jsonl", time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if path.exists() and path.read_bytes().count(b"\n") >= 11:  # some repairs are there
            break
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert path.exists() and not (tmp_path / "results.json").exists()
    with path.open("ab") as lines:
        lines.write(b'{"id": "half a li')
    assert evaluate(tmp_path) == 0
    for name in ("mini-mbpp", "mini-mbppplus"):
        ours, theirs = (folder / "mini" / f"{name}.jsonl" for folder in (tmp_path, evaluated))
        assert without_seconds(ours) == without_seconds(theirs)


@pytest.mark.parametrize(
    ("values", "error", "said"),
    [
        ({"evaluate_benchmarks": ["mini-mbp"]}, ProblemError, "did you mean 'mini-mbpp'"),
        ({"evaluate_split": "tset"}, ProblemError, "did you mean 'test'"),
        ({"evaluate_benchmarks": ["mini-mbpp", "jsonl=none.jsonl"]}, ProblemError, "no such file or folder"),
        ({"evaluate_models": ["base"], "shots_benchmark": "humaneval"}, ProblemError, "set shots_benchmark"),
        ({"evaluate_models": ["04_sft", "04_sft"]}, ParameterError, "a model is listed twice"),
        ({"evaluate_models": []}, ParameterError, "evaluate_models is empty"),
        ({"evaluate_models": ["./nowhere/model"]}, ParameterError, "there is no folder"),
        ({"recorded": ["none.jsonl"]}, ParameterError, "recorded attempts are of one"),
        ({"recorded": ["none.jsonl"], "evaluate_benchmarks": ["mini-mbpp"]}, ProblemError, "no such file"),
    ],
)
def test_an_evaluation_that_cannot_be_is_known_before_any_work(values, error, said):
    check_evaluation(Params())
    with pytest.raises(error, match=said):
        check_evaluation(Params(**values))


# Recorded attempts


def recorded_rows() -> list[dict]:
    right, wrong = "def f(x):\n    return 2 * x", "def f(x):\n    return x"
    return [
        {"task_id": "own/1", "model": "m", "attempts": [wrong, wrong + " + 0", right]},
        {"task_id": "own/2", "model": "m", "attempts": [right]},
        {"task_id": "own/3", "model": "m", "attempts": [wrong, wrong + " - 0"]},
    ]


def test_recorded_attempts_count_first_programs_and_last_repairs(tmp_path, capsys):
    tests = (Assertion(statement="assert f(2) == 4"),)
    data, file = tmp_path / "problems.jsonl", tmp_path / "recorded.jsonl"
    data.write_text("".join(
        Problem(task_id=f"own/{n}", prompt="Double.", entry_point="f", tests=tests, reference="", benchmark="own",
                split="test").model_dump_json() + "\n" for n in (1, 2, 3)
    ))  # fmt: skip
    file.write_text("".join(json.dumps(row) + "\n" for row in recorded_rows()))
    words = ["evaluate", "--recorded", str(file), "--benchmark", f"jsonl={data}", "--out", str(tmp_path / "out")]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "initial          1 pass; pass@1 33.33 %" in said and "refine           2 pass; pass@1 66.67 %" in said
    assert "success refinement rate 50.00 %" in said and "explain" not in said


def test_recorded_attempts_of_a_real_model_count_as_verify_counts_them(shared_data, tmp_path, capsys):
    """The first programs of every row given to ``verify``, and the last ones, pass as often as ``evaluate`` says."""
    file, data = shared_data / "recorded" / "ldb_humaneval_starcoder.jsonl.gz", shared_data / "humaneval"
    rows = [json.loads(line) for line in gzip.decompress(file.read_bytes()).decode().splitlines()][:60]
    some = tmp_path / "recorded.jsonl"
    some.write_text("".join(json.dumps(row) + "\n" for row in rows))
    counts = []
    for place, name in ((0, "first"), (-1, "last")):
        samples, out = tmp_path / f"{name}.jsonl", tmp_path / f"{name}.out"
        lines = ({"task_id": row["task_id"], "solution": row["attempts"][place]} for row in rows)
        samples.write_text("".join(json.dumps(line) + "\n" for line in lines))
        words = ["verify", "--benchmark", "humaneval", "--data", str(data), "--samples", str(samples), "--timeout", "5"]
        assert main([*words, "--out", str(out)]) == 0
        counts.append(sum(json.loads(line)["status"] == "passed" for line in out.read_text().splitlines()))
    capsys.readouterr()
    words = ["evaluate", "--recorded", str(some), "--benchmark", f"humaneval={data}", "--set", "timeout=5"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert f"initial          {counts[0]} pass;" in said and f"refine           {counts[1]} pass;" in said
