"""What stands around the trainer: prompts, the judge, control, log, the credit viewer."""

import math
import re
from collections import Counter

import pandas as pd
import pytest
import tiny_runs
from tiny_models import make_tokenizer

from ledexlib.report import tokens as credit
from ledexlib.params import layers as params
from ledexlib.report import plots
from ledexlib.training.rl import log as ppo_log
from ledexlib.training.rl import scoring as rollouts
from ledexlib.training.rl.kl_control import KLController, Watch
from ledexlib.rewards.embeddings import Encoder
from ledexlib.params.layers import ParameterError
from ledexlib.models.prompts import answer_text
from ledexlib.rewards.rewards import Scorer

# Control


def test_the_controller_moves_towards_its_target():
    fixed = KLController(0.1)
    fixed.update(100, 64)
    assert fixed.beta == 0.1
    adaptive = KLController(0.1, target=6, horizon=640)
    adaptive.update(12, 64)
    assert adaptive.beta == pytest.approx(0.1 * 1.02), "error 1 is cut to 0.2, of which 64/640 count"
    adaptive.update(5.4, 64)
    assert adaptive.beta == pytest.approx(0.1 * 1.02 * 0.99)
    before = adaptive.beta
    adaptive.update(math.nan, 64)
    assert adaptive.beta == before


def test_the_watch_stops_what_drifts_or_collapses():
    watch = Watch(max_kl=10, max_drop=2, window=2)
    assert watch.see(1, 1) is None and watch.smoothed == -math.inf, "the window is not full"
    assert [watch.see(reward, 1) for reward in (3, 5, 3, 3)] == [None] * 4
    assert watch.highest == 4
    assert "below its best, 4.00" in watch.see(0, 1)
    assert "KL 11.00" in Watch(max_kl=10).see(0, 11)
    assert Watch().see(-100, 1e9) is None
    assert Watch(max_drop=1).see(math.nan, math.nan) is None


def test_the_watch_knows_the_best_policy():
    watch = Watch(window=2)
    assert not watch.is_best()
    for reward in (1, 3):
        watch.see(reward, 0)
    assert watch.is_best() and not watch.is_best()
    watch.see(0, 0)
    assert not watch.is_best()
    watch.see(9, 0)
    assert watch.is_best() and watch.saved == 4.5


# Prompts

PROBLEMS = [tiny_runs.problem(name) for name in ("one", "two")]
TRAJECTORIES = [tiny_runs.trajectory(x.task_id, n) for x in PROBLEMS for n in range(3)]
P = params.check({**tiny_runs.SETTINGS, "ppo_explain": 0.25})


@pytest.fixture(scope="module")
def scorer():
    return Scorer(TRAJECTORIES, P, Encoder("minilm"), PROBLEMS)


def words(messages):
    return sum(len(message["content"].split()) for message in messages)


def test_every_wrong_program_that_can_be_compared_is_asked_about_twice(scorer):
    asks = rollouts.build_asks(list(scorer.wrong.values()), scorer, PROBLEMS, words, P)
    assert Counter((ask.solution_id, ask.explain) for ask in asks.used) == Counter(
        (t.id, explain) for t in TRAJECTORIES for explain in (False, True)
    )
    assert all(("Explain" in ask.messages[-1]["content"]) == ask.explain for ask in asks.used)
    assert all(ask.tokens == words(ask.messages) for ask in asks.used) and not asks.too_long
    table = rollouts.table(asks)
    assert list(table["prompts"]) == [6, 6] and list(table["tasks"]) == [2, 2]


