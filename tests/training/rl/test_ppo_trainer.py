"""The trainer on tiny models: log-probabilities, losses, LoRA, checkpoints, processes; real verdicts and embeddings."""

import json
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path

import pandas as pd
import pytest
import tiny_runs
import torch
import trl
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
from trl import GRPOTrainer

from ledexlib.__main__ import main
from ledexlib.params import ParameterError
from ledexlib.records import Verdict
from ledexlib.rewards import Reward
from ledexlib.training import check_rl
from ledexlib.training.rl import advantages, build_prompts, load_sources, read_rl_log, read_traces, train_policy
from ledexlib.training.rl import trainer as trainer_module
from ledexlib.training.rl.advantages import explanation_mask
from ledexlib.training.rl.policy import rl_process, rl_trainer
from ledexlib.training.rl.scoring import ScoredBatch, ScoredRollout, Segmented
from ledexlib.training.rl.value_trainer import grouped, is_of_value_head, without_value_head


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Tiny models by kind, made once."""
    made = {}

    def get(kind):
        if kind not in made:
            made[kind] = tiny_runs.make_model(kind, tmp_path_factory.mktemp(kind))
        return made[kind]

    return get


def make(models, folder, kind="llama", **values):
    p = tiny_runs.make_run(folder, models(kind), **values)
    check_rl(p)
    sources = load_sources(p, folder / "05_ppo")
    return rl_trainer(p, folder / "05_ppo", sources, build_prompts(sources, p))


def rollout(trainer):
    """The first batch of answers, scored, as the loss reads it."""
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = trainer.args.gradient_accumulation_steps
    batch = next(iter(trainer.get_train_dataloader()))
    return trainer._generate_and_score_completions(batch)


def test_trl_is_the_version_whose_private_methods_are_overridden():
    assert trl.__version__.startswith("1.16."), "read trl's new GRPOTrainer before the pin is moved"
    for name in (
        "_generate", "_generate_single_turn", "_generate_and_score_completions", "_compute_loss", "_prepare_inputs",
        "_get_per_token_logps_and_entropies", "_save_checkpoint",
    ):  # fmt: skip
        assert callable(getattr(GRPOTrainer, name))


# Log-probabilities and values


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gpt_bigcode"])
def test_left_padded_log_probabilities_and_values_equal_unpadded_ones(models, tmp_path, kind):
    trainer = make(models, tmp_path / "r", kind, ppo_temperature=0.7)
    torch.nn.init.normal_(trainer.head.weight)
    torch.manual_seed(0)
    answer = torch.randint(10, 250, (1, 6))
    for padding in (1, 5, 30):
        prompt = torch.randint(10, 250, (1, 9))
        found = []
        for pad in (0, padding):
            ids = torch.cat([torch.zeros(1, pad, dtype=torch.long), prompt, answer], 1)
            mask = torch.cat([torch.zeros(1, pad, dtype=torch.long), torch.ones(1, 15, dtype=torch.long)], 1)
            logps = trainer._get_per_token_logps_and_entropies(trainer.model, ids, mask, 6)[0]
            reference = trainer._get_per_token_logps_and_entropies(trainer.ref_model, ids, mask, 6)[0]
            found.append(torch.stack([logps, reference, trainer._values[-1]]).detach())
        assert (found[0] - found[1]).abs().max() < 1e-5
    plain = AutoModelForCausalLM.from_pretrained(models(kind))
    logits = plain(torch.cat([prompt, answer], 1)).logits[:, 8:-1] / 0.7
    expected = logits.log_softmax(-1).gather(-1, answer[..., None])[..., 0]
    assert (found[1][0] - expected).abs().max() < 1e-5
    assert torch.equal(found[1][0], found[1][1]), "the reference is the fine-tuned model itself"


@pytest.mark.parametrize("kind", ["llama", "qwen2", "starcoder2", "gpt_bigcode"])
def test_prompts_that_are_read_once_give_the_values_and_gradients_of_whole_rows(models, tmp_path, kind):
    """Two prompts of different lengths with three answers each, against plain forwards of unpadded rows."""
    trainer = make(models, tmp_path / "r", kind)
    torch.nn.init.normal_(trainer.head.weight)
    torch.manual_seed(0)
    prompts = [torch.randint(10, 250, (n,)) for n in (9, 4)]
    answers = [torch.randint(10, 250, (n,)) for n in (6, 2, 5, 1, 6, 3)]
    ids, mask = torch.zeros(6, 17, dtype=torch.long), torch.zeros(6, 17, dtype=torch.long)
    for row, answer in enumerate(answers):
        inside = slice(11 - len(prompts[row // 3]), 11 + len(answer))
        ids[row, inside], mask[row, inside] = torch.cat([prompts[row // 3], answer]), 1
    logps = trainer._get_per_token_logps_and_entropies(trainer.model, ids, mask, 6)[0]
    learned = mask[:, 11:]
    ((logps + trainer._values[-1]) * learned).sum().backward()
    plain = AutoModelForCausalLM.from_pretrained(models(kind))
    head = trainer.head.weight.detach()
    for row, answer in enumerate(answers):
        prompt = prompts[row // 3]
        out = plain(torch.cat([prompt, answer])[None], output_hidden_states=True)
        expected = out.logits[0, len(prompt) - 1 : -1].log_softmax(-1).gather(-1, answer[:, None])[:, 0]
        assert (logps[row, : len(answer)] - expected).abs().max() < 1e-5
        values = out.hidden_states[-1][0, len(prompt) - 1 : -1] @ head
        assert (trainer._values[-1][row, : len(answer)] - values).abs().max() < 1e-4
        expected.sum().backward()
    own = dict(without_value_head(trainer.model.named_parameters()))
    for name, weight in plain.named_parameters():
        assert torch.allclose(own[name].grad, weight.grad, atol=1e-4, rtol=1e-4), name


def test_answers_to_a_prompt_stay_together_beside_answers_of_their_length():
    lengths = torch.tensor([9, 1, 3, 3, 2, 7, 5, 4])
    rows = grouped(lengths, 2, 1)
    assert rows.tolist() == [2, 3, 6, 7, 4, 5, 0, 1]
    torch.manual_seed(0)
    dealt = {tuple(grouped(lengths, 2, 2).tolist()) for _ in range(50)}
    assert len(dealt) == 6, "each way to deal four groups to two steps"
    for rows in dealt:
        assert sorted(rows) == list(range(8))
        for step in (rows[:4], rows[4:]):
            longest = lengths[list(step)].view(2, 2).max(1).values
            assert longest[0] < longest[1]
            assert all(step[n] + 1 == step[n + 1] for n in (0, 2))
    assert sorted(grouped(lengths, 3, 1).tolist()) == list(range(8)), "groups that are split among processes"


def test_answers_are_sampled_from_the_probabilities_that_are_learned_from(models, tmp_path):
    """Tokens drawn many times for one prompt have the frequencies of the policy's log-probabilities."""
    trainer = make(models, tmp_path / "r", "gpt_bigcode", ppo_max_tokens=1, ppo_temperature=0.5)
    prompts = [[11, 12, 13, 14]] * 4000
    drawn = torch.tensor([ids[0] for ids in trainer._generate_single_turn(prompts, None, {}, 2)[0]])
    expected = AutoModelForCausalLM.from_pretrained(models("gpt_bigcode"))(torch.tensor(prompts[:1])).logits[0, -1]
    probability = (expected / 0.5).softmax(-1)
    frequency = torch.bincount(drawn, minlength=len(probability)) / len(drawn)
    assert (frequency - probability).abs().max() < 4 * (probability.max() / 4000).sqrt()


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gpt_bigcode"])
def test_the_samplers_log_probabilities_are_those_of_a_forward(models, tmp_path, kind):
    trainer = make(models, tmp_path / "r", kind, ppo_algorithm="grpo", ppo_temperature=0.7)
    batch = rollout(trainer)
    found, mask = batch["old_per_token_logps"], batch["completion_mask"]
    expected = trainer._policy_logps(batch)
    assert ((found - expected) * mask).abs().max() < 1e-5 and (found * mask).min() < -1


