"""trl's GRPOTrainer with a value head on the policy, positions that are exact for every model, and little padding.

Log-probabilities come with the values of the same forward; the head has a learning rate and a gradient clip of its own,
and is saved beside the model. The overridden methods are private: see ``trainer``."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import PreTrainedModel
from trl import GRPOTrainer
from trl.trainer.utils import split_tensor_dict

from ledexlib.params import Params

NAME, FILE = "value_head", "value_head.safetensors"


class ValueHead(nn.Module):
    """V = w·h + b in float32 on the policy's last hidden states, zero at first; no gradient reaches the policy.

    A part of the model, filled by a hook while the policy's log-probabilities are computed: those come from a fused
    forward that returns no hidden states, and a sharded model has its weights only during its own forward. Its weights
    are bare parameters, no ``nn.Linear``: adapters for "all linear layers" must not adapt it."""

    def __init__(self, model: PreTrainedModel) -> None:
        """Become the submodule ``value_head`` of a causal language model, which has no adapters yet."""
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(model.config.get_text_config().hidden_size, device=model.device))
        self.bias = nn.Parameter(torch.zeros((), device=model.device))
        self.record: list[Tensor] | None = None  # if it is there, it takes the values (B, L) of every forward
        model.add_module(NAME, self)
        model.base_model.register_forward_hook(self._hook)

    def forward(self, hidden: Tensor) -> Tensor:
        """Values (B, L) of hidden states (B, L, d)."""
        return (hidden.detach().float() * self.weight).sum(-1) + self.bias

    def _hook(self, _module: nn.Module, _args: Any, output: Any) -> None:
        if self.record is not None:
            self.record.append(self(output.last_hidden_state))


def is_of_value_head(name: str) -> bool:
    """Whether a parameter of this name belongs to the value head."""
    return NAME in name.split(".")


def without_value_head(named: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Named parameters less the value head's: what an inference engine is sent, and what a saved model has."""
    return ((name, value) for name, value in named if not is_of_value_head(name))


def positions_from_mask(model: PreTrainedModel) -> None:
    """Let the model count positions from the first token that its attention mask shows.

    Without it, a left-padded prompt counts its padding: harmless for rotary positions, wrong for learned ones."""

    def hook(_module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        mask = kwargs.get("attention_mask")
        if kwargs.get("position_ids") is None and torch.is_tensor(mask) and mask.dim() == 2:
            ids = args[0] if args else kwargs.get("input_ids")
            shown = ids if ids is not None else kwargs["inputs_embeds"]
            kwargs["position_ids"] = (mask.long().cumsum(-1) - 1).clamp(min=0)[:, -shown.shape[1] :]
        return args, kwargs

    model.base_model.register_forward_pre_hook(hook, with_kwargs=True)


def grouped(lengths: Tensor, size: int, parts: int) -> Tensor:
    """An order of rows (B,) for so many steps of the optimizer: groups of ``size`` rows are dealt to the steps at
    random, and lie in each by the length of their longest row."""
    size = size if len(lengths) % (size * parts) == 0 else 1
    longest = lengths.view(-1, size).max(1).values
    dealt = torch.randperm(len(longest), device=lengths.device).view(parts, -1)
    by_length = torch.cat([groups[longest[groups].argsort()] for groups in dealt])
    return (by_length[:, None] * size + torch.arange(size, device=lengths.device)).flatten()


class ValueTrainer(GRPOTrainer):
    """Keeps the policy's ``_logps`` and, if there is a head (ppo), ``_values`` of each forward, (B, T), newest last."""

    def __init__(self, model: PreTrainedModel, p: Params, reward: Callable, *args: Any, **more: Any) -> None:
        self.p = p
        self.head = ValueHead(model) if p.ppo_algorithm == "ppo" else None
        self._values: list[Tensor | None] = []
        self._logps: list[Tensor] = []
        positions_from_mask(model)
        # trl's ``disable_dropout`` finds modules alone, not rates that attention keeps as numbers (0.1 of GPTBigCode);
        # with dropout the policy that learns is not the one that answered.
        for module in model.modules():
            for name in ("attn_dropout", "attention_dropout"):
                if isinstance(getattr(module, name, None), float):
                    setattr(module, name, 0.0)
        super().__init__(model, reward, *args, **more)
        if self.head is not None:
            self.head.requires_grad_(True)  # adapters freeze everything else
        if self.ref_model is not None:
            positions_from_mask(self.accelerator.unwrap_model(self.ref_model))
        if self.use_vllm:
            named = self.vllm_generation._iter_named_params
            self.vllm_generation._iter_named_params = lambda: without_value_head(named())

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
        """trl's, but a prompt's answers stay together, beside answers of their length: less is read and padded."""
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
        width, size = batch["completion_ids"].shape[1], self.args.per_device_train_batch_size
        return self._get_per_token_logps_and_entropies(self.model, ids, mask, width, batch_size=size)[0]

    def _get_per_token_logps_and_entropies(
        self, model: Any, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int,
        batch_size: int | None = None, **more: Any) -> tuple:
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
        # Not where activations are thrown away or weights are gathered for each forward
        alone = self.is_fsdp_enabled or self.is_deepspeed_enabled or self.args.activation_checkpointing
        if known > 0 and not (alone or self.args.gradient_checkpointing):
            read = self._after_prompts(model, ids[:, :known], mask, known)
            ids, mask = ids[:, known:], mask[:, known:]
        of_policy, values = self.head is not None and model is not self.ref_model, None
        if of_policy:
            self.head.record = []
        logps, entropies, _ = super()._get_per_token_logps_and_entropies(read, ids, mask, kept, **more)
        if of_policy:
            values, self.head.record = self.head.record[0][:, -kept - 1 : -1], None
        return tuple(None if x is None else pad(x, (0, behind)) for x in (logps, entropies, values))

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
        policy = [x for name, x in model.named_parameters() if not is_of_value_head(name)]
        return self.accelerator.clip_grad_norm_(policy, self.args.max_grad_norm)

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        """The model without its value head, and the head beside it."""
        state_dict = self.model.state_dict() if state_dict is None else state_dict
        super()._save(output_dir, dict(without_value_head(state_dict.items())))
        if self.head is not None and self.args.should_save:
            weights = {name: value.detach().cpu().contiguous() for name, value in self.head.state_dict().items()}
            save_file(weights, Path(output_dir or self.args.output_dir) / FILE)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if self.head is not None:
            self.head.load_state_dict(load_file(Path(resume_from_checkpoint) / FILE))
