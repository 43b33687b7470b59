"""Table 1 and its companions on trajectories small enough to count by hand."""

import json

import pytest

from ledexlib import repair
from ledexlib.params import Params
from ledexlib.records import Assertion, Problem, Refinement, Sampling, Solution, Verdict
from ledexlib.repair.trajectories import PAPER_TABLE_1


def verdict(status: str, feedback: str = "", passed: int = 0) -> Verdict:
    return Verdict(
        status=status, n_passed=3 if status == "passed" else passed, n_tests=3, feedback=feedback, seconds=0.1
    )


def solution(name: str, task: str, status: str, feedback: str = "") -> Solution:
    return Solution(
        id=name, task_id=task, code=f"code {name}", completion="", model="m", sampling=Sampling(),
        verdict=verdict(status, feedback),
    )  # fmt: skip


def refinement(name: str, of: Solution, index: int, status: str) -> Refinement:
    return Refinement(
        id=name, solution_id=of.id, task_id=of.task_id, explanation="because it is so", code=f"code {name}",
        completion="", teacher="t", sampling=Sampling(index=index), verdict=verdict(status, "IndexError: no"),
    )  # fmt: skip


@pytest.fixture
def found():
    a = solution("a", "t/1", "passed")
    b = solution("b", "t/1", "failed", "assert f(1) == 2\ngot 3, expected 2")
    c = solution("c", "t/2", "error", "assert f(1) == 2\nNameError: name 'x' is not defined\nline 2, in f: x")
    d = solution("d", "t/2", "timeout", "timed out in the first test")
    e = solution("e", "t/3", "infra")
    repairs = [
        refinement("b1", b, 1, "passed"), refinement("b0", b, 0, "failed"),
        refinement("c0", c, 0, "passed"), refinement("c1", c, 1, "passed"),
        refinement("d0", d, 0, "error"), refinement("d1", d, 1, "failed"),
    ]  # fmt: skip
    return repair.assemble(repair.unique_solutions([a, b, c, d, e]), repairs)


def test_the_harness_own_trouble_is_left_out_and_refinements_are_in_order(found):
    assert [t.id for t in found] == ["a", "b", "c", "d"]
    assert [r.id for r in found[1].refinements] == ["b0", "b1"]
    assert [r.id for r in found[2].correct] == ["c0", "c1"]


def test_table_1_counts_each_wrong_solution_once(found):
    row = repair.table_1(found, "ours").iloc[0]
    assert list(row[:5]) == ["ours", 4, 1, 3, 2]
    rate = repair.refinement_rate(found)
    assert rate.value == pytest.approx(200 / 3) and rate.n == 2  # tasks with a wrong solution
    assert repair.correct_refinement_rate(found).value == pytest.approx(50.0)


def test_the_papers_rows_follow_from_their_own_counts():
    for row in PAPER_TABLE_1.itertuples():
        assert row.correct + row.wrong == row._2
        assert round(100 * row.refined / row.wrong, 2) == float(row._6)


def test_failures_are_named(found):
    table = repair.failure_table(found)
    assert dict(zip(table["task"] + table["kind"], table["refined"], strict=True)) == {
        "t/1wrong result": True, "t/2NameError": True, "t/2time-out": False,
    }  # fmt: skip
    rates = repair.refinement_rates_by_kind(table).set_index("kind")
    assert rates.loc["NameError", "rate"] == 100.0 and rates.loc["time-out", "rate"] == 0.0


def test_sequences_are_solved_by_their_last_attempt(found):
    assert list(repair.solved_after_rounds(found)) == [1, 2, 3]


def test_pass_at_k_is_the_mean_over_tasks(found):
    counts = repair.passes_by_task(t.solution for t in found)
    assert counts.loc["t/1"].tolist() == [1, 2] and counts.loc["t/2"].tolist() == [0, 2]
    assert repair.mean_pass_at_k(counts, 1).value == 25.0 and repair.mean_pass_at_k(counts, 2).value == 50.0


def test_nothing_wrong_is_no_error():
    perfect = repair.assemble([solution("a", "t/1", "passed")], [])
    assert repair.refinement_rate(perfect) is None
    assert repair.table_1(perfect, "ours").iloc[0, 5] == "–"
    assert "–" in repair.dataset_card(perfect, {}, "command")


def test_nothing_that_counts_is_no_error():
    assert repair.verdict_counts([]).empty and repair.failure_table([]).empty and repair.length_table([]).empty
    assert repair.refinement_rates_by_kind(repair.failure_table([])).empty


def test_recorded_attempts_become_trajectories_with_verdicts(tmp_path):
    right, wrong = "def f(x):\n    return 2 * x", "def f(x):\n    return x"
    rows = [
        {"task_id": "t/1", "model": "m", "attempts": [wrong, wrong + " + 0", right]},
        {"task_id": "t/2", "model": "m", "attempts": [right]},
        {"task_id": "t/2", "model": "m", "wrong": wrong, "explanation": "It must double.", "refinement": right},
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tests = (Assertion(statement="assert f(2) == 4"),)
    problems = [
        Problem(task_id=task, prompt="", entry_point="f", tests=tests, reference="", benchmark="b", split="test")
        for task in ("t/1", "t/2")
    ]
    cache = repair.VerdictCache(Params(timeout=5.0))
    found = repair.recorded_trajectories([str(tmp_path / "rows.jsonl")], problems, cache)
    assert [t.solution.verdict.passed for t in found] == [False, True, False]
    assert [[r.verdict.passed for r in t.refinements] for t in found] == [[False, True], [], [True]]
    assert [r.way for t in found for r in t.refinements] == ["refine", "refine", "explain"]