# The loss


def test_with_one_segment_the_loss_is_trls(models, tmp_path, monkeypatch):
    """Equal advantages for all tokens of an answer, no value loss: GRPOTrainer's loss for the same batch."""
    monkeypatch.setattr(trainer_module, "VALUE_COEF", 0.0)
    trainer = make(models, tmp_path / "r", ppo_explain=0.0)
    batch = rollout(trainer)
    scalar = torch.linspace(-1, 1, len(batch["completion_ids"]))
    batch["old_per_token_logps"] = batch["old_per_token_logps"] + 0.3 * torch.randn(batch["completion_ids"].shape)
    batch["advantages"] = scalar[:, None].expand_as(batch["completion_ids"]) * batch["completion_mask"]
    ours = trainer._compute_loss(trainer.model, batch)
    trainer.beta = 0.0
    theirs = GRPOTrainer._compute_loss(trainer, trainer.model, {**batch, "advantages": scalar})
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-7) and ours.item() != 0


def test_the_values_gradient_stays_out_of_the_policy(models, tmp_path):
    trainer = make(models, tmp_path / "r")
    torch.nn.init.normal_(trainer.head.weight)
    batch = rollout(trainer)
    batch["advantages"] = torch.zeros_like(batch["advantages"])
    trainer._compute_loss(trainer.model, batch).backward()
    moved = trainer.model.model.layers[0].mlp.up_proj.weight.grad
    assert trainer.head.weight.grad.abs().sum() > 0 and (moved is None or moved.abs().sum() == 0)


