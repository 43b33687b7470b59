"""The loop with a scripted model and the real sandbox: drafts, feedback, repairs, each with its verdict."""

from functools import partial

import pytest
import tiny_runs

from ledexlib import repair
from ledexlib.evaluation import EvaluatedModel, load_evaluation_sets
from ledexlib.evaluation.evaluate import evaluate_model
from ledexlib.models import Completion
from ledexlib.params import Params
from ledexlib.records import Assertion, Problem, Sampling, content_id
from ledexlib.repair import loop
from ledexlib.repair.caches import CompletionCache, in_order
from ledexlib.runs import Progress
from ledexlib.training.rl.prompts import read_on_policy_programs, write_on_policy_programs

ANSWERS = {  # to the prompts of `ask`, by the index of the sample
    "draft double": ["def f(x):\n    return 2 * x", "def f(x):\n    return x", "def f(x):\n    return x"],
    "draft square": ["def f(x):\n    return x *", "def f(x):\n    return x * x", "def f(x):\n    return 2"],
    "draft broken": ["def f(x):\n    return 2 * x"] * 3,
}
P = Params(timeout=5.0, prompts_per_batch=2)


def problem(name: str, *tests: str) -> Problem:
    return Problem(
        task_id=name, prompt=f"Write {name}.", entry_point="f", reference="", benchmark="b", split="train",
        tests=tuple(Assertion(statement=statement) for statement in tests),
    )  # fmt: skip


PROBLEMS = [
    problem("double", "assert f(2) == 4", "assert f(3) == 6"),
    problem("square", "assert f(1) == 1", "assert f(3) == 9"),
    problem("broken", "assert f(1 =="),
]


class Scripted:
    name = "scripted"

    def generate(self, prompts, n, sampling):
        return [[Completion(self.answer(prompt)[k], 5, True) for k in range(n)] for prompt in prompts]

    def answer(self, prompt: str) -> list[str]:
        if prompt in ANSWERS:
            return ANSWERS[prompt]
        return [f"Because.\n\n```python\n{code}\n```" for code in ANSWERS[f"draft {prompt.split()[1]}"]]


def ask(problem: Problem) -> str:
    return f"draft {problem.task_id}"


def ask_repair(problem: Problem, wrong) -> str:
    return f"repair {problem.task_id} {wrong.code} {wrong.told}"


@pytest.fixture
def model(tmp_path):
    path, progress = tmp_path / "completions.jsonl", partial(Progress, tmp_path)
    return CompletionCache(path, "m", Scripted, Sampling(max_tokens=50), 0, in_order(2), progress)


@pytest.fixture
def drafts(model):
    return repair.draft_solutions(PROBLEMS, 3, ask, model, repair.VerdictCache(P))


def test_drafts_come_in_order_each_with_its_verdict(drafts):
    assert [s.task_id for s in drafts] == ["double"] * 3 + ["square"] * 3 + ["broken"] * 3
    said = ["passed", "failed", "failed", "error", "passed", "failed", "infra", "infra", "infra"]
    assert [s.verdict.status for s in drafts] == said
    assert {(s.model, s.tokens, s.finished) for s in drafts} == {("m", 5, True)}
    assert [s.sampling.index for s in drafts] == [0, 1, 2] * 3
    assert drafts[4].id == content_id("solution", "square", "m", drafts[4].sampling), "named by what it follows from"


def test_what_the_harness_failed_on_counts_nowhere(drafts):
    assert [s.needs_repair for s in drafts] == [False, True, True, True, False, True, False, False, False]
    assert [s.id for s in repair.unique_solutions(drafts)] == [drafts[i].id for i in (0, 1, 3, 4, 5)]
    assert [s.id for s in repair.wrong_solutions(drafts)] == [drafts[i].id for i in (1, 3, 5)]
    assert repair.passes_by_task(drafts).to_dict("list") == {"passed": [1, 1], "samples": [3, 3]}


