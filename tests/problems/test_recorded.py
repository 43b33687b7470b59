"""Recorded attempts become solutions and refinements; what they say of themselves is not believed."""

import json

import pytest

from ledexlib.problems import ProblemError, load_problems, read_recorded


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


SEQUENCE = {"task_id": "t/1", "model": "m", "attempts": ["a = 1", "a = 2", "a = 3"], "solved": True}
BUG = {"id": "b/0", "task_id": "t/2", "model": "g", "wrong": "x = 0", "explanation": "Zero.", "refinement": "x = 1"}


def test_both_kinds_of_rows_are_read(tmp_path):
    solutions, refinements = read_recorded([write(tmp_path / "r.jsonl", SEQUENCE, BUG)], ["t/1", "t/2"])
    assert [(s.task_id, s.code, s.verdict) for s in solutions] == [("t/1", "a = 1", None), ("t/2", "x = 0", None)]
    assert [(r.code, r.sampling.index, r.explanation) for r in refinements] == [
        ("a = 2", 0, None), ("a = 3", 1, None), ("x = 1", 0, "Zero."),
    ]  # fmt: skip
    assert {r.solution_id for r in refinements} == {s.id for s in solutions}


def test_a_blank_explanation_is_none(tmp_path):
    _, refinements = read_recorded([write(tmp_path / "r.jsonl", {**BUG, "explanation": ""})], ["t/2"])
    assert refinements[0].explanation is None


def test_reading_twice_gives_the_same_ids(tmp_path):
    path = write(tmp_path / "r.jsonl", SEQUENCE, BUG)
    assert read_recorded([path], ["t/1", "t/2"]) == read_recorded([path, path], ["t/1", "t/2"])


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({**SEQUENCE, "task_id": "t/9"}, "task 't/9' is not among the problems"),
        ({"task_id": "t/1", "model": "m", "code": "x"}, "neither 'attempts' nor 'wrong'"),
        ({"task_id": "t/1", "attempts": ["x"]}, "needs 'model'"),
    ],
)
def test_a_bad_row_is_named_with_its_place(tmp_path, row, said):
    with pytest.raises(ProblemError, match=said) as caught:
        read_recorded([write(tmp_path / "r.jsonl", SEQUENCE, row)], ["t/1"])
    assert "r.jsonl" in str(caught.value) and "2" in str(caught.value)


def test_all_recorded_attempts_are_read(shared_data):
    tasks = load_problems("mbpp", "test", shared_data / "mbpp" / "mbpp.jsonl")
    files = [shared_data / "recorded" / f"ldb_mbpp_{m}.jsonl.gz" for m in ("starcoder", "codellama")]
    solutions, refinements = read_recorded(files, [task.task_id for task in tasks])
    assert len(solutions) == 1000 and {r.teacher for r in refinements} == {"starcoder", "codellama"}
