"""Decontamination: what overlaps is dropped and reported, what does not is kept."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledexlib.problems import Overlap, ProblemError, decontaminate, load_problems
from ledexlib.problems.selection import held_out_problems, telling, words
from ledexlib.records import Assertion, Problem

LONG = "write a function that returns every second prime number below the given limit in descending order of size"


def problem(task_id, prompt="", reference=""):
    return Problem(
        task_id=task_id,
        prompt=prompt,
        entry_point="f",
        tests=(Assertion(statement="assert f"),),
        reference=reference,
        benchmark="b",
        split="s",
    )


def test_a_shared_run_drops_and_is_reported():
    train = [problem("train/1", "Please " + LONG + ", quickly."), problem("train/2", "Reverse a list.")]
    kept, dropped = decontaminate(train, [problem("test/1", "Task: " + LONG)])
    assert kept == train[1:]
    assert dropped == [
        Overlap(train_id="train/1", test_id="test/1", test_benchmark="b", train_field="prompt", test_field="prompt",
                text=LONG)
    ]  # fmt: skip


def test_a_docstring_in_a_reference_meets_a_prompt():
    reference = f'def f(n):\n    """{LONG.capitalize()}.\n\n    >>> f(3)\n    """\n    return n\n'
    (overlap,) = decontaminate([problem("train", reference=reference)], [problem("test", prompt=LONG)])[1]
    assert (overlap.train_field, overlap.test_field) == ("reference", "prompt")


def test_the_longest_overlap_is_reported():
    short, whole = " ".join(LONG.split()[:14]), LONG + " and nothing else"
    train = problem("train", prompt=short + " something", reference=whole)
    tests = [problem("test/short", prompt=short), problem("test/whole", reference=whole)]
    (overlap,) = decontaminate([train], tests[::-1])[1]
    assert overlap.test_id == "test/whole"
    assert overlap.text == whole


def test_short_texts_count_only_as_a_whole():
    test = [problem("test", reference="def add(a, b):\n    return a + b\n")]
    same = problem("train/same", reference="def ADD(a,b): return a+b")
    inside = problem("train/inside", reference="def add(a, b):\n    return a + b + 1\n")
    kept, dropped = decontaminate([same, inside], test)
    assert kept == [inside]
    assert dropped[0].text == "def add a b return a b"


def test_lists_of_numbers_are_no_overlap():
    numbers = "assert f([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]) == "
    train = [problem("train", "Sum the list. " + numbers + "120")]
    assert decontaminate(train, [problem("test", "Reverse the list. " + numbers + "[15]")]) == (train, [])


def test_ngram_must_be_positive():
    with pytest.raises(ValueError, match="at least 1: 0"):
        decontaminate([], [], 0)


texts = st.lists(st.sampled_from(["if", "x", "y", "sum", "1", "22"]), max_size=12).map(" ".join)
some_problems = st.lists(st.tuples(texts, texts), max_size=5)


def named(pairs, name):
    return [problem(f"{name}/{i}", prompt, reference) for i, (prompt, reference) in enumerate(pairs)]


def overlaps(a, b, n):
    """The definition, word by word."""
    for x in (words(a.prompt), words(a.reference)):
        for y in (words(b.prompt), words(b.reference)):
            if x and x == y and len(x) < n:
                return True
            grams = {y[i : i + n] for i in range(len(y) - n + 1)}
            if any(x[i : i + n] in grams and telling(x[i : i + n]) for i in range(len(x) - n + 1)):
                return True
    return False


@settings(deadline=None)  # a busy machine is no failure
@given(some_problems, some_problems, st.integers(min_value=1, max_value=6))
def test_exactly_the_overlapping_are_dropped(train, test, n):
    train, test = named(train, "train"), named(test, "test")
    kept, dropped = decontaminate(train, test, n)
    assert kept == [a for a in train if not any(overlaps(a, b, n) for b in test)]
    assert [a.task_id for a in train if a not in kept] == [o.train_id for o in dropped]
    by_id = {p.task_id: p for p in train + test}
    for overlap in dropped:
        assert f" {overlap.text} " in f" {' '.join(words(getattr(by_id[overlap.train_id], overlap.train_field)))} "
        assert f" {overlap.text} " in f" {' '.join(words(getattr(by_id[overlap.test_id], overlap.test_field)))} "


@settings(deadline=None)  # a busy machine is no failure
@given(some_problems, some_problems, st.integers(min_value=1, max_value=6))
def test_case_space_and_punctuation_make_no_difference(train, test, n):
    def noisy(text):
        return ">>> " + text.upper().replace(" ", ",\n\t# ") + '"""'

    plain = decontaminate(named(train, "train"), named(test, "test"), n)
    again = decontaminate(named([(noisy(p), noisy(r)) for p, r in train], "train"), named(test, "test"), n)
    assert [p.task_id for p in plain[0]] == [p.task_id for p in again[0]]
    assert plain[1] == again[1]


def test_mbpp_train_against_the_test_sets(shared_data):
    data = shared_data / "mbpp" / "mbpp.jsonl"
    held_out = held_out_problems([f"mbpp={data}", f"humaneval={shared_data / 'humaneval'}"])
    assert {(p.benchmark, p.split) for p in held_out} == {("mbpp", "test"), ("humaneval", "test")}
    kept, dropped = decontaminate(load_problems("mbpp", "train", data), held_out)
    assert (len(kept), len(dropped)) == (325, 49)
    pairs = {(o.train_id, o.test_id) for o in dropped}
    assert ("mbpp/608", "mbpp/67") in pairs  # Bell's numbers twice, the program word for word
    assert {o.test_benchmark for o in dropped} == {"mbpp"}


@pytest.mark.parametrize(
    ("spec", "message"),
    [("humanevl", "did you mean 'humaneval'"), ("mbpp=no/such", "no/such: no such file"), ("jsonl", "jsonl=PATH")],
)
def test_a_wrong_spec_says_what_would_be_right(spec, message):
    with pytest.raises(ProblemError, match=message):
        held_out_problems([spec])


def test_own_files_are_taken_whole(tmp_path):
    path = tmp_path / "held.jsonl"
    path.write_text(problem("own/1", "Prompt.").model_dump_json() + "\n")
    assert [p.task_id for p in held_out_problems([f"jsonl={path}"])] == ["own/1"]