def test_prompts_without_anything_to_compare_with_are_not_asked():
    lonely = TRAJECTORIES[0].model_copy(update={"refinements": ()})
    mute = TRAJECTORIES[1].model_copy(
        update={"refinements": tuple(r.model_copy(update={"explanation": None}) for r in TRAJECTORIES[1].refinements)}
    )
    scorer = Scorer([lonely, mute, TRAJECTORIES[2]], P, Encoder("minilm"), PROBLEMS)
    asks = rollouts.build_asks(list(scorer.wrong.values()), scorer, PROBLEMS, words, P)
    assert [(ask.solution_id, ask.explain) for ask in asks.used] == [
        (mute.id, False), (TRAJECTORIES[2].id, False), (TRAJECTORIES[2].id, True)
    ]  # fmt: skip
    nothing = Scorer([lonely], P, Encoder("minilm"), PROBLEMS)
    with pytest.raises(ParameterError, match="no prompt to explain and refine is left: of 1 wrong programs"):
        rollouts.build_asks(list(nothing.wrong.values()), nothing, PROBLEMS, words, P)


def test_prompts_come_in_the_wanted_mixture_each_before_any_again(scorer):
    asks = rollouts.build_asks(list(scorer.wrong.values()), scorer, PROBLEMS, words, P).used
    for share, per_four in ((0.25, 1), (0.5, 2), (0.0, 0), (1.0, 4)):
        numbers = rollouts.order(asks, share, 24, seed=1)
        for start in range(0, 24, 4):
            assert sum(asks[i].explain for i in numbers[start : start + 4]) == per_four
        for explain in (False, True):
            kind = [i for i in numbers if asks[i].explain == explain]
            assert all(len(set(kind[s : s + 6])) == len(kind[s : s + 6]) for s in range(0, len(kind), 6))
    assert rollouts.order(asks, 0.5, 24, seed=1) == rollouts.order(asks, 0.5, 48, seed=1)[:24]
    assert rollouts.order(asks, 0.5, 24, seed=1) != rollouts.order(asks, 0.5, 24, seed=2)


def test_a_typical_prompt_is_explained_and_of_median_length():
    def ask(tokens, explain):
        return rollouts.Ask(solution_id="s", task_id="t", explain=explain, messages=(), tokens=tokens)

    short, middle, long, plain = ask(3, True), ask(5, True), ask(90, True), ask(4, False)
    assert rollouts.typical([plain, long, short, middle]) == middle
    assert rollouts.typical([plain]) == plain


# The judge


def test_answers_are_judged_by_running_them(scorer):
    tokenizer = make_tokenizer(["<|end|>"])
    judge = rollouts.Judge(scorer, PROBLEMS, lambda ids: tokenizer.decode(ids, skip_special_tokens=True), P)
    right, wrong = "def f(x):\n    return x * 2", "def f(x):\n    return x + 1"
    good = TRAJECTORIES[0].refinements[0].explanation
    texts = [answer_text(good, right), answer_text(None, wrong), answer_text(None, right), "I do not know."]
    about = {"solution_id": TRAJECTORIES[0].id, "task_id": "one"}
    asked = [{**about, "explain": explain} for explain in (True, True, False, True)]
    answers = [[*tokenizer(text)["input_ids"], 0] for text in texts]
    judged = judge.start(asked, answers).result(timeout=120)
    first, second, third, fourth = judged.scored
    assert first.verdict.passed and first.reward.explanation > 3 and first.reward.code > 3 and first.answer.valid
    assert not second.verdict.passed and second.reward.s_ut == 0.5
    assert second.reward.explanation == -5 and not second.answer.valid, "asked for, and not given"
    assert third.reward.explanation is None and third.reward.total == third.reward.code
    assert fourth.answer.code == "" and not fourth.verdict.passed and fourth.reward.code < 0
    assert judged.verification > 0 and judged.similarity > 0
    assert len(judge._verdicts) == 3, "equal programs run once"
    facts = ppo_log.facts(judged)
    assert facts["repaired"] == [1, 0, 1, 0] and facts["invalid"] == [0, 1, 0, 0 if fourth.answer.valid else 1]
    assert math.isnan(facts["explanation reward"][2]) and {len(column) for column in facts.values()} == {4}


# Log and figures


