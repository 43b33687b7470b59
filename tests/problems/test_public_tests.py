"""The tests in a prompt are found, in all the shapes in which prompts write them, and the misread ones left out."""

import pytest

from ledexlib.problems import load_problems, with_public_tests
from ledexlib.problems.public_tests import prompt_tests
from ledexlib.records import Assertion, Problem


def problem(prompt: str, name: str = "f", reference: str = "def f(x): return x + 1", **more) -> Problem:
    return Problem(task_id="own/1", prompt=prompt, entry_point=name, tests=(Assertion(statement="assert f(5) == 6"),),
                   reference=reference, benchmark="own", split="test", **more)  # fmt: skip


@pytest.mark.parametrize(
    ("prompt", "statements"),
    [
        ("Add one.\nassert f(1) == 2\nassert f(2) == 3", ["assert f(1) == 2", "assert f(2) == 3"]),
        ('def f(x):\n    """Add one.\n    >>> f(1)\n    2\n    >>> y = 3\n    >>> f(y)\n    4\n    """\n',
         ["assert f(1) == 2", "assert f(y) == 4"]),
        ("f(1) => 2\nf(2) ➞ 3\nf(3) == 4.\nf(4) = 5\nfor f(6) see below\nf(7) -> seven of them", [
            "assert f(1) == 2", "assert f(2) == 3", "assert f(3) == 4", "assert f(4) == 5"]),
        ("Nothing is shown, assert that you understand: f(", []),
        ('    >>> f(1)\n  2\n', []),  # not laid out as a doctest
    ],
)  # fmt: skip
def test_what_a_prompt_shows(prompt, statements):
    assert [test.statement for test in prompt_tests(problem(prompt))] == statements


def test_an_example_that_the_reference_fails_is_left_out():
    (kept,) = with_public_tests([problem("f(1) => 2\nf(2) => 4\n")])
    assert [test.statement for test in kept.tests] == ["assert f(1) == 2"]


def test_mini_problems_show_what_they_show():
    """A sentence shows its three assertions; a docstring two of the five tests."""
    mbpp, humaneval = load_problems("mini-mbpp", "test")[:3], load_problems("mini-humaneval", "test")[:3]
    assert [test for p in with_public_tests(mbpp) for test in p.tests] == [test for p in mbpp for test in p.tests]
    assert [len(p.tests) for p in with_public_tests(humaneval)] == [2, 2, 2]


def test_most_of_humaneval_shows_sound_examples(shared_data):
    problems = with_public_tests(load_problems("humaneval", "test", shared_data / "humaneval"))
    assert sum(bool(p.tests) for p in problems) >= 120
