"""Segments against a slow search over every token, on real tokens of byte-level BPE and of a splitting alphabet."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_models import make_tokenizer

from ledexlib.models import answer_text
from ledexlib.records import Problem
from ledexlib.training.rl.scoring import segment, tokens_of

PROBLEM = Problem(
    task_id="t", prompt="Add.", entry_point="add", tests=(), reference="", benchmark="b", split="s",
)  # fmt: skip
CODE = "def add(a, b):\n    return a + b"
TOKENIZER = make_tokenizer(["<|end|>"])
END = TOKENIZER.convert_tokens_to_ids("<|end|>")


def decode(ids):
    return TOKENIZER.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def tokens(text, end=True):
    return TOKENIZER(text)["input_ids"] + [END] * end


def slow(ids, text):
    """The first prefix whose text begins with ``text``, by trying all."""
    return next(n for n in range(len(ids) + 1) if decode(ids[:n]).startswith(text))


def test_the_explanation_ends_with_its_last_character():
    explanation = "The loop stops early: use <= here."
    text = answer_text(explanation, CODE)
    found = segment(tokens(text), decode, PROBLEM, explain=True)
    assert (found.explanation, found.code, found.valid) == (explanation, CODE, True)
    assert decode(tokens(text)[: found.explanation_tokens]).startswith(explanation)
    assert not decode(tokens(text)[: found.explanation_tokens - 1]).startswith(explanation)
    assert found.tokens == len(tokens(text))


def test_a_token_that_spans_the_boundary_is_the_explanations():
    pieces = ["It is ", "wrong", ".\n\n```py", "thon\n", CODE, "\n```"]
    found = segment(range(6), lambda ids: "".join(pieces[i] for i in ids), PROBLEM, explain=True)
    assert (found.explanation, found.explanation_tokens, found.tokens) == ("It is wrong.", 3, 6)


def test_a_character_of_several_tokens_ends_with_its_last_one():
    text = answer_text("Il manque un é", CODE)
    ids = tokens(text)
    found = segment(ids, decode, PROBLEM, explain=True)
    assert found.explanation_tokens == slow(ids, "Il manque un é")
    assert "\ufffd" in decode(ids[: found.explanation_tokens - 1]), "é is two tokens here"


@pytest.mark.parametrize(
    ("text", "explained", "valid"),
    [
        (answer_text(None, CODE), 1, False),  # no explanation: the first token decided so
        (f"```python\n{CODE}\n```\nIt was wrong.", 1, False),  # behind the program it explains nothing beforehand
        ("<think>hm</think>\nIt is wrong.\n```python\n" + CODE + "\n```", None, True),
    ],
)
def test_answers_of_other_shapes(text, explained, valid):
    found = segment(tokens(text), decode, PROBLEM, explain=True)
    expected = explained or slow(tokens(text), text[: text.index(".") + 1])
    assert (found.explanation_tokens, found.valid) == (expected, valid)


def test_the_last_occurrence_before_the_program_counts():
    text = f"<think>Wrong.</think>\nWrong.\n```python\n{CODE}\n```"
    found = segment(tokens(text), decode, PROBLEM, explain=True)
    assert found.explanation_tokens == slow(tokens(text), text[: text.rindex("Wrong.") + 6])


def test_without_a_program_the_last_token_is_still_the_refinements():
    for end in (True, False):
        ids = tokens("It is wrong because", end)
        found = segment(ids, decode, PROBLEM, explain=True)
        assert (found.code, found.valid, found.explanation_tokens) == ("", False, len(ids) - 1)


def test_a_missing_end_token_changes_nothing_before():
    text = answer_text("It is wrong.", CODE)
    whole, cut = (segment(tokens(text, end), decode, PROBLEM, explain=True) for end in (True, False))
    assert whole.explanation_tokens == cut.explanation_tokens and whole.tokens == cut.tokens + 1


def test_refine_only_answers_have_no_explanation_segment():
    found = segment(tokens(answer_text("It is wrong.", CODE)), decode, PROBLEM, explain=False)
    assert found[:3] == (None, CODE, 0) and found.valid


def test_the_smallest_answers():
    assert segment([END], decode, PROBLEM, explain=True)[2:] == (1, 1)
    assert segment([END], decode, PROBLEM, explain=False)[2:] == (0, 1)
    with pytest.raises(ValueError, match="without tokens"):
        segment([], decode, PROBLEM, explain=True)


@given(st.text(min_size=1, max_size=30), st.text(max_size=30))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_halving_finds_what_trying_all_finds(before, after):
    ids = tokens(before + after, end=False)
    assert tokens_of(ids, decode, before) == slow(ids, before)


def test_text_that_the_tokens_do_not_say_is_refused():
    with pytest.raises(ValueError, match="do not decode"):
        tokens_of(tokens("abc"), decode, "abd")


@given(st.text(max_size=60), st.booleans())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_segments_are_defined_for_any_answer(text, explain):
    ids = tokens(text)
    found = segment(ids, decode, PROBLEM, explain)
    assert found.tokens == len(ids) and (found.explanation_tokens == 0) == (not explain)
    assert 0 <= found.explanation_tokens <= max(1, len(ids) - 1)
