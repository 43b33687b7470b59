"""Every figure of evaluation against numbers worked out by hand."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledexlib.evaluation import comparisons, example_repairs
from ledexlib.evaluation import metrics as rm
from ledexlib.evaluation.command import run_headline
from ledexlib.evaluation.comparisons import headline_gains
from ledexlib.evaluation.evaluate import EvaluationSet
from ledexlib.evaluation.metrics import exceptions_in, invented_exceptions
from ledexlib.records import Assertion, Problem, Refinement, Sampling, Solution, Trajectory, Verdict
from ledexlib.runs import write_json

CODE = "def f(x): return x"


def problem(task_id: str) -> Problem:
    return Problem(task_id=task_id, prompt="", entry_point="f", tests=(Assertion(statement="assert f(1) == 1"),),
                   reference=CODE, benchmark=task_id.split("/")[0], split="test")  # fmt: skip


def verdict(status: str) -> Verdict:
    return Verdict(status=status, n_passed=0, n_tests=1, feedback="", seconds=0.0)


def attempt(task: str, index: int, first: str, refine: str = "", explain: str = "", fails: bool | None = None,
            code: str = CODE, edited: int = 2, needed: int | None = None, told: str | None = None,
            explanation: str | None = None) -> Trajectory:  # fmt: skip
    """p passed, f failed, i infra; '' no repair; a repair's code is ``code``."""
    words = {"p": "passed", "f": "failed", "i": "infra"}
    about = {"task_id": task, "completion": "", "sampling": Sampling(index=index)}
    name = f"{task}/{index}"
    repairs = tuple(
        Refinement(id=f"{name}/{way}", solution_id=name, explanation=explanation, code=code, teacher="m", way=way,
                   verdict=verdict(words[came]), tokens=3, edited=edited, needed=needed, **about)
        for way, came in (("refine", refine), ("explain", explain)) if came
    )  # fmt: skip
    said = {"verdict": verdict(words[first]), "fails": fails, "feedback": told, "tokens": 5}
    solution = Solution(id=name, code=CODE, model="m", **said, **about)
    return Trajectory(id=name, solution=solution, refinements=repairs)


def table_of(*tried: Trajectory, benchmark: str = "b") -> pd.DataFrame:
    tasks = [problem(task) for task in dict.fromkeys(t.solution.task_id for t in tried)]
    return rm.task_counts({"m": {benchmark: tried}}, [EvaluationSet(benchmark, tasks, tasks, [], ())])


TRIED = (
    attempt("b/1", 0, "p", refine="f"), attempt("b/1", 1, "p"), attempt("b/1", 2, "f", "p", "f"),
    attempt("b/1", 3, "f", "f", "f"),
    attempt("b/2", 0, "f", "p", "p"), attempt("b/2", 1, "f", "p", "f"), attempt("b/2", 2, "f", "f", "f"),
    attempt("b/2", 3, "f", "f", "p"),
)  # fmt: skip


def test_explanations_are_held_to_the_exceptions_that_they_name():
    def said(index: int, explanation: str | None, feedback: str, fails: bool = True) -> Trajectory:
        first = "f" if fails else "p"
        return attempt("b/1", index, first, explain="f", explanation=explanation, told=feedback)

    table = table_of(
        said(0, "It stops with a KeyError.", "KeyError: 'a'"),
        said(1, "It stops with a SyntaxError.", "KeyError: 'a'"),  # another one
        said(2, "It stops with a SyntaxError.", "got 1, expected 2"),  # there is none
        said(3, "It adds instead of multiplying.", "got 1, expected 2"),
        said(4, "It uses the wrong key.", "KeyError: 'a'"),  # not named
        said(5, None, "KeyError: 'a'"),
        said(6, "It stops with a SyntaxError.", "Every test passes.", fails=False),
    )
    (row,) = table.to_dict("records")
    assert (row["explain explained"], row["explain invented"]) == (5, 2)
    assert (row["explain raised"], row["explain named"]) == (3, 1)
    rates = rm.repair_rates(table).set_index(["way", "rate"])["value"]
    assert rates["explain", "wrong error named"] == pytest.approx(40)
    assert rates["explain", "raised error named"] == pytest.approx(100 / 3)


