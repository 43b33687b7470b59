"""AUCs, correlations and intervals against independent implementations and by hand; the tables of 03_rewards."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from ledexlib import params
from ledexlib.records import Refinement, Sampling, Solution, Trajectory, Verdict
from ledexlib.rewards import Encoder, Scorer, analysis
from ledexlib.statistics import bootstrap

RIGHT, WRONG = "def f(a, b):\n    return a + b", "def f(a, b):\n    return a - b"


def frame(rows) -> pd.DataFrame:
    """Rows of task, solution, verdict, S_cb, S_ex."""
    return pd.DataFrame(rows, columns=["task", "solution", "verdict", "S_cb", "S_ex"])


TABLE = frame([
    ("a", "a1", "correct", 0.9, 0.5), ("a", "a1", "wrong", 0.8, 0.5), ("a", "a1", "wrong", 0.9, 0.6),
    ("a", "a2", "correct", 0.1, np.nan), ("b", "b1", "wrong", 0.5, 0.2), ("b", "b1", "correct", 0.7, 0.9),
])  # fmt: skip


def test_classification_by_hand():
    """Correct 0.9, 0.1, 0.7 against wrong 0.8, 0.9, 0.5: 1 + ½ + 1, 0, 1 of 9 pairs; within: 1 + ½ + 1 of 3."""
    overall = analysis.auc(TABLE, "S_cb")
    assert overall.value == pytest.approx(3.5 / 9) and overall.n == 2 and 0 <= overall.low <= overall.high <= 1
    within, pairs = analysis.auc_within_programs(TABLE, "S_cb")
    assert within.value == pytest.approx(2.5 / 3) and pairs == 3
    assert analysis.auc(TABLE[TABLE["verdict"] == "wrong"], "S_cb") is None
    assert analysis.auc_within_programs(TABLE[TABLE["solution"] == "a2"], "S_cb") == (None, 0)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.sampled_from("abcd")), min_size=4, max_size=30))
def test_auc_and_its_interval_are_scikit_learns_with_ties(rows):
    """The interval's draws against scikit-learn with the weights of the drawn tasks."""
    part = frame([(task, "s", "correct" if good else "wrong", float(x), 0.0) for good, x, task in rows])
    good, tasks = part["verdict"] == "correct", pd.factorize(part["task"])[0]
    if good.nunique() < 2:
        assert analysis.auc(part, "S_cb") is None
        return

    def of_draw(drawn):
        weights = np.bincount(drawn, minlength=tasks.max() + 1)[tasks]
        if good[weights > 0].nunique() < 2:
            return float("nan")
        return roc_auc_score(good, part["S_cb"], sample_weight=weights)

    expected = bootstrap(np.arange(tasks.max() + 1), of_draw, 40)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(analysis, "DRAWS", 40)
        assert analysis.auc(part, "S_cb") == pytest.approx(expected, nan_ok=True)


def test_rank_correlation_agrees_with_scipy():
    rng = np.random.default_rng(0)
    rows = [(f"t{i % 7}", f"s{i}", "correct", x := rng.random(), x + rng.random()) for i in range(60)]
    found = analysis.rank_correlation(frame(rows), "S_cb", "S_ex")
    assert found.value == pytest.approx(spearmanr(*zip(*[(r[3], r[4]) for r in rows], strict=True)).statistic)
    assert found.low < found.value < found.high
    assert analysis.rank_correlation(frame([("t", "s", "wrong", 1.0, 2.0)]), "S_cb", "S_ex") is None


def test_an_interval_is_over_tasks_not_rows():
    """Rows of one task that only repeat it do not narrow the interval."""
    rng = np.random.default_rng(1)
    rows = [(f"t{i}", f"s{i}", ("correct", "wrong")[i % 2], rng.random(), 0.0) for i in range(20)]
    once, often = analysis.auc(frame(rows), "S_cb"), analysis.auc(frame(rows * 10), "S_cb")
    assert often.high - often.low == pytest.approx(once.high - once.low, abs=0.02)


def verdict(passed: int) -> Verdict:
    return Verdict(status="passed" if passed == 2 else "failed", n_passed=passed, n_tests=2, feedback="no", seconds=0.1)


