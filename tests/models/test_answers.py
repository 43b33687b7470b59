"""Answers in every shape that models give them, around invented programs and around those that real models wrote."""

import gzip
import json
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ledexlib.models import Answer, answer_text, parse_answer, parse_solution
from ledexlib.models.program_text import without_docstring
from ledexlib.problems import parse_python
from ledexlib.records import Problem


def problem(entry_point: str | None = "add", stub: str = "") -> Problem:
    return Problem(
        task_id="t/1", prompt="Add.", entry_point=entry_point, tests=(), reference="", benchmark="b", split="test",
        stub=stub,
    )  # fmt: skip


ADD = "def add(a, b):\n    return a + b"
FENCED = f"```python\n{ADD}\n```"


def answer(text: str) -> Answer:
    return parse_answer(text, problem())


@pytest.mark.parametrize(
    "text",
    [
        ADD,
        f"\n\n{ADD}\n\n\n",
        FENCED,
        f"```\n{ADD}\n```",
        f"```Python3\n{ADD}\n```",
        f"~~~python\n{ADD}\n~~~",
        f"``` python\n{ADD}\n```  ",
        f"````python\n{ADD}\n````",
        f"```python\n{ADD}",  # never closed
        f"```python\n{ADD}```",  # closed on the last line of code
        f"Here it is: ```python\n{ADD}\n```",
        FENCED.replace("\n", "\r\n"),
        textwrap.indent(FENCED, "   "),
        textwrap.indent(ADD, "    "),
        f"[BEGIN]\n{ADD}\n[DONE]",
        f"{ADD}\n[DONE]\n\nTask: something else\n[BEGIN]\ndef add(): pass\n[DONE]",
        f"[BEGIN]\n{FENCED}\n[DONE]\n",
        f"```python\n{ADD}\n[DONE]\n",
        f"<think>\nMaybe ```python\ndef add(): pass\n```?\n</think>\n\n{FENCED}",
        f"It could be\n```python\ndef add(): pass\n```\n</think>\n{FENCED}",
        f"{FENCED}<|end|>\n",
        f"{ADD}<|im_end|><|endoftext|>",
        ">>> def add(a, b):\n...     return a + b",
        f"Sure! Here's the function:\n\n{ADD}\n\nThis adds the numbers.",
        f"The function:\n\n{ADD}\n\nExplanation: it adds.",
        f"{ADD}\n\ndef test_add():\n    assert add(1,",  # cut off in the next definition
        f"{FENCED}\n\nUse it like this:\n\n```python\nprint(add(1, 2))\n```\n\nOutput:\n```\n3\n```",
        f"```bash\npip install numpy\n```\n{FENCED}",
        f"The old program was\n```python\ndef add(a, b):\n    return a - b\n```\nbut it should be\n{FENCED}",
        f"First the idea:\n```python\ntotal = a + b\n```\nThen:\n{FENCED}",
        f"```python\nprint(add(1, 2))\n```\nwith\n{ADD}",
        f"```python\n# forgot to close\n```python\n{ADD}\n```",
    ],
)
def test_the_program_is_found(text: str) -> None:
    assert answer(text).code == ADD


def test_the_chosen_block_is_kept_as_it_is() -> None:
    code = (
        "import re\n\n\n# a comment\ndef helper(s):\n\treturn s   \n\n\ndef add(a, b):\n"
        '    """Like\n    ```\n    add(1, 2)\n    ```\n    """\n    return a + b'
    )
    assert answer(f"Look:\n```python\n{code}\n```\nDone.").code == code


def test_a_broken_program_stays_broken() -> None:
    broken = "def add(a, b):\n    return (a + b\n\nprint(add(1, 2)"
    assert answer(f"```python\n{broken}\n```").code == broken
    assert answer("def add(a, b):\n    return (a +").code == "def add(a, b):\n    return (a +"


def test_a_program_of_another_name_is_still_the_answer() -> None:
    assert answer("```python\ndef plus(a, b):\n    return a + b\n```").code == "def plus(a, b):\n    return a + b"


def test_methods_are_found_by_their_class() -> None:
    code = "class Solution:\n    def add(self, a, b):\n        return a + b"
    text = f"```python\n{code}\n```\n```python\ns = Solution()\nprint(s.add(1, 2))\n```"
    assert parse_answer(text, problem("Solution().add")).code == code