def test_what_counts_as_an_exception_and_as_invented():
    text = "A ValueError, no Value error; StopIteration, a TokenizeError of theirs, AssertionError: KeyErrors."
    assert exceptions_in(text) == {"ValueError", "StopIteration", "TokenizeError"}
    assert invented_exceptions("Raise ValueError, not KeyError.", "Raise ValueError if x < 0.", "KeyError: 1") == set()
    assert invented_exceptions("Raise ValueError, not KeyError.", "raise KeyError") == {"ValueError"}


def test_repairs_to_read_pass_and_are_explained_if_any_that_pass_are():
    shown = example_repairs({"other": {}, "m": {"b": TRIED}}, 4)
    assert [(wrong.id, repair.verdict.passed) for wrong, repair in shown] == [("b/2/0", True)]
    plain = [t.model_copy(update={"refinements": tuple(r for r in t.refinements if r.way == "refine")}) for t in TRIED]
    assert [wrong.id for wrong, _ in example_repairs({"m": {"b": plain}}, 4)] == ["b/1/2", "b/2/0"]
    assert example_repairs({"m": {"b": TRIED[:2]}}, 4) == []


def test_the_counts_of_a_task():
    one, two = table_of(*TRIED).to_dict("records")
    assert (one["samples"], one["initial"], one["wrong"]) == (4, 2, 2)
    assert (one["refine"], one["refine sent"], one["refine fixed"]) == (3, 2, 1)
    assert (one["refine correct"], one["refine broken"]) == (2, 2.0)  # the one that was sent broke, so both would
    assert (one["explain"], one["explain fixed"], one["explain correct"]) == (2, 0, 0)
    assert (two["initial"], two["refine"], two["explain"]) == (0, 2, 2)


def test_scores_and_rates_by_hand():
    table = table_of(*TRIED)
    assert rm.estimated_pass_at(table, "initial", 1).value == pytest.approx(25.0)
    assert rm.estimated_pass_at(table, "refine", 1).value == pytest.approx(100 * (3 / 4 + 2 / 4) / 2)
    assert rm.estimated_pass_at(table, "refine", 2).value == pytest.approx(100 * (1 + (1 - 1 / 6)) / 2)  # 5 of 6 pairs
    assert np.isnan(rm.estimated_pass_at(table, "initial", 5).value)
    rates = rm.repair_rates(table).set_index(["way", "rate"])["value"]
    assert rates["refine", "success refinement rate"] == pytest.approx(100 * 3 / 6)
    assert rates["explain", "success refinement rate"] == pytest.approx(100 * 2 / 6)
    assert rates["refine", "break rate"] == 100.0 and np.isnan(rates["explain", "break rate"])
    assert rates["refine", "everything sent: pass@1"] == pytest.approx(100 * 3 / 8)  # none of the right ones, 3 repairs


def test_what_the_harness_failed_is_never_scored():
    table = table_of(attempt("b/1", 0, "i"), attempt("b/1", 1, "f", "i", "p"), attempt("b/1", 2, "p"))
    (row,) = table.to_dict("records")
    assert (row["samples"], row["refine samples"], row["refine"]) == (2, 1, 1)
    assert (row["explain samples"], row["explain"]) == (2, 2)


def test_with_public_feedback_a_wrong_program_that_shows_no_failure_stays_wrong():
    table = table_of(attempt("b/1", 0, "f", fails=False), attempt("b/1", 1, "f", "p", "p", fails=True))
    (row,) = table.to_dict("records")
    assert (row["wrong"], row["refine sent"], row["refine"], row["refine samples"]) == (2, 1, 1, 2)


def test_outputs_without_the_program_asked_for_are_invalid():
    codes = ("", "def g(x): return x", "def f(x", CODE)
    tried = [attempt("b/1", n, "f", "f", code=code) for n, code in enumerate(codes)]
    (row,) = table_of(*tried).to_dict("records")
    assert (row["refine answers"], row["refine invalid"]) == (4, 3)


def test_overall_is_weighted_by_problems_and_a_plus_version_is_the_same_problem():
    plus = [attempt(f"bplus/{n}", 0, "f", "f", "f") for n in (1, 2)]
    table = pd.concat([table_of(*TRIED), table_of(*plus, benchmark="bplus")])
    assert table["problem"].nunique() == 2
    scores = rm.pass_at_k_scores(table).set_index(["benchmark", "score", "k"])["value"]
    assert scores["overall", "refine", 1] == pytest.approx(100 * (0.75 + 0.5 + 0 + 0) / 4)
    assert [benchmark for _, benchmark, _ in rm.groups_of(table)] == ["b", "bplus", "overall"]


