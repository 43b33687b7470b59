"""What stands around the trainer: prompts, rollout scoring, KL control, log."""

import math
from collections import Counter
from types import SimpleNamespace

import pandas as pd
import pytest
import tiny_runs
from tiny_models import make_tokenizer

from ledexlib.models import answer_text
from ledexlib.params import ParameterError, validate
from ledexlib.rewards import Encoder, Scorer
from ledexlib.runs import write_records
from ledexlib.training import rl
from ledexlib.training.rl import TokenTrace, build_prompts, change_table, early_and_late, prompt_table, typical_prompt
from ledexlib.training.rl.advantages import HORIZON, WINDOW, EarlyStopping, KLController
from ledexlib.training.rl.log import LOG, BatchRecord, rollout_facts
from ledexlib.training.rl.prompts import RLPrompt, prompt_order
from ledexlib.training.rl.scoring import RolloutScorer

# Control


def test_the_controller_moves_towards_its_target():
    fixed = KLController(0.1)
    fixed.update(100, 64)
    assert fixed.beta == 0.1
    adaptive = KLController(0.1, target=6)
    adaptive.update(12, HORIZON // 10)
    assert adaptive.beta == pytest.approx(0.1 * 1.02), "error 1 is cut to 0.2, of which a tenth counts"
    adaptive.update(5.4, HORIZON // 10)
    assert adaptive.beta == pytest.approx(0.1 * 1.02 * 0.99)
    before = adaptive.beta
    adaptive.update(math.nan, 64)
    assert adaptive.beta == before


def test_what_drifts_is_stopped():
    assert EarlyStopping(max_kl=10).see(5, 9) is None and EarlyStopping(max_kl=10).see(5, math.nan) is None
    assert "KL 11.00" in EarlyStopping(max_kl=10).see(0, 11)
    assert EarlyStopping().see(-100, 1e9) is None


def test_the_best_policy_is_known():
    stopping = EarlyStopping()
    for reward in (1, 3, 3, 3, 5):
        assert not stopping.is_best(), "the window is not full"
        stopping.see(reward, 0)
    assert len(stopping.recent) == WINDOW and stopping.is_best() and not stopping.is_best()
    stopping.see(0, 0)
    assert not stopping.is_best()
    stopping.see(9, 0)
    stopping.see(math.nan, 0)
    assert stopping.is_best() and stopping.best == 4


# Prompts

PROBLEMS = [tiny_runs.problem(name) for name in ("one", "two")]
TRAJECTORIES = [tiny_runs.trajectory(x.task_id, n) for x in PROBLEMS for n in range(3)]
P = validate({**tiny_runs.SETTINGS, "ppo_explain": 0.25})


@pytest.fixture(scope="module")
def scorer():
    return Scorer(TRAJECTORIES, P, Encoder("minilm"), PROBLEMS)


def words(messages):
    return sum(len(message["content"].split()) for message in messages)


def prompts_of(scorer):
    sources = SimpleNamespace(wrong=list(scorer.wrong.values()), scorer=scorer, problems=PROBLEMS, count=words)
    return build_prompts(sources, P)


def test_every_wrong_program_that_can_be_compared_is_asked_about_twice(scorer):
    prompts = prompts_of(scorer)
    assert Counter((prompt.solution_id, prompt.explain) for prompt in prompts.used) == Counter(
        (t.id, explain) for t in TRAJECTORIES for explain in (False, True)
    )
    assert all(("Explain" in prompt.messages[-1]["content"]) == prompt.explain for prompt in prompts.used)
    assert all(prompt.tokens == words(prompt.messages) for prompt in prompts.used) and not prompts.too_long
    table = prompt_table(prompts)
    assert list(table["prompts"]) == [6, 6] and list(table["tasks"]) == [2, 2]


def test_prompts_without_anything_to_compare_with_are_not_asked():
    lonely = TRAJECTORIES[0].model_copy(update={"refinements": ()})
    mute = TRAJECTORIES[1].model_copy(
        update={"refinements": tuple(r.model_copy(update={"explanation": None}) for r in TRAJECTORIES[1].refinements)}
    )
    scorer = Scorer([lonely, mute, TRAJECTORIES[2]], P, Encoder("minilm"), PROBLEMS)
    prompts = prompts_of(scorer)
    assert [(prompt.solution_id, prompt.explain) for prompt in prompts.used] == [
        (mute.id, False), (TRAJECTORIES[2].id, False), (TRAJECTORIES[2].id, True)
    ]  # fmt: skip
    nothing = Scorer([lonely], P, Encoder("minilm"), PROBLEMS)
    with pytest.raises(ParameterError, match="no prompt to explain and refine is left: of 1 wrong programs"):
        prompts_of(nothing)


def test_prompts_come_in_the_wanted_mixture_each_before_any_again(scorer):
    prompts = prompts_of(scorer).used
    for share, per_four in ((0.25, 1), (0.5, 2), (0.0, 0), (1.0, 4)):
        numbers = prompt_order(prompts, share, 24, seed=1)
        for start in range(0, 24, 4):
            assert sum(prompts[i].explain for i in numbers[start : start + 4]) == per_four
        for explain in (False, True):
            kind = [i for i in numbers if prompts[i].explain == explain]
            assert all(len(set(kind[s : s + 6])) == len(kind[s : s + 6]) for s in range(0, len(kind), 6))
    assert prompt_order(prompts, 0.5, 24, seed=1) == prompt_order(prompts, 0.5, 48, seed=1)[:24]
    assert prompt_order(prompts, 0.5, 24, seed=1) != prompt_order(prompts, 0.5, 24, seed=2)


def test_a_typical_prompt_is_explained_and_of_median_length():
    def prompt(tokens, explain):
        return RLPrompt(solution_id="s", task_id="t", explain=explain, messages=(), tokens=tokens)

    short, middle, long, plain = prompt(3, True), prompt(5, True), prompt(90, True), prompt(4, False)
    assert typical_prompt([plain, long, short, middle]) == middle
    assert typical_prompt([plain]) == plain


# Rollout scoring


def test_answers_are_scored_by_running_them(scorer):
    tokenizer = make_tokenizer(["<|end|>"])
    rollout_scorer = RolloutScorer(scorer, PROBLEMS, lambda ids: tokenizer.decode(ids, skip_special_tokens=True), P)
    right, wrong = "def f(x):\n    return x * 2", "def f(x):\n    return x + 1"
    good = TRAJECTORIES[0].refinements[0].explanation
    texts = [answer_text(good, right), answer_text(None, wrong), answer_text(None, right), "I do not know."]
    about = {"solution_id": TRAJECTORIES[0].id, "task_id": "one"}
    asked = [{**about, "explain": explain} for explain in (True, True, False, True)]
    answers = [[*tokenizer(text)["input_ids"], 0] for text in texts]
    batch = rollout_scorer.start(asked, answers).result(timeout=120)
    first, second, third, fourth = batch.rollouts
    assert first.refinement.verdict.passed and first.answer.valid
    assert first.reward.explanation > 3 and first.reward.code > 3
    assert not second.refinement.verdict.passed and second.reward.s_ut == 0.5
    assert second.reward.explanation == -5 and not second.answer.valid, "asked for, and not given"
    assert third.reward.explanation is None and third.reward.total == third.reward.code
    assert fourth.answer.code == "" and not fourth.refinement.verdict.passed and fourth.reward.code < 0
    assert batch.verification > 0 and batch.similarity > 0
    assert len(rollout_scorer.verdicts._known) == 3, "equal programs run once"
    facts = rollout_facts(batch)
    assert facts["repaired"] == [1, 0, 1, 0] and facts["invalid"] == [0, 1, 0, 0 if fourth.answer.valid else 1]
    assert math.isnan(facts["explanation reward"][2]) and {len(column) for column in facts.values()} == {4}


# Log and figures


def log_of(folder, n):
    """A log of ``n`` batches, read back."""
    metrics = {
        "rollout/reward": 1.0, "rollout/code reward": 0.5, "rollout/explanation reward": 0.5, "rollout/repaired": 0.2,
        "rollout/unscored": 0.0, "rollout/invalid": 0.1, "rollout/kl": 1.0, "rollout/tokens": 50.0, "ratio": 1.0,
        "entropy": 0.5, "clip fraction": 0.1, "explained variance": None, "value loss": 1.0, "rollout/s_ut": 0.5,
        **{f"seconds/{name}": 1.0 for name in (
            "generation", "waiting for rewards", "rollouts", "forward", "backward", "verification", "similarity",
        )},
    }  # fmt: skip
    rows = (BatchRecord(id=str(i), step=i, metrics={**metrics, "rollout/reward": float(i)}) for i in range(1, n + 1))
    write_records(folder / LOG, rows)
    return rl.read_rl_log(folder)


def test_the_change_over_a_training_by_hand(tmp_path):
    table = change_table(log_of(tmp_path, 10)).set_index("of answers")
    row = table.loc["reward R(e) + R(r)"]
    assert (row["first 2"], row["last 2"], row["difference"]) == (1.5, 9.5, 8)
    assert row["low"] == 7 and row["high"] == 9, "1 or 2 against 9 or 10, at the ends"
    assert table.loc["repaired", "difference"] == 0
    assert rl.rl_gains(table.reset_index()) == {"R(e) gained": 0.0, "R(r) gained": 0.0, "repaired gained": 0.0}


def test_a_log_of_any_length_is_a_frame(tmp_path):
    for n in (1, 3, 40):
        log = log_of(tmp_path, n)
        assert isinstance(log, pd.DataFrame) and len(log) == n


# Answers token by token

SHOWN = TokenTrace(
    id="1 0", step=1, task_id="t<1>", solution_id="s", explain=True, tokens=("It ", "<bad>", ".\n", "x = 1"),
    explanation_tokens=3, rewards=(0, -0.5, 2, -4), kl=(0, 0, 0, 0), values=(0, 0, 0, 0), advantages=(1, 1, 2, -4),
    code_reward=-4, explanation_reward=2, status="failed",
)  # fmt: skip


def test_an_early_and_a_late_explained_answer_are_picked():
    silent = SHOWN.model_copy(update={"explain": False})
    answers = [silent, SHOWN, SHOWN.model_copy(update={"step": 2}), SHOWN.model_copy(update={"step": 3}), silent]
    assert [answer.step for answer in early_and_late(answers)] == [1, 3]
    assert early_and_late([silent]) == [silent] and early_and_late([]) == []