def trajectory(name: str, codes: list[tuple[str, int]]) -> Trajectory:
    common = {"task_id": f"t/{name[0]}", "completion": "", "sampling": Sampling()}
    solution = Solution(id=name, code=WRONG, model="m", verdict=verdict(0), **common)
    refinements = [
        Refinement(
            id=f"{name}{i}",
            solution_id=name,
            explanation=None,
            code=code,
            teacher="t",
            verdict=verdict(passed),
            **common,
        )
        for i, (code, passed) in enumerate(codes)
    ]
    return Trajectory(id=name, solution=solution, refinements=tuple(refinements))


@pytest.fixture
def trajectories():
    """Two wrong programs with correct and wrong refinements, one with nothing correct, one without refinements."""
    return [
        trajectory("a", [(RIGHT, 2), (RIGHT + "  # again", 2), (WRONG, 0)]),
        trajectory("b", [(RIGHT, 2), ("def f(a, b):\n    return (a", 0), ("pass", 1)]),
        trajectory("c", [(WRONG, 0)]),
        trajectory("d", []),
    ]


def test_the_tables_of_the_notebook(trajectories):
    wrong = analysis.wrong_with_refinements(trajectories, None)
    assert [t.id for t in wrong] == ["a", "b", "c"]
    assert [t.id for t in analysis.wrong_with_refinements(trajectories, 2)] == ["a", "c"]
    refinements = [r for t in wrong for r in t.refinements]
    found, ends = analysis.score_by_rules(Scorer(trajectories, params.validate({}), Encoder("minilm")), refinements)
    assert ends is None, "there is no explanation to fit a map to"
    frames = {rule: analysis.reward_table(refinements, found[rule]) for rule in analysis.LEAVE_OUT_RULES}
    assert [len(part) for part in frames.values()] == [6, 5, 0]
    table = analysis.auc_table(frames["itself"]).set_index("score")
    assert table.loc["S_ut", "AUC"] == 1.0 and "S_ex" not in table.index
    left = analysis.leave_out_table(frames)
    assert list(left["correct"]) == [3, 2]  # b's only correct refinement has nothing else to be compared with
    counts = analysis.saturation_table(wrong, frames["nothing"], frames["itself"]).set_index("what")["count"]
    assert counts["no reward: nothing to compare with"] == 1 and counts["no reward by the honest rule"] == 2
    assert counts["programs that do not parse"] == 1 and counts["refinements equal to the wrong program"] == 2
    assert counts["comparisons: no data flow matched, which counts as 1"] >= 1
    kept = analysis.reward_records(refinements, found["nothing"], found["itself"])
    assert [k.correct for k in kept] == [True, True, False, True, False, False, False]
    assert kept[0].among_all.s_cb > kept[0].honest.s_cb and kept[-1].honest is None


def test_a_map_is_fitted_to_the_data_and_used(trajectories):
    explained = [
        t.model_copy(update={"refinements": tuple(
            r.model_copy(update={"explanation": f"{word} the sum, {i}"}) for i, r in enumerate(t.refinements)
        )})
        for t, word in zip(trajectories, ("Add", "Return", "Take", "Make"), strict=True)
    ]  # fmt: skip
    refinements = [r for t in explained for r in t.refinements]
    p = params.validate({"explanation_map": "quantiles"})
    found, ends = analysis.score_by_rules(Scorer(explained, p, Encoder("minilm")), refinements)
    honest = [reward for reward in found["itself"] if reward]
    values = [reward.s_ex for reward in honest]
    assert ends == pytest.approx(np.quantile(values, (0.01, 0.99)))
    assert [r.explanation for r in honest] == pytest.approx(
        [10 * (s - ends[0]) / (ends[1] - ends[0]) - 5 for s in values]
    )
    scores = analysis.reward_table(refinements, found["itself"])
    maps = analysis.explanation_map_table(scores, {"paper": (0.4, 1.0), "fitted": ends}).set_index("map")
    assert maps.loc["fitted", "outside [-5, 5] %"] <= 40 and maps.loc["paper", "0 at"] == pytest.approx(0.7)
    highest, lowest = analysis.extreme_explanations(scores, 1)
    assert highest["R(e)"].iloc[0] == max(scores["R(e)"]) and lowest["R(e)"].iloc[0] == min(scores["R(e)"])
    with pytest.raises(ValueError, match="finite"):
        analysis.score_by_rules(Scorer(trajectories, p, Encoder("minilm")), trajectories[0].refinements)


def test_the_same_program():
    assert analysis.same_program("x = 1  # one\n", "x=1")
    assert not analysis.same_program("x = 1", "x = 2")
    assert analysis.same_program("x = (1", " x  = (1") and not analysis.same_program("x = (1", "x = (2")