def test_a_program_that_reads_its_input_is_preferred_to_others() -> None:
    code = "a, b = map(int, input().split())\nprint(a + b)"
    stdin = problem(entry_point=None)
    assert parse_answer(f"```\n1 2\n```\n```python\n{code}\n```\nFor example:\n```\n3\n```", stdin).code == code
    assert parse_answer(f"{code}\n", stdin).code == code
    assert parse_answer(f"Read both numbers.\n\n{code}", stdin) == Answer("Read both numbers.", code)


@pytest.mark.parametrize(
    "text",
    [
        "", "   \n\t\n", "I cannot help with that.", "Sorry, the import of this is for you: to decide.",
        "```python\nprint(add(1, 2))\n```", "<think>\ndef add(a, b):\n    return a + b", "```", "[BEGIN]\n[DONE]",
    ],
)  # fmt: skip
def test_there_may_be_no_program(text: str) -> None:
    assert answer(text).code == ""


# Stubs

STUB = (
    "from typing import List\n\n\ndef twice(x):\n    return 2 * x\n\n\n"
    'def add(a: List[int], b: int) -> int:\n    """The sum.\n    >>> add([1], 2)\n    3\n    """\n'
)
HEAD = STUB[: STUB.index('    """')]
BODY = "    total = sum(a)\n    return total + b"


@pytest.mark.parametrize(
    "text",
    [
        f"{BODY}\n",
        f"{BODY}\n\n\ndef test():\n    assert add([1",
        f"{BODY}\n\nTask: another one\n",
        f"{BODY}\n[DONE]\n\nTask: another one\n[BEGIN]\npass\n[DONE]",
        textwrap.dedent(BODY),
        BODY.lstrip(),  # only the first line lost its indentation
        textwrap.indent(textwrap.dedent(BODY), "  "),
        textwrap.indent(textwrap.dedent(BODY), "\t"),
        f"```python\n{BODY}\n```",
        f"```python\n{textwrap.dedent(BODY)}\n```",
        f"The body is:\n```python\n{BODY}\n```\nand\n```python\nprint(add([1], 2))\n```",
        f"{STUB}{BODY}",
        f"Complete:\n```python\n{STUB}{BODY}\n```",
        textwrap.indent(f"{STUB}{BODY}", "    "),
    ],
)
def test_a_body_completes_the_stub_without_its_docstring(text: str) -> None:
    whole = f"{STUB}{BODY}" if "def add" in text else f"{HEAD}{BODY}"
    assert parse_solution(text, problem(stub=STUB)) == whole


@pytest.mark.parametrize(
    ("kept", "docstring"),
    [
        ("def f(x):\n", '    """What f does."""\n'),
        ("def f(x):\n\n", "    r'''What\n    f does.'''\n\n"),
        ("class Solution:\n    def f(self, x):\n", "        'What f does.'\n"),
        ("def g():\n    'Helps.'\n    return 1\n\n\ndef f(x):\n", "    'What f does.'\n"),
        ("def g():\n    'Helps.'\n    return 1\n\n\ndef f(x):\n", ""),
        ("def f(x): 'What f does.'\n", ""),
        ("def f(x):\n    'What f does.'\n    # hint\n    y = x + 1\n", ""),
        ("def f(x):\n    y = 'no docstring'\n", ""),
        ("def f(x:\n", ""),
        ("", ""),
    ],
)
def test_only_a_docstring_at_the_end_of_a_stub_is_left_out(kept: str, docstring: str) -> None:
    assert without_docstring(kept + docstring) == kept


def test_a_repeated_signature_gets_what_came_before_it() -> None:
    whole = "def add(a: List[int], b: int) -> int:\n    return twice(sum(a)) + b"
    code = parse_solution(f"```python\n{whole}\n```", problem(stub=STUB))
    assert code == f"from typing import List\ndef twice(x):\n    return 2 * x\n\n{whole}"
    plain = "def add(a, b):\n    return sum(a) + b"
    assert parse_solution(plain, problem(stub=STUB)) == plain


# Explanations

WHY = "The loop stops early:\n- range(n - 1) leaves out the last item,\n- so `add` misses it."


