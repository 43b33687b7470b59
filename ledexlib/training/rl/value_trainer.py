"""trl's GRPOTrainer with a value head on the policy, positions that are exact for every model, and little padding.

Log-probabilities come with the values of the same forward; the head has a learning rate and a gradient clip of its own,
and is saved beside the model. The overridden methods are private: see ``trainer``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from torch import Tensor
from torch.nn.functional import pad
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl import GRPOConfig, GRPOTrainer
from trl.trainer.utils import split_tensor_dict

from ledexlib.params import Params
from ledexlib.training.rl import value_head


def grouped(lengths: Tensor, size: int, parts: int) -> Tensor:
    """An order of rows (B,) for so many steps of the optimizer: groups of ``size`` rows are dealt to the steps at
    random, and lie in each by the length of their longest row."""
    size = size if len(lengths) % (size * parts) == 0 else 1
    longest = lengths.view(-1, size).max(1).values
    dealt = torch.randperm(len(longest), device=lengths.device).view(parts, -1)
    by_length = torch.cat([groups[longest[groups].argsort()] for groups in dealt])
    return (by_length[:, None] * size + torch.arange(size, device=lengths.device)).flatten()


class ValueTrainer(GRPOTrainer):
    """Keeps what the policy's forwards give beside the loss: ``_values`` and ``_logps``, (B, T) each, newest last.

    With ``algorithm`` grpo there is no head, and ``_values`` holds None.
    """

    def __init__(
        self, model: PreTrainedModel, p: Params, reward: Callable, args: GRPOConfig, train_dataset: Dataset,
        tokenizer: PreTrainedTokenizerBase, peft_config: LoraConfig | None = None,
    ) -> None:  # fmt: skip
        self.p = p
        self.head = value_head.attach(model) if p.ppo_algorithm == "ppo" else None
        self._values: list[Tensor | None] = []
        self._logps: list[Tensor] = []
        value_head.positions_from_mask(model)
        _without_attention_dropout(model)
        super().__init__(model, reward, args, train_dataset, processing_class=tokenizer, peft_config=peft_config)
        if self.head is not None:
            self.head.requires_grad_(True)  # adapters freeze everything else
        if self.ref_model is not None:
            value_head.positions_from_mask(self.accelerator.unwrap_model(self.ref_model))
        if self.use_vllm:
            named = self.vllm_generation._iter_named_params
            self.vllm_generation._iter_named_params = lambda: value_head.without_value_head(named())

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
        """trl's, but the answers to a prompt stay together and beside answers of their length: less is read and padded.

        An optimizer's step still gets prompts at random.
        """
        if not self.model.training:
            return super()._prepare_inputs(generation_batch)
        micro_batches = self.args.steps_per_generation
        if self._step % (micro_batches * self.num_iterations) == 0 or self._buffered_inputs is None:
            batch = self._generate_and_score_completions(generation_batch)
            rows = grouped(batch["completion_mask"].sum(1), self.num_generations, self.p.ppo_minibatches)
            batch = {name: x[rows] if torch.is_tensor(x) and x.dim() else x for name, x in batch.items()}
            self._buffered_inputs = split_tensor_dict(batch, micro_batches)
        return self._buffered_inputs[self._step % micro_batches]

    @torch.no_grad()
    def _policy_logps(self, batch: dict[str, Any]) -> Tensor:
        ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
        mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
        width = batch["completion_ids"].shape[1]
        size = self.args.per_device_train_batch_size
        return self._get_per_token_logps_and_entropies(self.model, ids, mask, width, batch_size=size)[0]

    def _get_per_token_logps_and_entropies(
        self, model: Any, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int,
        batch_size: int | None = None, **more: Any,
    ) -> tuple:  # fmt: skip
        """trl's for each micro-batch, cut to its own longest prompt and answer; the policy's values are kept aside."""
        size, parts = batch_size or len(input_ids), []
        for start in range(0, len(input_ids), size):
            rows = slice(start, start + size)
            parts.append(self._micro_batch(model, input_ids[rows], attention_mask[rows], logits_to_keep, **more))
        logps, entropies, values = (None if x[0] is None else torch.cat(x) for x in zip(*parts, strict=True))
        if model is not self.ref_model:
            self._values.append(values)
            self._logps.append(logps.detach())
        return logps, entropies, None

    def _micro_batch(self, model: Any, ids: Tensor, mask: Tensor, width: int, **more: Any) -> tuple:
        """Log-probabilities, entropies and values (B, width): V_t stands at the hidden state that predicts token t."""
        shown = mask.any(0).nonzero()
        first, behind = int(shown[0]), ids.shape[1] - 1 - int(shown[-1])
        kept, inside = width - behind, slice(first, ids.shape[1] - behind)
        ids, mask = ids[:, inside], mask[:, inside]
        known = ids.shape[1] - kept - 1  # a prompt's last token predicts the answer's first
        read = model
        if known > 0 and self._shares_prompts:
            read = self._after_prompts(model, ids[:, :known], mask, known)
            ids, mask = ids[:, known:], mask[:, known:]
        values = None
        if self.head is None or model is self.ref_model:
            logps, entropies, _ = super()._get_per_token_logps_and_entropies(read, ids, mask, kept, **more)
        else:
            with self.head.recording() as recorded:
                logps, entropies, _ = super()._get_per_token_logps_and_entropies(read, ids, mask, kept, **more)
            values = recorded[0][:, -kept - 1 : -1]
        return tuple(None if x is None else pad(x, (0, behind)) for x in (logps, entropies, values))

    @property
    def _shares_prompts(self) -> bool:
        """Whether a prompt is read once for all its answers: not where activations are thrown away or weights are
        gathered for each forward."""
        whole = self.is_fsdp_enabled or self.is_deepspeed_enabled
        return not (whole or self.args.gradient_checkpointing or self.args.activation_checkpointing)

    def _after_prompts(self, model: Any, prompts: Tensor, mask: Tensor, known: int) -> Callable[..., Any]:
        """The model behind the prompts (B, known), of which equal ones are read once; gradients flow through both."""
        both, rows = torch.unique(torch.stack([prompts, mask[:, :known]], 1), dim=0, return_inverse=True)
        with self.accelerator.autocast():
            cache = model(both[:, 0], attention_mask=both[:, 1], use_cache=True, logits_to_keep=1).past_key_values
        cache.batch_select_indices(rows)

        def continued(**inputs: Any) -> Any:
            return model(**{**inputs, "attention_mask": mask}, past_key_values=cache)

        return continued

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """trl's, with a learning rate of its own for the value head."""
        optimizer = super().create_optimizer(model)
        if self.head is not None:
            head = {id(x) for x in self.head.parameters()}
            for group in optimizer.param_groups:
                group["params"] = [x for x in group["params"] if id(x) not in head]
            rate = self.p.ppo_lr if self.p.ppo_value_lr is None else self.p.ppo_value_lr
            optimizer.add_param_group({"params": list(self.head.parameters()), "lr": rate, "weight_decay": 0.0})
        return optimizer

    def _clip_grad_norm(self, model: Any) -> Any:
        """Policy and value head apart: large errors of the value must not shrink the policy's step."""
        if self.head is None or self.is_fsdp_enabled or self.is_deepspeed_enabled:
            return super()._clip_grad_norm(model)
        self.accelerator.clip_grad_norm_(list(self.head.parameters()), self.args.max_grad_norm)
        policy = [x for name, x in model.named_parameters() if not value_head.is_of_value_head(name)]
        return self.accelerator.clip_grad_norm_(policy, self.args.max_grad_norm)

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        """The model without its value head, and the head beside it."""
        if state_dict is None:
            state_dict = self.model.state_dict()
        super()._save(output_dir, dict(value_head.without_value_head(state_dict.items())))
        if self.head is not None and self.args.should_save:
            value_head.save(self.head, Path(output_dir or self.args.output_dir))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if self.head is not None:
            value_head.load(self.head, Path(resume_from_checkpoint))


def _without_attention_dropout(model: PreTrainedModel) -> None:
    """Set to 0 the rates that attention layers keep as numbers (GPTBigCode's is 0.1): trl's ``disable_dropout`` finds
    modules alone, and with dropout the policy that learns is not the one that answered."""
    for module in model.modules():
        for name in ("attn_dropout", "attention_dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
