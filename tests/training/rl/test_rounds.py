"""Episodes of several rounds: what follows what, what is learned from, where the rewards are."""

import pytest
import tiny_runs
import torch
from tiny_models import make_tokenizer

from ledexlib.models import CHAT_TEMPLATE, answer_text
from ledexlib.models.local import SampledTokens
from ledexlib.params import ParameterError
from ledexlib.training import check_rl
from ledexlib.training.rl import advantages, build_prompts, load_sources
from ledexlib.training.rl.policy import rl_trainer
from ledexlib.training.rl.rounds import Episode, continuation, play


def test_an_episode_goes_on_until_nothing_is_said():
    asked = []

    def sample(rows, contexts, number):
        asked.append((number, dict(zip(rows, contexts, strict=True))))
        return [[100 * number + row, 9] for row in rows]

    def reply(rows, episodes):
        return [[7, 8] if row and len(e.ids) < 5 else None for row, e in zip(rows, episodes, strict=True)]

    one, two = play([[1], [2, 2]], 5, sample, reply)
    assert one == Episode([1], [0, 9], [1, 1])
    assert two == Episode([2, 2], [1, 9, 7, 8, 101, 9], [1, 1, 0, 0, 1, 1], start=4, rounds=2)
    assert two.answer == [101, 9]
    assert asked == [(0, {0: [1], 1: [2, 2]}), (1, {1: [2, 2, 1, 9, 7, 8]})]
    assert [e.rounds for e in play([[1], [2]], 1, sample, reply)] == [1, 1]
    assert play([[1], [2]], 3, sample, lambda rows, episodes: [[7]] * len(rows))[1].rounds == 3


def test_the_next_question_continues_the_conversation_as_the_template_writes_it():
    tokenizer = make_tokenizer(["<|endoftext|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"])
    tokenizer.chat_template = CHAT_TEMPLATE
    before = [{"role": "user", "content": "add(a, b)"}]
    after = [{"role": "assistant", "content": "return"}, {"role": "user", "content": "It failed: 3."}]

    def ids(messages, **options):
        return tokenizer(tokenizer.apply_chat_template(messages, tokenize=False, **options))["input_ids"]

    end, said = continuation(tokenizer, "It failed: 3.")
    assert end == tokenizer.convert_tokens_to_ids("<|end|>")
    prompt, answer = ids(before, add_generation_prompt=True), tokenizer("return")["input_ids"]
    assert prompt + answer + [end] + said == ids(before + after, add_generation_prompt=True)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_runs.make_model("llama", tmp_path_factory.mktemp("llama"))


def test_a_failed_repair_is_tried_again_and_the_reward_is_on_the_last(model, tmp_path, monkeypatch):
    """Row 0 fails and then repairs, row 1 repairs at once, row 2 does not come to an end, row 3 has no room left."""
    p = tiny_runs.make_run(
        tmp_path / "r", model, ppo_rounds=2, ppo_batch=4, ppo_explain=1.0, ppo_max_tokens=60, ppo_max_length=500,
        ppo_gamma=1.0, ppo_device_batch=4,
    )  # fmt: skip
    check_rl(p)
    monkeypatch.setattr(advantages, "whiten", lambda a, part, reduce: a)
    sources = load_sources(p, tmp_path / "r" / "05_ppo")
    trainer = rl_trainer(p, tmp_path / "r" / "05_ppo", sources, build_prompts(sources, p))
    encode, end = trainer.processing_class, trainer.processing_class.eos_token_id

    def tokens(explanation, code):
        return [*encode(answer_text(explanation, code), add_special_tokens=False)["input_ids"], end]

    wrong = tokens("It is one too many.", "def f(x):\n    return x + 9")
    right = tokens("Double.", "def f(x):\n    return 2*x")
    contexts = {}

    def scripted(rows, shown, number):
        contexts[number] = dict(zip(rows, shown, strict=True))
        first = {0: wrong, 1: right, 2: wrong[:-1], 3: [*wrong[:-1]] * 4 + [end]}
        return [SampledTokens(first[row] if number == 0 else right, []) for row in rows]

    trainer._sample = scripted
    trainer.model.train()
    batch = trainer._generate_and_score_completions([trainer.train_dataset[i] for i in (0, 0, 1, 1)])
    assert list(contexts[1]) == [0]
    told = trainer.processing_class.decode(contexts[1][0][len(contexts[0][0]) + len(wrong) :])
    assert told.startswith("\n<|user|>") and "f(1)" in told and "10" in told, "the feedback on its own program"
    n, learned = int(batch["completion_mask"][0].sum()), batch["learn"][0].bool()
    said = n - len(wrong) - len(right)
    assert learned.tolist()[:n] == [True] * len(wrong) + [False] * said + [True] * len(right)
    first = trainer.latest["rollouts"][0]
    passed = [rollout.refinement.verdict.passed for rollout in trainer.latest["rollouts"]]
    assert passed == [True, True, False, False]
    assert first.answer.tokens == len(right)
    place = len(wrong) + said + first.answer.explanation_tokens - 1
    assert batch["returns"][0, n - 1] == pytest.approx(first.reward.code, abs=1e-5)
    assert batch["returns"][0, place] == pytest.approx(first.reward.total, abs=1e-5)
    assert batch["returns"][0, 0] == pytest.approx(first.reward.total, abs=1e-5), "the policy is the reference, KL 0"
    assert not batch["returns"][0][~learned].any() and not batch["advantages"][0][~learned].any()
    assert trainer._metrics["train"]["rollout/rounds"] == [1.25]
    trainer.current_gradient_accumulation_steps = trainer.args.gradient_accumulation_steps
    assert torch.isfinite(trainer._compute_loss(trainer.model, batch))


def test_what_cannot_go_together_is_refused(model, tmp_path):
    p = tiny_runs.make_run(tmp_path / "r", model, ppo_rounds=2, ppo_credit="isolated")
    with pytest.raises(ParameterError, match="ppo_rounds > 1: ppo_credit: isolated"):
        check_rl(p)