def test_the_value_loss_is_the_mean_over_the_steps_tokens(models, tmp_path):
    trainer = make(models, tmp_path / "r")
    batch = rollout(trainer)
    batch["advantages"] = torch.zeros_like(batch["advantages"])
    whole = trainer._compute_loss(trainer.model, {**batch})
    mask = batch["completion_mask"]
    mean = 0.5 * (batch["returns"].square() * mask).sum() / mask.sum()  # the head starts at 0
    expected = trainer_module.VALUE_COEF * mean
    # One micro-batch of two, though it has all answers: the loss is divided by half of what it would be
    assert whole.item() * trainer.args.gradient_accumulation_steps == pytest.approx(
        expected.item() * trainer.args.steps_per_generation, rel=1e-5
    )


def test_rollouts_carry_what_the_rewards_say(models, tmp_path, monkeypatch):
    """Batch tensors against the scored answers: returns at the ends, values of a head at 0, masks."""
    monkeypatch.setattr(advantages, "whiten", lambda a, part, reduce: a)
    trainer = make(models, tmp_path / "r", ppo_gamma=0.5, ppo_kl_coef=0.0)
    batch = rollout(trainer)
    assert trainer.ref_model is None
    lengths = batch["completion_mask"].sum(1)
    for row, (scored, asked) in enumerate(zip(trainer.latest["rollouts"], trainer._asked, strict=True)):
        n, explained = int(lengths[row]), scored.answer.explanation_tokens
        returns = batch["returns"][row]
        assert (explained > 0) == asked["explain"] and scored.answer.tokens == n
        assert returns[n - 1] == pytest.approx(scored.reward.code, abs=1e-5)
        if explained:
            ahead = 0.5 ** (n - explained) * scored.reward.code
            assert returns[explained - 1] == pytest.approx(scored.reward.explanation + ahead, abs=1e-5)
        assert not returns[n:].any()
    assert torch.equal(batch["returns"], batch["advantages"])