def updates(n):
    metrics = {
        "rollout/reward": 1.0, "rollout/code reward": 0.5, "rollout/explanation reward": 0.5, "rollout/repaired": 0.2,
        "rollout/unscored": 0.0, "rollout/invalid": 0.1, "rollout/kl": 1.0, "rollout/tokens": 50.0, "ratio": 1.0,
        "entropy": 0.5, "clip fraction": 0.1, "explained variance": None, "value loss": 1.0, "rollout/s_ut": 0.5,
        **{f"seconds/{name}": 1.0 for name in (
            "generation", "waiting for rewards", "rollouts", "forward", "backward", "verification", "similarity",
        )},
    }  # fmt: skip
    return [ppo_log.Update(id=str(i), step=i, metrics={**metrics, "rollout/reward": float(i)}) for i in range(1, n + 1)]


def test_the_change_over_a_training_by_hand():
    table = ppo_log.change(ppo_log.frame(updates(10))).set_index("of answers")
    row = table.loc["reward R(e) + R(r)"]
    assert (row["first 2"], row["last 2"], row["difference"]) == (1.5, 9.5, 8)
    assert row["low"] == 7 and row["high"] == 9, "1 or 2 against 9 or 10, at the ends"
    assert table.loc["repaired", "difference"] == 0
    assert ppo_log.headline(table.reset_index()) == {"R(e) gained": 0.0, "R(r) gained": 0.0, "repaired gained": 0.0}


def test_figures_are_drawn_from_a_log_of_any_length():
    for n in (1, 3, 40):
        log = ppo_log.frame(updates(n))
        assert isinstance(log, pd.DataFrame) and len(log) == n
        figure = plots.reinforcement(log)
        assert [ax.get_title() for ax in figure.axes][:2] == ["Rewards", "Scores"] and len(figure.axes) == 8
        legend = plots.update_seconds(log).axes[0].get_legend()
        assert "generation, 1.00 s" in [text.get_text() for text in legend.texts]


# The credit viewer

SHOWN = ppo_log.Shown(
    id="1 0", step=1, task_id="t<1>", solution_id="s", explain=True, tokens=("It ", "<bad>", ".\n", "x = 1"),
    explanation_tokens=3, rewards=(0, -0.5, 2, -4), kl=(0, 0, 0, 0), values=(0, 0, 0, 0), advantages=(1, 1, 2, -4),
    code_reward=-4, explanation_reward=2, status="failed",
)  # fmt: skip


def test_tokens_are_coloured_by_their_numbers():
    page = credit.view(SHOWN, "batch 1").data
    panels = re.findall(r"<pre[^>]*>(.*?)</pre>", page, re.DOTALL)
    colours = [re.findall(r"background:(#\w+)", panel) for panel in panels]
    assert [len(row) for row in colours] == [4, 4, 4, 4]
    assert colours[0] == [credit.EXPLANATION] * 3 + [credit.REFINEMENT]
    assert colours[1] == [credit.colour(value, 4) for value in SHOWN.rewards]
    assert colours[2] == ["#ffffff"] * 4, "values that are all 0 are white"
    assert "&lt;bad&gt;" in page and "t&lt;1&gt;" in page and "<bad>" not in page
    assert "R(e) = +2.00" in page and "R(r) = -4.00" in page and "⏎\n" in page


def test_colours_grow_with_the_number_and_tell_the_sign():
    assert credit.colour(0, 5) == "#ffffff" and credit.colour(0, 0) == "#ffffff"
    blue, red = credit.colour(5, 5), credit.colour(-5, 5)
    assert int(blue[5:], 16) > int(blue[1:3], 16) and int(red[1:3], 16) > int(red[5:], 16)
    assert int(credit.colour(1, 5)[1:3], 16) > int(credit.colour(4, 5)[1:3], 16)


def test_an_early_and_a_late_explained_answer_are_picked():
    silent = SHOWN.model_copy(update={"explain": False})
    answers = [silent, SHOWN, SHOWN.model_copy(update={"step": 2}), SHOWN.model_copy(update={"step": 3}), silent]
    assert [answer.step for answer in ppo_log.pick(answers)] == [1, 3]
    assert ppo_log.pick([silent]) == [silent] and ppo_log.pick([]) == []
