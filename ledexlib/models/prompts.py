"""How a model is asked: few-shot prompts for base models, chat messages for tuned ones, the teacher's request.

The chat format is the paper's (section 2): user (task), assistant (wrong program), user (feedback and instruction),
assistant (answer). The paper does not print its prompts; the wording here is the project's own."""

import re
from collections.abc import Sequence
from functools import cache
from itertools import cycle
from pathlib import Path

import yaml

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
    "test. Then write the whole corrected program in one Python code block fenced by ```python and ```.")
TEACHER_REQUEST = (  # {fence} is a run of backticks that none of the other texts contains
    "Task:\n{task}\n\nThe wrong program:\n{fence}python\n{wrong}\n{fence}\n\n"
    "What happened when it was tested:\n{fence}\n{feedback}\n{fence}\n\n"
    "Explain the mistake, then write the whole corrected program.")

# StarChat's layout: each turn is <|role|>, a line break, the text, <|end|>, a line break.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}")


def task_text(problem: Problem) -> str:
    """The task as every prompt states it: a stub problem's text is its stub, the others' is their prompt."""
    return f"{STUB_TASK}\n{problem.stub}" if problem.stub else problem.prompt


def few_shot_solution(problem: Problem, shots: Sequence[Problem]) -> str:
    """A prompt for a base model: solved tasks, then this one; a completion ends with ``[DONE]`` (paper: 3 shots).

    A stub problem's code begins with its stub, which says what to do: the task line only asks to complete it."""
    solved = [_solve(shot) + few_shot_answer(shot.reference.removeprefix(shot.stub)) for shot in shots]
    return "\n".join([*solved, _solve(problem)])


def _solve(problem: Problem) -> str:
    return f"Task: {STUB_TASK if problem.stub else problem.prompt}\n{BEGIN}\n{problem.stub}"


def few_shot_refinement(
    problem: Problem, wrong: str, feedback: str, shots: Sequence[WorkedRepair], explain: bool) -> str:
    """A prompt for a base model: repaired programs, then this wrong one, to be repaired with or without explanation."""
    then = EXPLANATION if explain else BEGIN
    asked = [shot[:3] for shot in shots] + [(problem, wrong, feedback)]
    requests = [f"Task: {task_text(p)}\n{WRONG}\n{code}\n{FEEDBACK}\n{told}\n{then}\n" for p, code, told in asked]
    answers = [few_shot_answer(shot.code, shot.explanation if explain else None) for shot in shots]
    return "\n".join(request + answer for request, answer in zip(requests, [*answers, ""], strict=True))


def few_shot_answer(code: str, explanation: str | None = None) -> str:
    """The completion of a few-shot prompt, as its examples write it."""
    return ("" if explanation is None else f"{explanation}\n{BEGIN}\n") + f"{code}\n{DONE}\n"


def answer_text(explanation: str | None, code: str) -> str:
    """A target answer as a model is trained to write it: the explanation, then the program in a Python fence."""
    fence = _fence(code)
    return (f"{explanation}\n\n" if explanation else "") + f"{fence}python\n{code}\n{fence}"


def solve_messages(problem: Problem, answer: str | None = None) -> list[Message]:
    """A conversation that asks for a program, closed by ``answer`` if there is one (for training)."""
    return _turns(task_text(problem), answer)


def refine_messages(
    problem: Problem, wrong: str, feedback: str, explain: bool, answer: str | None = None) -> list[Message]:
    """A conversation that asks to repair ``wrong``: task, wrong program, feedback and instruction [, answer]."""
    instruction = EXPLAIN_REFINE if explain else REFINE
    return _turns(task_text(problem), answer_text(None, wrong), f"{feedback}\n\n{instruction}", answer)


def _turns(*contents: str | None) -> list[Message]:
    """Alternating turns of user and assistant; a None at the end is a turn that is yet to be written."""
    said = zip(cycle(("user", "assistant")), contents, strict=False)
    return [{"role": role, "content": content} for role, content in said if content is not None]


def _fence(*texts: str) -> str:
    """A run of backticks longer than any in the texts, so that it can delimit them without doubt; at least three."""
    return "`" * max([3, *(len(run) + 1 for text in texts for run in re.findall("`+", text))])


def teacher_messages(problem: Problem, wrong: str, feedback: str) -> list[Message]:
    """The request to a chat teacher for an explanation and a repaired program in one answer (paper section 1)."""
    texts = {"task": task_text(problem), "wrong": wrong, "feedback": feedback}
    content = TEACHER_REQUEST.format(**texts, fence=_fence(*texts.values()))
    return [{"role": "system", "content": TEACHER_SYSTEM}, {"role": "user", "content": content}]


def read_teacher_messages(messages: Sequence[Message]) -> tuple[str, str, str]:
    """Task, wrong program and feedback of `teacher_messages`, exactly; raises ValueError for any other messages."""
    content = messages[-1]["content"] if messages else ""
    fence = max(re.findall("`+", content), key=len, default="```")
    around = re.split("{task}|{wrong}|{feedback}", TEACHER_REQUEST.replace("{fence}", fence))
    match = re.fullmatch("(.*)".join(map(re.escape, around)), content, re.DOTALL)
    if match is None or content.count(fence) != 4:
        raise ValueError("not a teacher's request: expected the messages that teacher_messages() writes")
    return match.groups()


@cache
def few_shot_repairs() -> tuple[WorkedRepair, ...]:
    """Repairs of ordinary programs, written for few-shot prompts: no benchmark has these tasks."""
    rows = yaml.safe_load(Path(__file__).with_name("few_shot_repairs.yaml").read_text(encoding="utf-8"))
    shared = {"tests": (), "benchmark": "shots", "split": "prompt"}
    problems = [Problem(**row.pop("problem"), **shared, reference=row["code"]) for row in rows]
    return tuple(WorkedRepair(problem, **row) for problem, row in zip(problems, rows, strict=True))
