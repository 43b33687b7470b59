"""PPO with segment rewards as a subclass of trl's GRPOTrainer, whose loss takes an advantage for every token.

trl 1.16 has log-probabilities, the clipped loss, vLLM, LoRA, checkpoints and distribution; here are the rewards of two
segments, the KL penalty inside the reward, and sampling that does not depend on the processes; the value head is in
``value_trainer``. The overridden methods are private, so trl is pinned, and a test fails loudly on another version."""

import json
import math
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from trl.models import unwrap_model_for_generation

from ledexlib.models.local import SampledTokens, TransformersGenerator
from ledexlib.params import ParameterError, Params
from ledexlib.records import Sampling
from ledexlib.training.rl import advantages as adv
from ledexlib.training.rl.log import Stopwatch, rollout_facts
from ledexlib.training.rl.rounds import Episode, continuation, play
from ledexlib.training.rl.scoring import RolloutScorer, ScoredBatch
from ledexlib.training.rl.value_trainer import ValueTrainer

STATE, BEST = "ppo_state.json", "best"
COLUMNS = ("solution_id", "task_id", "explain")  # of the training's data, beside ``prompt``
VALUE_COEF = 0.5  # weight of the value's loss


class RepairTrainer(ValueTrainer):
    """Trains a policy on prompts with columns ``prompt``, ``solution_id``, ``task_id`` and ``explain``.

    ``algorithm`` ppo: a value head, the KL penalty in the reward, advantages after equation δ. grpo: each segment's
    rewards less the mean of the prompt's group, no critic, KL in trl's loss. Both use the same credit modes. What is
    given behind the scorer is trl's: ``args``, ``train_dataset``, ``processing_class``, ``peft_config``."""

    def __init__(self, model: PreTrainedModel, p: Params, scorer: RolloutScorer, *args: Any, **more: Any) -> None:
        super().__init__(model, p, self.total_reward, *args, **more)
        self.scorer = scorer
        self.is_ppo = self.head is not None
        self.updates = p.ppo_minibatches * p.ppo_epochs  # steps of the optimizer for each batch of answers
        self.kl, self.stopping = adv.KLController(p.ppo_kl_coef, p.ppo_kl_target), adv.EarlyStopping(p.ppo_stop_kl)
        self.stopped: str | None = None  # why, if early
        self.latest: dict[str, Any] = {}  # the latest batch of rollouts, for those who record samples
        self.clock = Stopwatch()
        self._asked: list[dict[str, Any]] = []
        self._episodes: list[Episode] = []  # of several rounds
        self._scoring: Future[ScoredBatch] | None = None
        self._sampler: TransformersGenerator | None = None
        if p.ppo_rounds > 1:
            if self.is_fsdp_enabled or self.is_deepspeed_enabled:
                raise ParameterError("ppo_rounds > 1: not with FSDP or DeepSpeed, whose processes must sample together")
            self.rollout_func = self._play

    # Rollouts

    def total_reward(self, prompts: Sequence, completions: Sequence, **_: Any) -> list[float | None]:
        """trl's reward function: R(e) + R(r), or None. Scoring has gone on since the answers were there."""
        with self.clock("waiting for rewards"):
            scored = self._scoring.result()
        return [r.reward.total if r.reward else None for r in scored.rollouts]

    def _generate(self, prompts: list) -> tuple:
        with self.clock("generation"):
            result = super()._generate(prompts)
        answers = [episode.answer for episode in self._episodes] or result[1]
        self._scoring = self.scorer.start(self._asked, answers)
        return result

    def _play(self, messages: list, _trainer: Any) -> dict[str, Any]:
        """trl's rollout function: episodes of several rounds."""
        prompts = self._tokenize_prompts(messages)[0]

        def sample(*asked: Any) -> list[list[int]]:
            return [sampled.ids for sampled in self._sample(*asked)]

        self._episodes = play(prompts, self.p.ppo_rounds, sample, self._reply)
        ids, written = ([getattr(episode, name) for episode in self._episodes] for name in ("ids", "written"))
        return {"prompt_ids": prompts, "completion_ids": ids, "logprobs": None, "env_mask": written}

    def _reply(self, rows: Sequence[int], episodes: list[Episode]) -> list[list[int] | None]:
        """What is said to answers that failed, if they came to their end and a further one has room."""
        found = self.scorer.feedback([self._asked[row] for row in rows], [episode.answer for episode in episodes])
        replies: list[list[int] | None] = []
        for episode, text in zip(episodes, found, strict=True):
            end, said = continuation(self._tokenizer, text) if text is not None else (None, [])
            length = len(episode.prompt) + len(episode.ids) + len(said) + self.p.ppo_max_tokens
            replies.append(said if end == episode.ids[-1] and length <= self.p.ppo_max_length else None)
        return replies

    def _generate_single_turn(self, prompt_ids: list, images: Any, multimodal_fields: Any, *rest: Any, **more: Any):
        """Sample by the project's own loop, whose answers depend on seed, step and row, not on the processes.

        Its log-probabilities are those of the trainer's forward where both compute in float32."""
        if self.use_vllm or self.is_fsdp_enabled or self.is_deepspeed_enabled:
            return super()._generate_single_turn(prompt_ids, images, multimodal_fields, *rest, **more)
        sampled = self._sample(range(len(prompt_ids)), prompt_ids, 0)
        return [s.ids for s in sampled], None if self.args.bf16 else [s.logps for s in sampled]

    def _sample(self, rows: Sequence[int], contexts: list[list[int]], number: int) -> list[SampledTokens]:
        """Answers to these rows' contexts in the round of this number, from 0."""
        first, later = self.accelerator.process_index * len(self._asked), [number] * (number > 0)
        seeds = [(self.args.seed, self.state.global_step, first + row, *later) for row in rows]
        sampling = Sampling(temperature=self.temperature, max_tokens=self.max_completion_length)
        with unwrap_model_for_generation(
            self.model_wrapped, self.accelerator, gradient_checkpointing_kwargs=self.args.gradient_checkpointing_kwargs
        ) as model:
            if self._sampler is None:
                self._sampler = TransformersGenerator("policy", loaded=(model, self._tokenizer))
            return self._sampler.sample_ids(contexts, seeds, sampling)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        self._asked = [{name: row[name] for name in COLUMNS} for row in inputs]
        self._episodes = []
        self._values.clear()
        with self.clock("rollouts"):
            batch = super()._generate_and_score_completions(inputs)
            if "old_per_token_logps" not in batch:
                self._values.clear()
                sampled = batch.get("sampling_per_token_logps")
                forward = self.is_ppo or sampled is None  # values come from a forward alone
                batch["old_per_token_logps"] = self._policy_logps(batch) if forward else sampled
        scored = self._scoring.result()
        facts = rollout_facts(scored)
        self._add_advantages(batch, scored, facts)
        self._log_rollouts(batch, scored, facts)
        return batch

    # From rewards to advantages

    def _add_advantages(self, batch: dict[str, Any], scored: ScoredBatch, facts: dict[str, list[float]]) -> None:
        """Replace trl's scalar advantages by one for each token, and add returns, old values and what is learned."""
        device, mask = self.accelerator.device, batch["completion_mask"]
        weighted = [self.p.explanation_weight * reward for reward in facts["explanation reward"]]
        explanation, code = (torch.tensor(x, device=device) for x in (weighted, facts["code reward"]))
        explained = torch.tensor([r.answer.explanation_tokens for r in scored.rollouts], device=device)
        if self._episodes:  # the earlier rounds lead to the last explanation
            starts = torch.tensor([episode.start for episode in self._episodes], device=device)
            explained = explained + starts * (explained > 0)
        written = mask * batch.get("tool_mask", 1)  # by the policy, not what it was told between rounds
        learn = written * code.isfinite()[:, None]
        kl = torch.zeros_like(batch["old_per_token_logps"])
        if "ref_per_token_logps" in batch:  # log π less log π_SFT, whose expectation is the KL divergence
            kl = (batch["old_per_token_logps"] - batch["ref_per_token_logps"]) * written
        if self.is_ppo:
            values, beta, lam = self._values[0].detach(), self.kl.beta, self.p.ppo_lambda
        else:
            explanation, code = self._group_scores(explanation, code)
            values, beta, lam = torch.zeros(mask.shape, device=device), 0.0, 1.0
        settings = beta, self.p.ppo_credit, self.p.ppo_gamma, lam
        rewards, values, a, returns = adv.targets(explanation, code, explained, mask, kl, values, *settings)
        if self.is_ppo:
            segment = adv.explanation_mask(explained, mask.shape[1])
            for part in [learn] if self.p.ppo_credit == "single" else [learn * segment, learn * ~segment]:
                a = adv.whiten(a, part, self._sum)
        batch.update(advantages=a * learn, returns=returns * learn, old_values=values * learn, learn=learn)
        self.latest = {"batch": batch, "rewards": rewards, "kl": kl, "explained": explained,
                       "rollouts": scored.rollouts, "asked": self._asked}  # fmt: skip

    def _group_scores(self, explanation: Tensor, code: Tensor) -> list[Tensor]:
        """This process's part of the group scores of R(e) and R(r), or of their sum."""
        if self.p.ppo_credit == "single":
            explanation, code = torch.zeros_like(code), code + explanation.nan_to_num()
        here = slice(self.accelerator.process_index * len(code), (self.accelerator.process_index + 1) * len(code))
        rewards = [self.accelerator.gather(x) for x in (explanation, code)]
        return [adv.group_scores(x, self.num_generations)[here] for x in rewards]

    # Learning

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        """trl's clipped loss with an advantage for each token; for ppo the value loss on top, and no KL in the loss."""
        self._values.clear()
        self._logps.clear()
        with self.clock("forward"):
            beta, self.beta = self.beta, 0.0 if self.is_ppo or self.beta == 0.0 else self.kl.beta
            loss = super()._compute_loss(model, inputs)
            self.beta = beta
            if self.is_ppo:
                loss = loss + VALUE_COEF * self._value_loss(inputs)
        ratio = (self._logps[-1] - inputs["old_per_token_logps"]).exp()
        self._note("ratio", self._mean(ratio, inputs["learn"]))
        return loss

    def _value_loss(self, inputs: dict[str, Any]) -> Tensor:
        """The mean over the optimizer step's tokens, divided among micro-batches and processes as trl's loss is."""
        values, learn = self._values[-1], inputs["learn"]
        per_token = 0.5 * (values - inputs["returns"]).square() * learn
        self._note("value loss", self._mean(per_token.detach(), learn))
        tokens = inputs["num_items_in_batch"].clamp(min=1.0) / self.accelerator.num_processes
        return per_token.sum() / (tokens * self.current_gradient_accumulation_steps / self.args.steps_per_generation)

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any) -> Tensor:
        before = self.clock.seconds.copy()
        with self.clock("backward"):  # all of it, less what the other clocks have counted
            loss = super().training_step(model, inputs, num_items_in_batch)
        for name in ("rollouts", "forward"):
            self.clock.seconds["backward"] -= self.clock.seconds[name] - before[name]
        return loss

    # Checkpoints

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        super()._save(output_dir, state_dict)
        if self.args.should_save:
            state = {"kl": asdict(self.kl), "stopping": asdict(self.stopping)}
            (Path(output_dir or self.args.output_dir) / STATE).write_text(json.dumps(state), encoding="utf-8")

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        state = json.loads((Path(resume_from_checkpoint) / STATE).read_text(encoding="utf-8"))
        self.kl, self.stopping = adv.KLController(**state["kl"]), adv.EarlyStopping(**state["stopping"])

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """trl's; the best policy so far is kept beside the newest checkpoint, as links to its files."""
        best = self.stopping.is_best()
        super()._save_checkpoint(model, trial)
        if best and self.args.should_save:
            newest = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
            shutil.rmtree(newest.with_name(BEST), ignore_errors=True)
            shutil.copytree(newest, newest.with_name(BEST), copy_function=os.link)

    # What is measured

    def _sum(self, x: Tensor) -> Tensor:
        return self.accelerator.reduce(x, reduction="sum")

    def _mean(self, x: Tensor, mask: Tensor) -> float:
        """The mean over the mask, over all processes; NaN if it is empty."""
        total, count = self._sum(torch.stack([(x * mask).sum().double(), mask.sum().double()])).tolist()
        return total / count if count else math.nan

    def _note(self, name: str, value: float) -> None:
        self._metrics["train" if self.model.training else "eval"][name].append(value)

    def _log_rollouts(self, batch: dict[str, Any], scored: ScoredBatch, facts: dict[str, list[float]]) -> None:
        """Note what the answers are worth, steer β by their KL, and stop if they have gone astray."""
        if self._episodes:
            facts["rounds"] = [float(episode.rounds) for episode in self._episodes]
        options = {"dtype": torch.float64, "device": self.accelerator.device}
        per_answer = {name: torch.tensor(x, **options) for name, x in facts.items()}
        if "ref_per_token_logps" in batch:
            per_answer["kl"] = self.latest["kl"].sum(1).double()
        found = {name: self.accelerator.gather(x).nanmean().item() for name, x in sorted(per_answer.items())}
        for name, value in found.items():
            self._note(f"rollout/{name}", value)
        self._note("beta", self.kl.beta)
        if self.is_ppo:
            explained = adv.explained_variance(batch["old_values"], batch["returns"], batch["learn"], self._sum)
            self._note("explained variance", explained)
        self.clock.seconds.update(verification=scored.verification, similarity=scored.similarity)  # adds
        kl, answers = found.get("kl", math.nan), len(scored.rollouts) * self.accelerator.num_processes
        self.kl.update(kl, answers)
        self.stopped = self.stopping.see(found["reward"], kl)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """trl's, with the seconds that each part of the updates took since the last log."""
        if self.model.training:
            for name, seconds in self.clock.seconds.items():
                self._metrics["train"][f"seconds/{name}"] = [seconds]
            self.clock.seconds.clear()
        super().log(logs, start_time)