@pytest.mark.parametrize("algorithm", ["ppo", "grpo"])
def test_an_answer_that_could_not_be_verified_teaches_nothing(models, tmp_path, monkeypatch, algorithm):
    """The harness's own trouble: no reward, no advantage, no value target, and counted in the log."""
    trainer = make(models, tmp_path / "r", ppo_algorithm=algorithm)
    infra = Verdict(status="infra", n_passed=0, n_tests=2, feedback="", seconds=0.0)
    verdicts = trainer.scorer.verdicts

    def failing(problems, programs):
        return [infra if n % 2 else verdict for n, verdict in enumerate(verdicts(problems, programs))]

    monkeypatch.setattr(trainer.scorer, "verdicts", failing)
    batch = rollout(trainer)
    for name in ("advantages", "returns", "learn"):
        assert not batch[name][1::2].any()
    assert batch["learn"][::2].any() and batch["advantages"].isfinite().all()
    assert trainer._metrics["train"]["rollout/unscored"] == [0.5]


def test_grpo_compares_the_answers_to_a_prompt_in_each_segment(models, tmp_path):
    trainer = make(
        models, tmp_path / "r", ppo_algorithm="grpo", ppo_credit="isolated", ppo_gamma=1.0, ppo_explain=1.0,
    )  # fmt: skip
    batch = rollout(trainer)
    assert trainer.head is None
    scored = trainer.latest["rollouts"]
    explained = torch.tensor([s.answer.explanation_tokens for s in scored])
    segment = explanation_mask(explained, batch["completion_ids"].shape[1])
    for first in range(0, len(scored), 2):
        pair = [s.reward.explanation for s in scored[first : first + 2]]
        spread = (pair[0] - pair[1]) / 2**0.5
        sign = spread / (abs(spread) + 1e-4) / 2**0.5
        for row, expected in ((first, sign), (first + 1, -sign)):
            found = batch["advantages"][row][segment[row]]
            assert torch.allclose(found, torch.full_like(found, expected), atol=1e-4)


class EvenTokens:
    """Scores what a tiny model can learn: both rewards are the share of even tokens, in [-5, 5]."""

    def start(self, asked, answers):
        found = Future()
        found.set_result(ScoredBatch([self.scored(*pair) for pair in zip(asked, answers, strict=True)], 0.0, 0.0))
        return found

    @staticmethod
    def scored(row, ids):
        n = 5 if row["explain"] else 0
        parts = [10 * sum(i % 2 == 0 for i in part) / max(1, len(part)) - 5 for part in (ids[:n], ids[n:])]
        explanation, code = parts[0] if n else None, parts[1]
        answer = Segmented("e" if n else None, "c", min(n, len(ids)), len(ids))
        reward = Reward(total=code + (explanation or 0), code=code, explanation=explanation, s_cb=0, s_ut=0, s_ex=0)
        failed = Verdict(status="failed", n_passed=0, n_tests=2, feedback="", seconds=0)
        refinement = tiny_runs.trajectory("one", 0).refinements[0].model_copy(update={"verdict": failed})
        return ScoredRollout(answer, refinement, reward)


@pytest.mark.parametrize(("algorithm", "credit"), [("ppo", "paper"), ("ppo", "isolated"), ("grpo", "isolated")])
def test_training_raises_both_rewards(models, tmp_path, algorithm, credit):
    trainer = make(
        models, tmp_path / "r", ppo_algorithm=algorithm, ppo_credit=credit, ppo_steps=10, ppo_batch=16,
        ppo_generations=4, ppo_device_batch=16, ppo_epochs=1, ppo_lr=1e-2, ppo_save_every=100,
    )  # fmt: skip
    trainer.scorer = EvenTokens()
    trainer.train()
    log = read_rl_log(tmp_path / "r" / "05_ppo")
    for name in ("rollout/explanation reward", "rollout/code reward"):
        assert log[name][-2:].mean() > log[name][:2].mean() + 1.5, log[name]


