"""Edits put a program into another; what a repair needs is found by taking changes back."""

from hypothesis import given
from hypothesis import strategies as st

from ledexlib.evaluation.edits import Edit, apply_edits, edit_size, line_edits, needed_edits

WRONG = "def f(x):\n    y = x + 1\n    z = y\n    return z"
LINES = st.lists(st.sampled_from(["a = 1", "b = 2", "    c", "d", ""]), max_size=8).map("\n".join)


@given(LINES, LINES)
def test_edits_lead_from_one_program_to_the_other(before, after):
    changes = line_edits(before, after)
    assert apply_edits(before, changes) == "\n".join(line.rstrip() for line in after.strip().splitlines())
    assert (edit_size(changes) == 0) == (before.strip().splitlines() == after.strip().splitlines())


def test_a_line_replaced_added_or_removed_is_one_edit_of_one_line():
    assert line_edits(WRONG, WRONG.replace("x + 1", "x + 2")) == [Edit(1, 2, ("    y = x + 2",))]
    assert line_edits(WRONG, WRONG.replace("    z = y\n", "")) == [Edit(2, 3, ())]
    assert line_edits(WRONG, WRONG + "\nprint(1)") == [Edit(4, 4, ("print(1)",))]
    assert line_edits(WRONG, WRONG + "   \n\n") == []  # trailing blanks change nothing


def test_neighbouring_lines_are_separate_edits_where_they_pair_up():
    changes = line_edits(WRONG, WRONG.replace("y = x + 1\n    z = y", "y = x - 1\n    z = 2 * y"))
    assert [edit.start for edit in changes] == [1, 2] and edit_size(changes) == 2
    assert edit_size(line_edits("a\nb", "a\nc\nd\ne")) == 3  # one line gives place to three


def runs_to(value):
    """Whether a program of these tests returns ``value`` for 1, by running it."""

    def passes(code):
        space = {}
        exec(code, space)
        return space["f"](1) == value

    return lambda programs: {name: passes(code) for name, code in programs.items()}


def test_what_is_not_needed_stays_out():
    right = "def f(x):\n    # add two\n    y = x + 2\n    z = y + 0\n    return z"
    kept = needed_edits({"one": (WRONG, right)}, runs_to(3))["one"]
    assert edit_size(line_edits(WRONG, right)) == 3  # a comment, the constant, a harmless sum
    assert apply_edits(WRONG, kept) == WRONG.replace("x + 1", "x + 2") and edit_size(kept) == 1


def test_of_two_changes_that_would_do_each_alone_one_stays():
    right = "def f(x):\n    y = x + 1\n    z = y + 1\n    return 3"
    assert edit_size(needed_edits({"one": (WRONG, right)}, runs_to(3))["one"]) == 1


def test_an_only_change_needs_no_run_and_many_repairs_go_together():
    calls = []

    def passing(programs):
        calls.append(len(programs))
        return runs_to(3)(programs)

    pairs = {"only": (WRONG, WRONG.replace("x + 1", "x + 2")),
             "two": (WRONG, WRONG.replace("x + 1", "x + 2").replace("return z", "return z + 0"))}  # fmt: skip
    kept = needed_edits(pairs, passing)
    assert [edit_size(changes) for changes in kept.values()] == [1, 1]
    assert sum(calls) <= 2
