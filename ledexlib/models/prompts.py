"""How a model is asked: few-shot prompts for base models, chat messages for tuned ones, the teacher's request.

The chat format is the paper's (section 2): user (task), assistant (wrong program), user (feedback and instruction),
assistant (answer). The paper does not print its prompts; the wording here is the project's own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ledexlib.models.answers import BEGIN, DONE, EXPLANATION
from ledexlib.problems import WorkedRepair
from ledexlib.records import Problem

Message = dict[str, str]  # {"role": "system" | "user" | "assistant", "content": text}
Prompt = str | list[Message]  # text to be continued by a base model, or a conversation to be answered

STUB_TASK = "Complete this function."
WRONG, FEEDBACK = "[WRONG]", "[FEEDBACK]"  # section markers of few-shot prompts, with BEGIN, DONE and EXPLANATION

REFINE = "The program is wrong. Answer with the corrected program."
EXPLAIN_REFINE = "The program is wrong. Explain what is wrong with it, then answer with the corrected program."

TEACHER_SYSTEM = (
    "You are an expert Python programmer. You are shown a programming task, a wrong program and what happened when "
    "it was tested. First explain in a few sentences what is wrong with the program, where, and why it fails the "
    "test. Then write the whole corrected program in one Python code block fenced by ```python and ```."
)
TEACHER_TASK = "Task:\n"
TEACHER_WRONG = "\n\nThe wrong program:\n"
TEACHER_FEEDBACK = "\n\nWhat happened when it was tested:\n"
TEACHER_REQUEST = "\n\nExplain the mistake, then write the whole corrected program."

# StarChat's layout: each turn is <|role|>, a line break, the text, <|end|>, a line break.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)


def task_text(problem: Problem) -> str:
    """The task as every prompt states it: a stub problem's text is its stub, the others' is their prompt."""
    return f"{STUB_TASK}\n{problem.stub}" if problem.stub else problem.prompt


# Few-shot prompts


def few_shot_solution(problem: Problem, shots: Sequence[Problem]) -> str:
    """A prompt for a base model: solved tasks, then this one; a completion ends with ``[DONE]`` (paper: 3 shots).

    A stub problem's code begins with its stub, which says what to do: the task line only asks to complete it.
    """
    solved = [_solve(shot) + few_shot_answer(shot.reference.removeprefix(shot.stub)) for shot in shots]
    return "\n".join([*solved, _solve(problem)])


def _solve(problem: Problem) -> str:
    return f"Task: {STUB_TASK if problem.stub else problem.prompt}\n{BEGIN}\n{problem.stub}"


def few_shot_refinement(
    problem: Problem, wrong: str, feedback: str, shots: Sequence[WorkedRepair], explain: bool
) -> str:
    """A prompt for a base model: repaired programs, then this wrong one, to be repaired with or without explanation."""

    def repair(problem: Problem, wrong: str, feedback: str) -> str:
        parts = (f"Task: {task_text(problem)}", WRONG, wrong, FEEDBACK, feedback, EXPLANATION if explain else BEGIN, "")
        return "\n".join(parts)

    repaired = [repair(*shot[:3]) + few_shot_answer(shot.code, shot.explanation if explain else None) for shot in shots]
    return "\n".join([*repaired, repair(problem, wrong, feedback)])


def few_shot_answer(code: str, explanation: str | None = None) -> str:
    """The completion of a few-shot prompt, as its examples write it."""
    told = "" if explanation is None else f"{explanation}\n{BEGIN}\n"
    return f"{told}{code}\n{DONE}\n"


# Chat


def answer_text(explanation: str | None, code: str) -> str:
    """A target answer as a model is trained to write it: the explanation, then the program in a Python fence."""
    fence = _fence(code)
    block = f"{fence}python\n{code}\n{fence}"
    return f"{explanation}\n\n{block}" if explanation else block


def solve_messages(problem: Problem, answer: str | None = None) -> list[Message]:
    """A conversation that asks for a program, closed by ``answer`` if there is one (for training)."""
    return _turns(task_text(problem), answer)


def refine_messages(
    problem: Problem, wrong: str, feedback: str, explain: bool, answer: str | None = None
) -> list[Message]:
    """A conversation that asks to repair ``wrong``: task, wrong program, feedback and instruction [, answer]."""
    instruction = EXPLAIN_REFINE if explain else REFINE
    return _turns(task_text(problem), answer_text(None, wrong), f"{feedback}\n\n{instruction}", answer)


def _turns(*contents: str | None) -> list[Message]:
    """Alternating turns of user and assistant; a None at the end is a turn that is yet to be written."""
    return [
        {"role": "assistant" if number % 2 else "user", "content": content}
        for number, content in enumerate(contents)
        if content is not None
    ]


def _fence(*texts: str) -> str:
    """A run of backticks longer than any in the texts, so that it can delimit them without doubt; at least three."""
    longest = max((len(run) for text in texts for run in re.findall("`+", text)), default=0)
    return "`" * max(3, longest + 1)


# The teacher


def teacher_messages(problem: Problem, wrong: str, feedback: str) -> list[Message]:
    """The request to a chat teacher for an explanation and a repaired program in one answer (paper section 1)."""
    task = task_text(problem)
    fence = _fence(task, wrong, feedback)
    content = (
        f"{TEACHER_TASK}{task}{TEACHER_WRONG}{fence}python\n{wrong}\n{fence}"
        f"{TEACHER_FEEDBACK}{fence}\n{feedback}\n{fence}{TEACHER_REQUEST}"
    )
    return [{"role": "system", "content": TEACHER_SYSTEM}, {"role": "user", "content": content}]


def read_teacher_messages(messages: Sequence[Message]) -> tuple[str, str, str]:
    """Task, wrong program and feedback of `teacher_messages`, exactly; raises ValueError for any other messages."""
    content = messages[-1]["content"] if messages else ""
    fence = max(re.findall("`+", content), key=len, default="```")
    parts = content.split(fence)
    expected = ((TEACHER_TASK, TEACHER_WRONG), ("python\n", "\n"), (TEACHER_FEEDBACK, ""), ("\n", "\n"))
    if len(parts) != 5 or parts[4] != TEACHER_REQUEST:
        raise ValueError("not a teacher's request: expected the messages that teacher_messages() writes")
    texts = []
    for part, (start, end) in zip(parts, expected, strict=False):
        if not (part.startswith(start) and part.endswith(end) and len(part) >= len(start) + len(end)):
            raise ValueError(f"not a teacher's request: expected a section between {start!r} and {end!r}")
        texts.append(part[len(start) : len(part) - len(end)])
    return texts[0], texts[1], texts[3]


# Worked repairs for base models, written for this purpose; no benchmark has these tasks.


def _shot(prompt: str, entry_point: str, wrong: str, feedback: str, explanation: str, code: str) -> WorkedRepair:
    problem = Problem(
        task_id=f"shot/{entry_point}", prompt=prompt, entry_point=entry_point, tests=(), reference=code,
        benchmark="shots", split="prompt",
    )  # fmt: skip
    return WorkedRepair(problem, wrong, feedback, explanation, code)


FEW_SHOT_REPAIRS: tuple[WorkedRepair, ...] = (
    _shot(
        "Write a function that gives the days on which a shop sold more than on the day before, counted from 0.\n"
        "assert busier_days([5, 7, 7, 9]) == [1, 3]",
        "busier_days",
        "def busier_days(sales):\n"
        "    days = []\n"
        "    for day in range(1, len(sales) - 1):\n"
        "        if sales[day] > sales[day - 1]:\n"
        "            days.append(day)\n"
        "    return days",
        "assert busier_days([5, 7, 7, 9]) == [1, 3] failed: busier_days([5, 7, 7, 9]) returned [1]",
        "The loop stops too early: range(1, len(sales) - 1) never reaches the last day, so day 3, on which 9 were sold "
        "after 7, is missing from the result. The range has to end at len(sales).",
        "def busier_days(sales):\n"
        "    days = []\n"
        "    for day in range(1, len(sales)):\n"
        "        if sales[day] > sales[day - 1]:\n"
        "            days.append(day)\n"
        "    return days",
    ),
    _shot(
        "Write a function that counts for each guest how many dishes they ordered, given (guest, dish) pairs.\n"
        "assert dishes_by_guest([('Ann', 'soup'), ('Bo', 'rice'), ('Ann', 'cake')]) == {'Ann': 2, 'Bo': 1}",
        "dishes_by_guest",
        "def dishes_by_guest(orders):\n"
        "    counts = {}\n"
        "    for guest, dish in orders:\n"
        "        counts[guest] += 1\n"
        "    return counts",
        "line 4, counts[guest] += 1: KeyError: 'Ann'",
        "counts[guest] += 1 reads the old count before it adds one, but a guest who appears for the first time has no "
        "count yet, so the first order raises a KeyError. A missing count has to be taken as 0.",
        "def dishes_by_guest(orders):\n"
        "    counts = {}\n"
        "    for guest, dish in orders:\n"
        "        counts[guest] = counts.get(guest, 0) + 1\n"
        "    return counts",
    ),
    _shot(
        "Write a function that shortens a title to at most n characters; a shortened one ends with three dots, which "
        "count too.\n"
        "assert shorten('a long walk', 8) == 'a lon...'",
        "shorten",
        "def shorten(title, n):\n"
        "    if len(title) < n:\n"
        "        return title\n"
        "    return title[:n] + '...'",
        "assert shorten('a long walk', 8) == 'a lon...' failed: shorten('a long walk', 8) returned 'a long w...'",
        "The program keeps n characters of the title and then adds the dots, so the result has n + 3 characters; only "
        "n - 3 may be kept. Its condition is also wrong for a title of exactly n characters, which fits as it is: the "
        "comparison must be <=.",
        "def shorten(title, n):\n"
        "    if len(title) <= n:\n"
        "        return title\n"
        "    return title[:n - 3] + '...'",
    ),
)