def random_table(rng: np.random.Generator, model: str, rate: float, tasks: int = 60, n: int = 10) -> pd.DataFrame:
    rows = []
    for task in range(tasks):
        passed = int(rng.binomial(n, rng.beta(2 * rate, 2 * (1 - rate))))
        fixed = int(rng.binomial(n - passed, rate / 2))
        rows.append({"model": model, "benchmark": "b", "task": f"b/{task}", "problem": f"b/{task}", "samples": n,
                     "initial": passed, "wrong": n - passed, "explain samples": n, "explain": passed + fixed,
                     "explain sent": n - passed, "explain fixed": fixed, "explain answers": n - passed})  # fmt: skip
    return pd.DataFrame(rows)


def pair(seed: int = 0, rates: tuple[float, float] = (0.3, 0.5)) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.concat([random_table(rng, "base", rates[0]), random_table(rng, "04_sft", rates[1])])


def test_a_gain_is_the_difference_with_the_interval_of_a_plain_paired_bootstrap():
    table = pair()
    found = comparisons.pass_at_gain(table, "base", "04_sft", "explain", 1)
    base, sft = (table[table["model"] == m]["explain"].to_numpy() / 10 for m in ("base", "04_sft"))
    assert found.points == pytest.approx(100 * (sft - base).mean())
    rng = np.random.default_rng(1)
    draws = [100 * (sft - base)[rng.integers(60, size=60)].mean() for _ in range(4000)]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(draws, (0.025, 0.975))), abs=0.6)
    assert found.p < 0.01 and (found.n_problems, found.n_samples) == (60, 600)


def test_no_gain_is_found_where_there_is_none():
    """The interval of a difference of equals holds 0 about as often as it says."""
    pairs = (pair(seed, (0.4, 0.4)) for seed in range(60))
    found = [comparisons.pass_at_gain(table, "base", "04_sft", "explain", 1) for table in pairs]
    assert sum(gain.low <= 0 <= gain.high for gain in found) >= 52


def test_models_evaluated_on_different_tasks_are_not_compared():
    with pytest.raises(ValueError, match="no pass@1 on the same tasks"):
        comparisons.pass_at_gain(pair().iloc[:-1], "base", "04_sft", "explain", 1)


@given(st.integers(0, 1000))
def test_better_drafts_and_better_repair_add_up_to_the_gain(seed):
    table = pair(seed)
    sources = comparisons.sources_of_gain(table, "base", "04_sft", "explain")
    shares = table.groupby("model")["explain"].sum() / table.groupby("model")["samples"].sum()
    assert sum(sources.values()) == pytest.approx(100 * (shares["04_sft"] - shares["base"]))


