"""Edits put a program into another; what a repair needs is found by taking changes back."""

from hypothesis import given
from hypothesis import strategies as st

from ledexlib.evaluation.edits import Edit, applied, edits, needed, size

WRONG = "def f(x):\n    y = x + 1\n    z = y\n    return z"
LINES = st.lists(st.sampled_from(["a = 1", "b = 2", "    c", "d", ""]), max_size=8).map("\n".join)


@given(LINES, LINES)
def test_edits_lead_from_one_program_to_the_other(before, after):
    changes = edits(before, after)
    assert applied(before, changes) == "\n".join(line.rstrip() for line in after.strip().splitlines())
    assert (size(changes) == 0) == (before.strip().splitlines() == after.strip().splitlines())


def test_a_line_replaced_added_or_removed_is_one_edit_of_one_line():
    assert edits(WRONG, WRONG.replace("x + 1", "x + 2")) == [Edit(1, 2, ("    y = x + 2",))]
    assert edits(WRONG, WRONG.replace("    z = y\n", "")) == [Edit(2, 3, ())]
    assert edits(WRONG, WRONG + "\nprint(1)") == [Edit(4, 4, ("print(1)",))]
    assert edits(WRONG, WRONG + "   \n\n") == []  # trailing blanks change nothing


def test_neighbouring_lines_are_separate_edits_where_they_pair_up():
    changes = edits(WRONG, WRONG.replace("y = x + 1\n    z = y", "y = x - 1\n    z = 2 * y"))
    assert [edit.start for edit in changes] == [1, 2] and size(changes) == 2
    assert size(edits("a\nb", "a\nc\nd\ne")) == 3  # one line gives place to three


def runs_to(value):
    """Whether a program of these tests returns ``value`` for 1, by running it."""

    def passes(code):
        space = {}
        exec(code, space)
        return space["f"](1) == value

    return lambda programs: {name: passes(code) for name, code in programs.items()}


def test_what_is_not_needed_stays_out():
    right = "def f(x):\n    # add two\n    y = x + 2\n    z = y + 0\n    return z"
    kept = needed({"one": (WRONG, right)}, runs_to(3))["one"]
    assert size(edits(WRONG, right)) == 3  # a comment, the constant, a harmless sum
    assert applied(WRONG, kept) == WRONG.replace("x + 1", "x + 2") and size(kept) == 1


def test_of_two_changes_that_would_do_each_alone_one_stays():
    right = "def f(x):\n    y = x + 1\n    z = y + 1\n    return 3"
    assert size(needed({"one": (WRONG, right)}, runs_to(3))["one"]) == 1


def test_an_only_change_needs_no_run_and_many_repairs_go_together():
    calls = []

    def passing(programs):
        calls.append(len(programs))
        return runs_to(3)(programs)

    pairs = {"only": (WRONG, WRONG.replace("x + 1", "x + 2")),
             "two": (WRONG, WRONG.replace("x + 1", "x + 2").replace("return z", "return z + 0"))}  # fmt: skip
    kept = needed(pairs, passing)
    assert [size(changes) for changes in kept.values()] == [1, 1]
    assert sum(calls) <= 2
