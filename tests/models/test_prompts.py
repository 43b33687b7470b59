"""How models are asked: exact shapes of prompts, and the teacher's request read back without loss."""

from collections.abc import Callable

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledexlib.models import (
    CHAT_TEMPLATE,
    answer_text,
    few_shot_refinement,
    few_shot_repairs,
    few_shot_solution,
    prompts,
    read_teacher_messages,
    refine_messages,
    solve_messages,
    teacher_messages,
)
from ledexlib.models.prompts import task_text
from ledexlib.problems import WorkedRepair
from ledexlib.records import Problem


def problem(prompt: str = "Add two numbers.\nassert add(1, 2) == 3", stub: str = "") -> Problem:
    return Problem(
        task_id="t/1", prompt=prompt, entry_point="add", tests=(), reference="def add(a, b):\n    return a + b",
        benchmark="b", split="test", stub=stub,
    )  # fmt: skip


STUB = 'def add(a, b):\n    """The sum."""\n'


def test_few_shot_solution_has_the_documented_blocks() -> None:
    shot = problem("Add them.")
    assert few_shot_solution(problem(), [shot, shot]) == (
        "Task: Add them.\n[BEGIN]\ndef add(a, b):\n    return a + b\n[DONE]\n"
        "\n"
        "Task: Add them.\n[BEGIN]\ndef add(a, b):\n    return a + b\n[DONE]\n"
        "\n"
        "Task: Add two numbers.\nassert add(1, 2) == 3\n[BEGIN]\n"
    )


def test_few_shot_solution_leaves_a_stub_open() -> None:
    asked = problem(stub=STUB)
    shot = asked.model_copy(update={"reference": f"{STUB}    return a + b"})
    assert few_shot_solution(asked, [shot]) == (
        f"Task: Complete this function.\n[BEGIN]\n{STUB}    return a + b\n[DONE]\n\n"
        f"Task: Complete this function.\n[BEGIN]\n{STUB}"
    )


@pytest.mark.parametrize(("explain", "opening"), [(True, "[EXPLANATION]\n"), (False, "[BEGIN]\n")])
def test_few_shot_refinement_has_the_documented_blocks(explain: bool, opening: str) -> None:
    text = few_shot_refinement(problem(), "def add(a, b): pass", "None != 3", few_shot_repairs(), explain)
    blocks = text.split("\n\nTask: ")
    assert len(blocks) == 4
    assert blocks[-1] == (
        "Add two numbers.\nassert add(1, 2) == 3\n[WRONG]\ndef add(a, b): pass\n[FEEDBACK]\nNone != 3\n" + opening
    )
    shot = few_shot_repairs()[0]
    explained = f"[EXPLANATION]\n{shot.explanation}\n" if explain else ""
    assert blocks[0] == (
        f"Task: {shot.problem.prompt}\n[WRONG]\n{shot.wrong}\n[FEEDBACK]\n{shot.feedback}\n"
        f"{explained}[BEGIN]\n{shot.code}\n[DONE]"
    )


@pytest.mark.parametrize("shot", few_shot_repairs(), ids=lambda shot: shot.problem.entry_point)
def test_worked_repairs_are_true(shot: WorkedRepair) -> None:
    """The wrong program fails the assertion in its task, and the repaired one passes it."""
    assertion = "assert" + shot.problem.prompt.partition("\nassert")[2]
    exec(f"{shot.code}\n{assertion}", {})
    with pytest.raises((AssertionError, KeyError)) as failure:
        exec(f"{shot.wrong}\n{assertion}", {})
    assert failure.type.__name__ in shot.feedback or "failed" in shot.feedback


def test_worked_repairs_quote_what_came_out() -> None:
    for shot in few_shot_repairs():
        if "returned" in shot.feedback:
            namespace: dict = {}
            exec(shot.wrong, namespace)
            call, _, value = shot.feedback.partition(" failed: ")[2].partition(" returned ")
            assert repr(eval(call, namespace)) == value


def test_conversations_alternate_and_end_with_the_answer() -> None:
    asked = problem()
    solving = solve_messages(asked)
    assert solving == [{"role": "user", "content": task_text(asked)}]
    answer = answer_text("It subtracts.", "def add(a, b):\n    return a + b")
    assert answer == "It subtracts.\n\n```python\ndef add(a, b):\n    return a + b\n```"
    repairing = refine_messages(asked, "def add(a, b):\n    return a - b", "-1 != 3", True, answer)
    assert [turn["role"] for turn in repairing] == ["user", "assistant", "user", "assistant"]
    assert repairing[0] == solving[0]
    assert repairing[1]["content"] == "```python\ndef add(a, b):\n    return a - b\n```"
    assert repairing[2]["content"] == f"-1 != 3\n\n{prompts.EXPLAIN_REFINE}"
    assert repairing[3]["content"] == answer
    direct = refine_messages(asked, "x", "y", False)
    assert len(direct) == 3 and direct[2]["content"].endswith(prompts.REFINE)


def render(**variables: object) -> str:
    return jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(CHAT_TEMPLATE).render(**variables)


def test_chat_template_is_starchats() -> None:
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi\n"}]
    opened = render(messages=turns, add_generation_prompt=True)
    assert opened == "<|system|>\nBe brief.<|end|>\n<|user|>\nHi\n<|end|>\n<|assistant|>\n"
    answered = render(messages=[*turns, {"role": "assistant", "content": "Hello"}])
    assert answered == opened + "Hello<|end|>\n"


NASTY = st.lists(
    st.sampled_from(
        ["`", "``", "```", "````python", "~~~", "\n", "\n\n", "\r\n", " ", "\t", "Task:", "The wrong program:",
         "What happened when it was tested:", "Explain the mistake, then write the whole corrected program.",
         "[BEGIN]", "<|end|>", "python\n", "é", "\x00", "def f():", "{fence}", "%s"]
    )
    | st.text(max_size=12),
    max_size=12,
).map("".join)  # fmt: skip


@settings(deadline=None)  # a busy machine is no failure
@given(NASTY, NASTY, NASTY)
def test_the_teacher_reads_exactly_what_was_asked(task: str, wrong: str, feedback: str) -> None:
    messages = teacher_messages(problem(prompt=task), wrong, feedback)
    assert [turn["role"] for turn in messages] == ["system", "user"]
    assert read_teacher_messages(messages) == (task, wrong, feedback)


@settings(deadline=None)  # a busy machine is no failure
@given(NASTY)
def test_the_teacher_reads_a_stub_as_its_task(wrong: str) -> None:
    asked = problem(stub=STUB)
    assert read_teacher_messages(teacher_messages(asked, wrong, "no"))[0] == task_text(asked)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "",
        lambda text: text + "\nPlease.",
        lambda text: text.replace("The wrong program", "My program"),
        lambda text: text.replace("```python", "``` python", 1),
        lambda text: "Hello\n" + text,
        lambda text: "```a``````b```",
    ],
)
def test_other_messages_are_refused(spoil: Callable[[str], str]) -> None:
    messages = teacher_messages(problem(), "def add(): pass", "no")
    messages[-1]["content"] = spoil(messages[-1]["content"])
    with pytest.raises(ValueError, match="not a teacher's request"):
        read_teacher_messages(messages)
