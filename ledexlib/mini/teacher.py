"""A SIMULATED teacher: it looks like a language model that explains and repairs, and is none.

It stands in for the paper's GPT-3.5 where no such model can be had. It knows the mini world's problems and their
references, finds out what is wrong with a program by comparing it with them, and then deliberately fails as often as
the paper's teacher did: it is right about 46 % of the time on MBPP's pattern and plausibly wrong otherwise, with a
wrong explanation, a botched program, or both. Nothing measured with it says anything about a real teacher.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import islice

from ledexlib.mini.diagnosis import bare, diagnose, explain, feedback_of, fragments
from ledexlib.mini.problems import MiniProblem, find, record
from ledexlib.mini.programs import ALL_STYLES, Bug, bugs_of, render
from ledexlib.models import (
    STUB_TASK,
    Completion,
    Message,
    Prompt,
    answer_text,
    few_shot_answer,
    few_shot_refinement,
    read_teacher_messages,
    refine_messages,
    solve_messages,
)
from ledexlib.records import Sampling

# A wrong program is within the teacher's reach or it is not; within reach nearly every answer is right. Both the
# share of right answers and the share of programs repaired in ten answers are then near the paper's 45.95 % (Table 1,
# MBPP).
REACH, STEADY = 0.48, 0.96

FORMS = (
    "{answer}",
    "{answer}",
    "Explanation: {answer}",
    "{answer}\n\nThis version passes the test.",
)


def right_answer(problem: MiniProblem, code: str, feedback: str, rng: random.Random) -> tuple[str, str]:
    """Explanation and program of a sound repair."""
    found = diagnose(problem, code)
    return explain(problem, found.kind, found.step, found.wrong, found.right, feedback, rng), found.correct


def wrong_answer(problem: MiniProblem, code: str, feedback: str, rng: random.Random) -> tuple[str, str]:
    """Explanation and program of a failed repair: misled, botched, or nothing changed."""
    found = diagnose(problem, code)
    bugs = bugs_of(problem.steps, found.style, rng)
    rng.shuffle(bugs)

    def written(bug: Bug) -> str:
        return render(problem.steps, found.style, problem.name, found.argument, (bug,))

    # Two other bugs than the one at hand: one to blame, one to make, so that the answer is a change, if a wrong one.
    others = (bug for bug in bugs if (bug.kind, bug.step) != (found.kind, found.step))
    failing = list(islice((bug for bug in others if feedback_of(written(bug), problem)), 2))
    if not failing:
        return explain(problem, found.kind, found.step, found.wrong, found.right, feedback, rng), code
    blamed, botched = failing[0], written(failing[-1])
    misled = explain(problem, blamed.kind, blamed.step, *fragments(bare(code), written(blamed)), feedback, rng)
    draw = rng.random()
    if draw < 0.5:
        return misled, botched
    if draw < 0.75:
        return explain(problem, found.kind, found.step, found.wrong, found.right, feedback, rng), botched
    return misled, code


class SimulatedTeacher:
    """Answers ``models.teacher_messages`` about mini problems; the same request and sampling give the same."""

    name = "mini-teacher"

    def __init__(self, seed: int = 0):
        self.seed = seed

    def generate(self, requests: Sequence[Prompt], n: int, sampling: Sampling) -> list[list[Completion]]:
        """``n`` answers to each request; raises ValueError for a task that is not of the mini world."""
        return [self._answers(request, n, sampling) for request in requests]

    def _answers(self, request: Prompt, n: int, sampling: Sampling) -> list[Completion]:
        task, code, feedback = read_teacher_messages(request)
        try:
            problem = find(task.removeprefix(f"{STUB_TASK}\n"))
        except KeyError:
            raise ValueError(
                f"the simulated teacher knows the problems of the mini world only, not this task: {task[:80]!r}; "
                "choose another `teacher` for other benchmarks"
            ) from None
        within_reach = random.Random(f"{self.seed} {task} {code}").random() < REACH
        answers = []
        for index in range(sampling.index, sampling.index + n):
            rng = random.Random(f"{self.seed} {sampling.seed} {index} {task} {code}")
            make = right_answer if within_reach and rng.random() < STEADY else wrong_answer
            explanation, program = make(problem, code, feedback, rng)
            text = rng.choice(FORMS).format(answer=answer_text(explanation, program))
            answers.append(Completion(text, len(text.split()), True))
        return answers


def dialogue(problem: MiniProblem, rng: random.Random) -> tuple[tuple[str, bool], ...]:
    """A debugging dialogue for the corpus, half of them with a failed repair: text in parts, with what is an answer."""
    style = rng.choice(ALL_STYLES)
    asked = record(problem, "mini-mbpp")
    bugs = bugs_of(problem.steps, style, rng)
    wrong = render(problem.steps, style, problem.name, problem.argument, (rng.choice(bugs),))
    feedback = feedback_of(wrong, problem)
    if feedback is None:
        return _chat(solve_messages(asked, answer_text(None, wrong)))
    explanation, code = rng.choice((right_answer, wrong_answer))(problem, wrong, feedback, rng)
    explained = rng.random() < 0.5
    answer = answer_text(explanation if explained else None, code)
    if rng.random() < 0.5:
        return _chat(refine_messages(asked, wrong, feedback, explained, answer))
    ask = few_shot_refinement(asked, wrong, feedback, [], explained)
    return ((ask, False), (few_shot_answer(code, explanation if explained else None), True))


def _chat(messages: list[Message]) -> tuple[tuple[str, bool], ...]:
    """A conversation in the markers of the chat template, whose last turn is learned."""
    *before, last = messages
    asked = "".join(f"<|{m['role']}|>\n{m['content']}<|end|>\n" for m in before)
    return ((f"{asked}<|assistant|>\n", False), (last["content"], True))