def test_the_different_programs_that_need_no_repair(drafts):
    assert [s.id for s in repair.unbroken_solutions(drafts, 1)] == [drafts[0].id, drafts[4].id]
    assert repair.unbroken_solutions(drafts, 0) == []


def test_repairs_answer_the_feedback_and_have_verdicts(model, drafts):
    wrong = repair.wrong_solutions(drafts)
    found = repair.repair_solutions(wrong, PROBLEMS, 3, "refine", ask_repair, model, repair.VerdictCache(P))
    assert [r.solution_id for r in found] == [s.id for s in wrong for _ in range(3)]
    assert [r.verdict.passed for r in found] == [True, False, False, *[False, True, False] * 2]
    assert {(r.explanation, r.way, r.teacher) for r in found} == {("Because.", "refine", "m")}
    first = repair.assemble(drafts, found)[1]
    assert [r.id for r in first.correct] == [found[0].id]
    assert first.repair("refine") == found[0] and first.repair("explain") is None


def test_feedback_is_that_of_the_visible_tests(model, drafts):
    """Visible: of double its first test, of square none, of broken one that can be run."""
    visible = [PROBLEMS[0].model_copy(update={"tests": PROBLEMS[0].tests[:1]}), problem("square"),
               problem("broken", "assert f(0) == 1")]  # fmt: skip
    told = repair.feedback_on(drafts, visible, repair.VerdictCache(P))
    assert [s.fails for s in told] == [False, True, True, *[False] * 3, *[True] * 3]
    assert [s.needs_repair for s in told] == [s.fails for s in told]
    assert "f(2)" in told[1].told and "f(3)" not in told[1].told and told[3].told == loop.NOTHING_FAILS
    assert [s.verdict for s in told] == [s.verdict for s in drafts], "the score is still by all tests"
    assert [s.needs_repair for s in repair.feedback_on(drafts, PROBLEMS, repair.VerdictCache(P))] == [
        s.needs_repair for s in drafts
    ]


def test_a_failed_repair_is_told_what_failed_in_the_next_turn(drafts):
    said = [repair.next_turn(PROBLEMS[0], s.code, s.verdict, explain=True) for s in (drafts[0], drafts[1], drafts[6])]
    assert said[0] is None and said[2] is None
    assert said[1].startswith(drafts[1].verdict.feedback) and "Explain" in said[1]


def test_evaluation_and_on_policy_programs_are_drafted_and_repaired_by_the_same_loop(tmp_path, monkeypatch):
    """What reads answers in the loop is replaced: its mark is then on the programs of both."""
    read = loop.parse_answer
    monkeypatch.setattr(loop, "parse_solution", lambda text, problem: "marked = 1")
    monkeypatch.setattr(loop, "parse_answer", lambda text, problem: read(text, problem)._replace(code="marked = 2"))
    model = tiny_runs.make_model("llama", tmp_path / "04_sft")
    p = Params(
        n_solutions=2, solution_max_tokens=4, reward_references="task", n_samples=2, evaluate_max_tokens=4,
        evaluate_max_problems=2, evaluate_benchmarks=["mini-mbpp"], timeout=5.0,
    )  # fmt: skip
    candidate = EvaluatedModel("tiny", str(model), "chat")
    found = evaluate_model(candidate, load_evaluation_sets(p), p, tmp_path / "cache", partial(Progress, tmp_path))
    evaluated = found["mini-mbpp"]
    assert len(evaluated) == 4 and {t.solution.code for t in evaluated} == {"marked = 1"}
    repairs = [r for t in evaluated for r in t.refinements]
    assert {r.code for r in repairs} == {"marked = 2"} and {r.way for r in repairs} == {"refine", "explain"}
    write_on_policy_programs([tiny_runs.problem("one")], model, p, tmp_path)
    assert [t.solution.code for t in read_on_policy_programs(tmp_path)] == ["marked = 1"]