@pytest.mark.parametrize(
    "text",
    [
        f"{WHY}\n\n{FENCED}",
        f"{FENCED}\n\n{WHY}",
        f"### Explanation\n\n{WHY}\n\n### Corrected code\n\n{FENCED}\n\nHope this helps!",
        f"**Explanation:** {WHY}\n\n**Corrected program:**\n{FENCED}",
        f"Explanation: {WHY}\n\nHere is the corrected program:\n\n{FENCED}",
        f"Sure! Let me look at it.\n\n{WHY}\n\nHere's the fixed version of the code:\n\n{FENCED}",
        f"Here is the corrected code:\n{FENCED}\n\n## Explanation\n{WHY}\n\n## Complexity\nO(n)",
        f"{WHY}\n[BEGIN]\n{ADD}\n[DONE]\n\nTask: another one",
        f"{WHY}\n[BEGIN]\n{ADD}",
        f"[EXPLANATION]\n{WHY}\n[BEGIN]\n{ADD}\n[DONE]",
        f"{WHY}\n\n{ADD}",
        f"<think>hm</think>\n{WHY}\n\n{FENCED}",
        f"1. What went wrong: {WHY}\n\n{FENCED}".removeprefix("1. "),
    ],
)
def test_the_explanation_is_found(text: str) -> None:
    assert answer(text) == Answer(WHY, ADD)


@pytest.mark.parametrize("text", [FENCED, f"Here is the corrected program:\n\n{FENCED}", f"Sure!\n{FENCED}", ADD])
def test_an_announcement_is_no_explanation(text: str) -> None:
    assert answer(text) == Answer(None, ADD)


def test_an_explanation_without_a_program_is_kept() -> None:
    assert answer("The base case is missing.") == Answer("The base case is missing.", "")


# Laws

FRAGMENTS = st.sampled_from(
    ["```", "````", "```python", "~~~", "[BEGIN]", "[DONE]", "def add(a, b):", "    return a", "return 1", "x = '''",
     "<think>", "</think>", "### Explanation", "Explanation: ", ">>> add(1)", "\t", "  ", "#", "print(1)", "(", "\x0c"]
)  # fmt: skip
MESSY = st.lists(FRAGMENTS | st.text(max_size=8), max_size=14).map("\n".join)


@settings(deadline=None)  # a busy machine is no failure
@given(MESSY, st.sampled_from([None, problem(), problem(entry_point=None), problem(stub=STUB)]))
def test_reading_never_fails(text: str, asked: Problem | None) -> None:
    explanation, code = parse_answer(text, asked)
    assert isinstance(code, str) and (explanation is None or explanation.strip())


@pytest.mark.parametrize("text", ["(" * 30_000, "-" * 60_000 + "1", "[]" * 9_000, "\x00", "\ud800 = 1", "```\n" * 999])
def test_reading_survives_hopeless_texts(text: str) -> None:
    parse_answer(text, problem())


SENTENCES = st.lists(
    st.sampled_from(
        ["The loop stops too early.", "`add` returns None;\nit must return a + b.", "For [1, 2] it gives 2, not 3.",
         "1. A wrong sign.\n2. A missing base case.", "Compare:\n```\na - b\n```\nThat is wrong.", "x is 0 at first.",
         "As in\n\n```python\nadd(1, 2)\n```\n\nit fails.", "[BEGIN] is no list.", "Use `**`, not `^`."]
    ),
    min_size=1,
    max_size=4,
).map("\n\n".join)  # fmt: skip
BODIES = st.lists(
    st.sampled_from(["x = 1", "", "# ```", "s = '''\n```\n'''", "s = '[DONE]'", "print(']')", "if a:\n        b = 2",
                     "# <think>", "s = '</think>'", "return a"]),
    max_size=5,
).map(lambda lines: "".join(f"    {line}\n" for line in lines))  # fmt: skip


@settings(deadline=None)  # a busy machine is no failure
@given(st.none() | SENTENCES, BODIES)
@example(None, "    '''\n````\n```\n'''\n")
def test_a_target_answer_is_read_back(explanation: str | None, body: str) -> None:
    code = f"import re\n\n\ndef add(a, b):\n{body}    return a + b"
    text = answer_text(explanation, code)
    for asked in (problem(), None):
        assert parse_answer(text, asked) == Answer(explanation, code)


# Programs and explanations of real models

