"""The rewards at points worked out by hand, their laws, the scorer against its parts, every option, the embeddings."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledexlib import params, rewards
from ledexlib.records import Assertion, Problem, Refinement, Sampling, Solution, Trajectory, Verdict
from ledexlib.rewards import Encoder, EncoderError, Scorer
from ledexlib.rewards.equations import fit_explanation_map

shares = st.floats(0, 1)
similarities = st.floats(-1, 1)


@pytest.mark.parametrize(
    ("s_cb", "s_ut", "kind", "reward"),
    [
        (1.0, 1.0, "both", 5.0), (0.0, 0.0, "both", -5.0), (0.5, 0.5, "both", 0.0), (0.62, 1 / 3, "both", -7 / 30),
        (0.7, 0.0, "codebleu", 2.0), (0.7, 0.25, "tests", -2.5), (None, 1.0, "tests", 5.0),
    ],
)  # fmt: skip
def test_code_reward_by_hand(s_cb, s_ut, kind, reward):
    assert rewards.code_reward(s_cb, s_ut, kind) == pytest.approx(reward)


@given(shares, shares, shares, st.sampled_from(["both", "codebleu", "tests"]))
def test_code_reward_stays_in_its_range_and_rises(a, b, c, kind):
    low, high = sorted((a, c))
    assert -5 <= rewards.code_reward(low, b, kind) <= rewards.code_reward(high, b, kind) <= 5
    assert rewards.code_reward(b, low, kind) <= rewards.code_reward(b, high, kind)


@pytest.mark.parametrize(
    ("s_ex", "reward"), [(0.4, -5.0), (0.7, 0.0), (1.0, 5.0), (0.55, -2.5), (0.1, -10), (-0.5, -20)]
)
def test_explanation_reward_by_hand(s_ex, reward):
    assert rewards.explanation_reward(s_ex) == pytest.approx(reward)
    assert rewards.explanation_reward(s_ex) == pytest.approx((50 * s_ex - 35) / 3)
    assert rewards.explanation_reward(s_ex, clip=True) == pytest.approx(max(-5.0, reward))


def test_explanation_reward_with_other_ends():
    assert rewards.explanation_reward(0.2, (0.2, 0.6)) == pytest.approx(-5)
    assert rewards.explanation_reward(0.5, (0.2, 0.6)) == pytest.approx(2.5)


@given(similarities, similarities)
def test_explanation_reward_rises_and_a_clip_keeps_the_order(a, b):
    low, high = sorted((a, b))
    assert rewards.explanation_reward(low) <= rewards.explanation_reward(high) <= 5 + 1e-9
    clipped = rewards.explanation_reward(low, clip=True), rewards.explanation_reward(high, clip=True)
    assert -5 <= clipped[0] <= clipped[1] <= 5


def test_what_is_no_score_is_refused():
    for bad in (math.nan, 1.5, -0.5, None):
        with pytest.raises(ValueError, match="R\\(r\\)"):
            rewards.code_reward(bad, 1.0)
    for bad in (math.nan, 1.5, -1.5):
        with pytest.raises(ValueError, match="similarity"):
            rewards.explanation_reward(bad)
    with pytest.raises(ValueError, match="rising"):
        rewards.explanation_reward(0.5, (0.6, 0.6))
    with pytest.raises(ValueError, match="at least one explanation"):
        rewards.explanation_similarity(np.ones(3), np.zeros((0, 3)))


def verdict(status: str, passed: int = 0, tests: int = 3, feedback: str = "") -> Verdict:
    return Verdict(status=status, n_passed=passed, n_tests=tests, feedback=feedback, seconds=0.1)


def test_unit_test_share():
    assert rewards.unit_test_share(verdict("failed", 2, 5)) == 0.4
    assert rewards.unit_test_share(verdict("passed", 3)) == 1.0
    assert rewards.unit_test_share(verdict("infra", 0, 0)) is None
    with pytest.raises(ValueError, match="0 of 0"):
        rewards.unit_test_share(verdict("failed", 0, 0))


def test_the_map_is_fitted_by_quantiles():
    assert fit_explanation_map(np.linspace(0, 1, 201)) == pytest.approx((0.01, 0.99))
    for bad in ([], [0.1, math.nan]):
        with pytest.raises(ValueError, match="finite"):
            fit_explanation_map(bad)
    with pytest.raises(ValueError, match=r"both 0\.3"):
        fit_explanation_map([0.3, 0.3])


def test_the_ends_that_the_parameters_ask_for():
    fitted = params.validate({"explanation_map": "quantiles", "encoder": "minilm"})
    assert rewards.explanation_map_ends(params.validate({}), None) == (0.4, 1.0)
    assert rewards.explanation_map_ends(fitted, {"encoder": "minilm", "ends": [0.2, 0.9]}) == (0.2, 0.9)
    for bad in (None, {"encoder": "minilm", "ends": None}):
        with pytest.raises(ValueError, match="03_rewards fits"):
            rewards.explanation_map_ends(fitted, bad)
    with pytest.raises(ValueError, match="fitted with encoder 'other'"):
        rewards.explanation_map_ends(fitted, {"encoder": "other", "ends": [0.2, 0.9]})


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("codebleu_weights", [0.5, 0.5, 0.5, 0.5], "sum to 1"), ("codebleu_weights", [1.0], "four numbers"),
     ("code_reward", "luck", "both")],
)  # fmt: skip
def test_impossible_parameters_are_refused(name, value, said):
    with pytest.raises(params.ParameterError, match=said):
        params.validate({name: value})


# The scorer, on one task with two wrong programs, and a second task without a correct refinement.

WRONG, BETTER, RIGHT = "def f(a, b):\n    return a - b", "def f(a, b):\n    return a", "def f(a, b):\n    return a + b"
RIGHT_TOO = "def f(a, b):\n    total = a + b\n    return total"
EXPLANATIONS = (
    "It subtracts where the task asks for the sum.",
    "The sign is wrong: it must add.",
    "The loop never ends.",
)


def solution(name: str, task: str, status: str = "failed", code: str = WRONG) -> Solution:
    return Solution(
        id=name, task_id=task, code=code, completion="", model="m", sampling=Sampling(),
        verdict=verdict(status, 3 if status == "passed" else 0, feedback="assert f(1, 2) == 3 got -1 expected 3"),
    )  # fmt: skip


def refinement(name: str, of: str, code: str, explanation: str | None, passed: int) -> Refinement:
    return Refinement(
        id=name, solution_id=of, task_id="t/1", explanation=explanation, code=code, completion="", teacher="t",
        sampling=Sampling(), verdict=verdict("passed" if passed == 3 else "failed", passed),
    )  # fmt: skip


FIRST = refinement("r1", "w1", RIGHT, EXPLANATIONS[0], 3)
SECOND = refinement("r2", "w1", RIGHT_TOO, EXPLANATIONS[1], 3)
FAILED = refinement("r3", "w1", BETTER, EXPLANATIONS[2], 1)
COPY = refinement("r4", "w2", RIGHT, EXPLANATIONS[1], 3)
TRAJECTORIES = [
    Trajectory(id="w1", solution=solution("w1", "t/1"), refinements=(FIRST, SECOND, FAILED)),
    Trajectory(id="w2", solution=solution("w2", "t/1"), refinements=(COPY,)),
    Trajectory(id="c1", solution=solution("c1", "t/1", "passed", "f = lambda a, b: a + b")),
    Trajectory(id="w3", solution=solution("w3", "t/2"), refinements=()),
]
PROBLEM = Problem(
    task_id="t/1", prompt="Add.", reference="def f(x, y):\n    return x + y", benchmark="b", split="s", entry_point="f",
    tests=(Assertion(statement="assert f(1, 2) == 3"),),
)  # fmt: skip


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Encoder:
    return Encoder("minilm", tmp_path_factory.mktemp("embeddings"))


@pytest.fixture
def scorer(encoder):
    def made(**options) -> Scorer:
        return Scorer(TRAJECTORIES, params.validate({"encoder": "minilm", **options}), encoder, [PROBLEM])

    return made


def rollout(code: str = BETTER, explanation: str | None = EXPLANATIONS[2], passed: int = 1, of: str = "w1"):
    return refinement("", of, code, explanation, passed)


def mean_score(code: str, references: list[str]) -> float:
    return rewards.mean_codebleu([rewards.codebleu_parts(code, reference) for reference in references]).codebleu


def test_a_rollout_is_scored_by_the_equations(scorer, encoder):
    (found,) = scorer().score([rollout()])
    assert found.s_cb == pytest.approx(mean_score(BETTER, [RIGHT, RIGHT_TOO]))
    assert found.s_ut == pytest.approx(1 / 3) and found.n_references == 2
    vectors = encoder._model.encode([EXPLANATIONS[2], *EXPLANATIONS[:2]]).astype(float)  # the library itself
    cosines = [a @ vectors[0] / np.linalg.norm(a) / np.linalg.norm(vectors[0]) for a in vectors[1:]]
    assert found.s_ex == pytest.approx(np.mean(cosines), abs=1e-5)
    assert found.code == pytest.approx(5 * (found.s_cb + found.s_ut) - 5)
    assert found.explanation == pytest.approx((50 * found.s_ex - 35) / 3)
    assert found.total == pytest.approx(found.code + found.explanation)


def test_what_has_no_answer_gets_no_reward(scorer):
    trouble = rollout(RIGHT, None).model_copy(update={"verdict": verdict("infra")})
    nothing_to_compare = rollout(of="w3")
    assert scorer().score([trouble, nothing_to_compare]) == [None, None]
    (alone,) = scorer(code_reward="tests").score([nothing_to_compare])
    assert alone.code == pytest.approx(10 / 3 - 5) and alone.s_cb is None and alone.explanation is None
    with pytest.raises(KeyError):
        scorer().score([rollout(of="unknown")])


def test_no_explanation_asked_for_and_none_given(scorer):
    refine_only, not_given = scorer().score([rollout(explanation=None), rollout(explanation="  ")])
    assert refine_only.explanation is None and refine_only.total == refine_only.code
    assert not_given.explanation == -5 and not_given.s_ex is None


def test_leaving_out(scorer):
    """r1 among all, without itself, and without everything made for its wrong program."""
    by_solution = scorer()
    among_all, alone = (by_solution.score([FIRST], rule)[0] for rule in ("nothing", "itself"))
    assert among_all.s_cb == pytest.approx(mean_score(RIGHT, [RIGHT, RIGHT_TOO]))
    assert alone.s_cb == pytest.approx(mean_score(RIGHT, [RIGHT_TOO])) and alone.s_ex < 0.99
    assert by_solution.score([FIRST], "program") == [None]
    by_task = scorer(reward_references="task")
    rest = [RIGHT, "f = lambda a, b: a + b", PROBLEM.reference]
    (alone,) = by_task.score([FIRST], "itself")
    assert alone.s_cb == pytest.approx(mean_score(RIGHT, [RIGHT_TOO, *rest]))
    first, failed = by_task.score([FIRST, FAILED], "program")  # the same references for both, COPY's program is no more
    assert first.s_cb == pytest.approx(mean_score(RIGHT, rest[1:]))
    assert failed.s_cb == pytest.approx(mean_score(BETTER, rest[1:]))
    assert first.s_ex is None and first.explanation is None  # COPY's explanation is that of r2


def test_options(scorer, encoder):
    failed, passed = rollout(), rollout(RIGHT, EXPLANATIONS[0], 3)
    plain = scorer().score([failed, passed])
    assert scorer(code_reward="codebleu").score([failed])[0].code == pytest.approx(10 * plain[0].s_cb - 5)
    assert scorer(code_reward="tests").score([failed])[0].code == pytest.approx(10 / 3 - 5)
    assert plain[0].explanation < -5 and scorer(explanation_clip=True).score([failed])[0].explanation == -5
    only_passed = scorer(explanation_when_passed=True).score([failed, passed])
    assert only_passed[0].explanation == 0 and only_passed[1].explanation == plain[1].explanation
    weighted = scorer(codebleu_weights=[0.0, 0.0, 1.0, 0.0]).score([failed])[0]
    assert weighted.s_cb == pytest.approx(plain[0].syntax)
    fitted = Scorer(TRAJECTORIES, params.validate({}), encoder, ends=(0.0, 0.5)).score([failed])[0]
    assert fitted.explanation == pytest.approx(20 * fitted.s_ex - 5)


def test_embeddings_are_kept_by_text_and_model(tmp_path):
    first = Encoder("minilm", tmp_path)
    vectors = first.encode(["Add.", "Subtract.", "Add."])
    assert vectors.shape == (3, 384) and np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    again = Encoder("minilm", tmp_path)
    assert (again.encode(["Subtract.", "Add."]) == vectors[[1, 0]]).all()
    assert "_model" not in vars(again), "nothing new, and the model was loaded"
    assert not (vectors == Encoder("minilm").encode(["Multiply."])).all()
    with pytest.raises(ValueError, match="empty"):
        again.encode(["Add.", " "])


def test_an_encoder_that_is_not_there_is_named_with_what_would_do(tmp_path):
    with pytest.raises(EncoderError, match=r"'nobody/nothing' cannot be loaded.*'minilm'"):
        Encoder("nobody/nothing", tmp_path).encode(["Add."])