def repaired(model: str, *counts: tuple[int, int]) -> pd.DataFrame:
    """A table with these numbers of wrong programs and of repaired ones, task by task."""
    rows = [
        {"model": model, "benchmark": "b", "task": f"b/{n}", "problem": f"b/{n}", "explain sent": sent,
         "explain fixed": fixed}
        for n, (sent, fixed) in enumerate(counts)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_like_for_like_a_model_is_not_blamed_for_having_only_hard_programs_left():
    """The easy task's programs are repaired at 6 of 8 and then 1 of 1, the hard one's at 0 of 2 and then 1 of 4."""
    table = pd.concat([repaired("base", (8, 6), (2, 0), (3, 3)), repaired("04_sft", (1, 1), (4, 1), (0, 0))])
    alike = comparisons.like_for_like(table, "base", "04_sft", "explain")
    assert alike.to_dict("index") == {
        "b/0": {"gain": 8 - 6, "weight": 8, "tasks": 1}, "b/1": {"gain": 0.5, "weight": 2, "tasks": 1}
    }  # fmt: skip
    found = comparisons.repair_gains(table, "base", "04_sft", "explain")
    assert found[rm.REFINEMENT_RATE].points == pytest.approx(100 * (2 / 5 - 9 / 13))
    assert found[comparisons.LIKE_FOR_LIKE].points == pytest.approx(100 * 2.5 / 10)
    assert (found[comparisons.LIKE_FOR_LIKE].n_problems, found[comparisons.LIKE_FOR_LIKE].n_samples) == (2, 10)
    assert (found[comparisons.LIKE_FOR_LIKE].low, found[comparisons.LIKE_FOR_LIKE].high) == (25, 25)  # in both tasks


def test_like_for_like_two_equal_models_are_equal_and_the_plus_version_is_the_same_problem():
    one = repaired("base", (4, 1), (2, 2))
    plus = one.assign(benchmark="bplus", task=one["task"].str.replace("b/", "bplus/"))
    both = pd.concat([one, plus])
    table = pd.concat([both, both.assign(model="04_sft")])
    assert comparisons.like_for_like(table, "base", "04_sft", "explain").to_dict("list") == {
        "gain": [0, 0], "weight": [8, 4], "tasks": [2, 2]
    }  # fmt: skip
    found = comparisons.repair_gains(table, "base", "04_sft", "explain")
    assert all((gain.points, gain.low, gain.high, gain.p) == (0, 0, 0, 1) for gain in found.values())


def test_without_wrong_programs_of_both_no_rates_are_compared():
    table = pd.concat([repaired("base", (4, 1), (0, 0)), repaired("04_sft", (0, 0), (3, 1))])
    assert comparisons.repair_gains(table, "base", "04_sft", "explain") == {}


def test_the_headline_has_a_gain_for_each_step_that_was_evaluated():
    found = headline_gains(pair())
    assert found.keys() == {"sft_over_prompting"}
    repair = {rm.REFINEMENT_RATE, comparisons.LIKE_FOR_LIKE}
    assert found["sft_over_prompting"].keys() == {"pass@1", "pass@10", "from"} | repair
    assert {"points", "low", "high", "n_problems", "n_samples"} <= found["sft_over_prompting"]["pass@10"].keys()
    assert headline_gains(pair()[lambda t: t["model"] == "base"]) == {}


def finish(folder, name: str, metrics: dict) -> None:
    (folder / name).mkdir(parents=True)
    write_json(folder / name / "metrics.json", metrics)
    write_json(folder / name / "done.json", {"key": name, "files": {}, "needs": {}})


def test_the_headline_of_a_run_has_the_gain_over_seeds_where_there_are_several(tmp_path):
    one = {"sft_over_prompting": {"pass@1": {"points": 9}}, "rl_over_sft": {"pass@1": {"points": 1}}}
    finish(tmp_path, "06_evaluate", {"gains": one, "command": "c"})
    assert run_headline(tmp_path) == {"gains": one, "command": "c"}
    finish(tmp_path, "09_ablations", {"gains": {"rl_over_sft": {"pass@1": {"points": 2, "n_seeds": 3}}}})
    assert run_headline(tmp_path)["gains"] == {**one, "rl_over_sft": {"pass@1": {"points": 2, "n_seeds": 3}}}


def test_equal_budget_compares_2k_programs_with_k_and_their_repairs():
    found = comparisons.equal_budget(table_of(*TRIED)).set_index(["answers", "strategy"])["value"]
    assert found[2, "programs only"] == pytest.approx(100 * (1 - 1 / 6) / 2)  # of 4, 2 pass; none of the other task's
    assert found[2, "half repairs (refine)"] == pytest.approx(62.5)
    assert found[4, "programs only"] == 50.0
    assert found[4, "half repairs (refine)"] == pytest.approx(100 * (1 + 5 / 6) / 2)


def test_edit_sizes_and_precision():
    tried = [attempt("b/1", 0, "f", "p", edited=4, needed=1), attempt("b/2", 0, "f", "p", edited=2, needed=2),
             attempt("b/3", 0, "f", "f", edited=9), attempt("b/3", 1, "p", "p", edited=50)]  # fmt: skip
    refine, explain = rm.edit_sizes({"m": {"b": tried}}).to_dict("records")
    assert (refine["lines changed"], refine["by repairs that pass"]) == (4.0, 3.0)
    assert refine["edit precision %"].startswith("50.0 [")  # 3 of 6 lines
    assert np.isnan(explain["lines changed"]) and explain["edit precision %"] == "–"


def test_fix_rate_by_kind_of_failure():
    kinds = rm.fix_rates_by_kind({"m": {"b": TRIED}})
    assert kinds[["model", "kind", "wrong solutions", "rate"]].to_dict("records") == [
        {"model": "m", "kind": "wrong result", "wrong solutions": 6, "rate": pytest.approx(100 / 3)}
    ]


def test_with_one_sample_a_problem_there_is_no_equal_budget_and_no_pass_at_10():
    table = table_of(attempt("b/1", 0, "f", "p", "p"), attempt("b/2", 0, "p"))
    assert comparisons.equal_budget(table).empty
    assert set(rm.pass_at_k_scores(table)["k"]) == {1}