# LoRA


def test_lora_needs_no_second_copy_and_leaves_the_head_out_of_the_model(models, tmp_path):
    trainer = make(models, tmp_path / "r", method="lora")
    assert trainer.ref_model is None and trainer.head.weight.requires_grad
    names = [name for name, _ in trainer.model.named_parameters()]
    assert not any("lora" in name for name in names if is_of_value_head(name))
    with torch.no_grad():
        for name, weight in trainer.model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.1)
    batch = rollout(trainer)
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    plain = AutoModelForCausalLM.from_pretrained(models("llama"))
    width = batch["completion_ids"].shape[1]
    logits = plain(ids, attention_mask=mask).logits[:, -width - 1 : -1]
    expected = logits.log_softmax(-1).gather(-1, batch["completion_ids"][..., None])[..., 0]
    kept = batch["completion_mask"].bool()
    assert (batch["ref_per_token_logps"] - expected)[kept].abs().max() < 1e-4
    assert (batch["old_per_token_logps"] - expected)[kept].abs().max() > 1e-3
    sent = dict(without_value_head(trainer.model.named_parameters()))
    assert len(sent) == len(names) - 2


@pytest.mark.parametrize("method", ["full", "lora"])
def test_training_leaves_an_ordinary_model(models, tmp_path, method):
    p = tiny_runs.make_run(tmp_path / "r", models("qwen2"), method=method, ppo_steps=2)
    folder = train_policy(p, tmp_path / "r" / "05_ppo")
    before, after = (load_file(path / "model.safetensors") for path in (models("qwen2"), folder))
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert not (folder.parent / "checkpoints").exists()
    assert "| reward R(e) + R(r) |" in (folder / "README.md").read_text()
    log = read_rl_log(folder.parent)
    assert log["step"].to_list() == [1, 2]
    for name in (
        "rollout/reward", "rollout/code reward", "rollout/explanation reward", "rollout/kl", "rollout/repaired",
        "rollout/invalid", "rollout/tokens", "rollout/unscored", "clip fraction", "ratio", "value loss",
        "explained variance", "entropy", "seconds/generation", "seconds/verification", "seconds/similarity",
        "seconds/forward", "seconds/backward",
    ):  # fmt: skip
        assert log[name].notna().all(), name
    shown = read_traces(folder.parent)
    assert len(shown) == 8 and all(len(s.tokens) == len(s.advantages) == len(s.rewards) for s in shown)
    assert len({(s.solution_id, s.explain) for s in shown if s.step == 1}) > 1, "answers to several prompts"


# Killed, spread, stopped

SCRIPT = (
    "import sys, torch; torch.set_num_threads(1); from ledexlib.__main__ import main; "
    "sys.exit(main(['train', 'rl', sys.argv[1]]))"
)


def start(folder: Path) -> subprocess.Popen:
    command = [sys.executable, "-c", SCRIPT, str(folder / "params.yaml")]
    with (folder / "errors.txt").open("a") as errors:
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)


def curve(folder: Path) -> pd.DataFrame:
    """The log without what the clock says."""
    log = read_rl_log(folder)
    return log[sorted(name for name in log if not name.startswith("seconds/"))]