STYLES: dict[str, Callable[[str, str], str]] = {
    "explain, fence": lambda why, code: f"{why}\n\n```python\n{code}\n```",
    "fence without language": lambda why, code: f"{why}\n\n```\n{code}\n```\n",
    "fence, explain": lambda why, code: f"```python\n{code}\n```\n\n{why}",
    "headings": lambda why, code: f"### Explanation\n{why}\n\n### Corrected code\n```python\n{code}\n```\n\nGood luck!",
    "chatter": lambda why, code: (
        f"Sure! Let us see.\n\nExplanation: {why}\n\nHere is the corrected version:\n\n```Python\n{code}\n```\nBye."
    ),
    "example after": lambda why, code: (
        f"{why}\n\n```python\n{code}\n```\n\nFor example:\n\n```python\nprint(f(1))\n```\n\nOutput:\n```\n1\n```"
    ),
    "markers": lambda why, code: f"{why}\n[BEGIN]\n{code}\n[DONE]\n\nTask: more\n[BEGIN]\nx = 1\n[DONE]",
    "thoughts": lambda why, code: f"<think>\n```python\npass\n```\n</think>\n{why}\n\n```python\n{code}\n```",
    "windows": lambda why, code: f"{why}\n\n```python\n{code}\n```".replace("\n", "\r\n"),
    "list item": lambda why, code: f"{why}\n\n" + textwrap.indent(f"```python\n{code}\n```", "   ", len),
}
LOOSE: dict[str, Callable[[str, str], str]] = {  # where the program ends can only be told by its syntax
    "never closed": lambda why, code: f"{why}\n\n```python\n{code}",
    "no fence": lambda why, code: f"{why}\n\n{code}",
    "no fence, explain": lambda why, code: f"Here is the corrected code:\n\n{code}\n\nExplanation: {why}",
}


def lines_of(path: Path) -> Iterator[dict]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def recorded_programs(shared_data: Path) -> Iterator[tuple[Problem, str, str]]:
    """Problem, explanation and program; a model's repairs share an invented explanation, GPT-4's bugs have theirs."""
    stubs = {row["task_id"]: row["prompt"] for row in lines_of(shared_data / "humaneval" / "HumanEval.jsonl.gz")}
    for path in sorted((shared_data / "recorded").glob("*.jsonl.gz")):
        for row in lines_of(path):
            asked = problem(row["entry_point"], stubs.get(row["task_id"], ""))
            programs = row.get("attempts") or [row["wrong"], row["refinement"]]
            for code in programs[:3]:
                why = row.get("explanation", "The last item is never compared with the others.").strip()
                yield asked, why, code.lstrip("\n").rstrip()


def test_real_programs_are_recovered(shared_data: Path) -> None:
    count = 0
    for number, (asked, why, code) in enumerate(recorded_programs(shared_data)):
        for name in list(STYLES)[number % 2 :: 2]:  # every program in half of the styles
            read = parse_answer(STYLES[name](why, code), asked)
            assert read.code == code, name
            assert read.explanation == why or not why, name
            count += 1
    assert count > 10_000


def test_real_programs_without_a_closing_fence_are_recovered(shared_data: Path) -> None:
    """Every program that is Python, and most of the others (some end with a model's own prose)."""
    broken = kept = 0
    for number, (asked, why, code) in enumerate(recorded_programs(shared_data)):
        name = list(LOOSE)[number % len(LOOSE)]
        read = parse_answer(LOOSE[name](why, code), asked)
        if parse_python(code) is None:
            broken, kept = broken + 1, kept + (read.code == code)
        else:
            assert read.code == code, name
            assert read.explanation == why or not why, name
    assert broken > 20 and kept / broken > 0.9


THOUGHTS = {
    "<think>Off by one?</think>\n", "<think>a\nb</think> ", "a thought without an opening\n</think>\n",
    "<reasoning>x</reasoning>", "[THINK]x[/THINK]", "◁think▷x◁/think▷", "<thinking>```python\nbad(\n</thinking>",
    "<think>a</think><think>b</think>",
    "<|channel|>analysis<|message|>x<|end|><|start|>assistant<|channel|>final<|message|>", "<think></think><answer>",
}  # fmt: skip


@pytest.mark.parametrize("thought", sorted(THOUGHTS))
@pytest.mark.parametrize("end", ["", "<|im_end|>\n<|im_start|>user\nmore", "</s>", "<|return|>", "</answer>"])
def test_thoughts_are_dropped_and_special_tokens_end_an_answer(thought: str, end: str) -> None:
    answer = parse_answer(f"{thought}It adds too little.\n\n{FENCED}{end}")
    assert (answer.explanation, answer.code) == ("It adds too little.", ADD)


def test_a_thought_that_was_cut_short_holds_no_answer() -> None:
    assert parse_answer(f"<reasoning>It might be\n{FENCED}") == (None, "")


@pytest.mark.parametrize("text", ["The loop stops one too early", "It never returns the answer", "Returns None"])
def test_an_explanation_of_one_line_needs_no_full_stop(text: str) -> None:
    assert parse_answer(f"{text}\n\n{FENCED}").explanation == text