@pytest.mark.parametrize(("method", "algorithm"), [("full", "ppo"), ("lora", "grpo")])
def test_a_killed_training_gives_the_curve_and_the_weights_of_an_undisturbed_one(models, tmp_path, method, algorithm):
    """kill -9 after the first checkpoint; policy, head, optimiser, schedule, β and random state go on as they were."""
    ends = {}
    for run in ("whole", "killed"):
        folder = tmp_path / run
        p = tiny_runs.make_run(
            folder, models("llama"), method=method, ppo_algorithm=algorithm, ppo_steps=4, ppo_minibatches=2,
            ppo_warmup_steps=6, ppo_kl_target=0.01,
        )  # fmt: skip
        if run == "killed":
            process = start(folder)
            deadline = time.monotonic() + 200
            while not list(folder.glob("05_ppo/checkpoints/checkpoint-*/trainer_state.json")):
                assert time.monotonic() < deadline and process.poll() is None
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            process.wait(timeout=60)
            assert not (folder / "05_ppo" / "model").exists()
            with (folder / "05_ppo" / "log.jsonl").open("a") as lines:
                lines.write('{"id": "hal')
        rl_process(p, folder / "05_ppo")
        ends[run] = curve(folder / "05_ppo"), load_file(folder / "05_ppo" / "model" / "model.safetensors")
    assert ends["whole"][0].equals(ends["killed"][0])
    assert ends["whole"][0]["beta"].nunique() > 1, "β moved"
    assert all(torch.equal(ends["whole"][1][name], ends["killed"][1][name]) for name in ends["whole"][1])


def test_two_processes_take_the_first_step_of_one(models, tmp_path):
    """``accelerate launch`` with gloo: the same answers, rewards and weights but for rounding."""
    ends = []
    for n in (1, 2):
        folder = tmp_path / f"run{n}"
        p = tiny_runs.make_run(folder, models("llama"), processes=n, ppo_steps=1, ppo_epochs=1, ppo_device_batch=2)
        model = train_policy(p, folder / "05_ppo")
        ends.append((load_file(model / "model.safetensors"), curve(folder / "05_ppo").iloc[0]))
    (one, first), (two, second) = ends
    assert all(torch.allclose(one[name], two[name], atol=1e-4) for name in one)
    before = load_file(models("llama") / "model.safetensors")
    assert any((one[name] - before[name]).abs().max() > 5e-4 for name in one), "a step was taken"
    for name in ("rollout/reward", "rollout/s_ex", "value loss", "entropy", "explained variance", "gradient norm"):
        assert first[name] == pytest.approx(second[name], rel=1e-3), name


def test_a_policy_that_drifts_is_stopped_and_the_reason_kept(models, tmp_path):
    p = tiny_runs.make_run(tmp_path / "r", models("llama"), ppo_steps=6, ppo_stop_kl=1e-6)
    folder = train_policy(p, tmp_path / "r" / "05_ppo").parent
    assert read_rl_log(folder)["step"].to_list() == [1, 2]
    assert "above 1e-06; kept the last policy" in (folder / "stopped.txt").read_text()


# Refusals


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ppo_batch": 10, "ppo_generations": 4}, "ppo_batch = 10 is not a multiple of ppo_generations = 4"),
        ({"ppo_batch": 12, "ppo_generations": 4, "ppo_device_batch": 5}, "ppo_device_batch"),
        ({"ppo_max_tokens": 400, "ppo_max_length": 400}, "no room for a prompt"),
        ({"accelerate_config": "nowhere.yaml"}, "nowhere.yaml"),
    ],
)
def test_impossible_settings_are_refused_before_any_work(models, tmp_path, values, message):
    p = tiny_runs.make_run(tmp_path / "r", models("llama"), **values)
    with pytest.raises(ParameterError, match=message):
        check_rl(p)


def test_prompts_without_room_for_an_answer_are_left_out_or_refused(models, tmp_path):
    p = tiny_runs.make_run(tmp_path / "r", models("llama"), ppo_max_length=60)
    with pytest.raises(ParameterError, match="all longer than ppo_max_length"):
        build_prompts(load_sources(p, tmp_path / "r" / "05_ppo"), p)


def test_training_before_the_notebook_says_what_to_run(tmp_path, capsys):
    file = tmp_path / "p.yaml"
    file.write_text(json.dumps({"outputs": str(tmp_path)}))
    assert main(["train", "rl", str(file), "--run", "empty"]) == 2
    assert "notebooks/05_ppo.ipynb" in capsys.readouterr().err
