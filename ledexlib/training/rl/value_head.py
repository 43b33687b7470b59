"""The value head of PPO, one linear layer on the policy's last hidden states (paper section 3), and exact positions.

The head is a part of the model, filled by a hook while the policy's log-probabilities are computed: those come from a
fused forward that returns no hidden states, and a sharded model has its weights only during its own forward.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

NAME = "value_head"
FILE = "value_head.safetensors"


class ValueHead(nn.Module):
    """V = w·h + b in float32, zero at first; its gradient does not reach the policy.

    Its weights are bare parameters, no ``nn.Linear``: adapters for "all linear layers" must not adapt it.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(hidden_size))
        self.bias = nn.Parameter(torch.zeros(()))
        self._record: list[Tensor] | None = None

    def forward(self, hidden: Tensor) -> Tensor:
        """Values (B, L) of hidden states (B, L, d)."""
        return (hidden.detach().float() * self.weight).sum(-1) + self.bias

    @contextmanager
    def recording(self) -> Iterator[list[Tensor]]:
        """A list to which every forward of the model adds its values (B, L)."""
        self._record = []
        try:
            yield self._record
        finally:
            self._record = None

    def _hook(self, _module: nn.Module, _args: Any, output: Any) -> None:
        if self._record is not None:
            self._record.append(self(output.last_hidden_state))


def attach(model: PreTrainedModel) -> ValueHead:
    """Give a causal language model a value head, its submodule ``value_head``; do this before adapters are added."""
    head = ValueHead(model.config.get_text_config().hidden_size).to(model.device)
    model.add_module(NAME, head)
    model.base_model.register_forward_hook(head._hook)
    return head


def is_of_value_head(name: str) -> bool:
    """Whether a parameter of this name belongs to the value head."""
    return NAME in name.split(".")


def without_value_head(named: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Named parameters less the value head's: what an inference engine is sent, and what a saved model has."""
    return ((name, value) for name, value in named if not is_of_value_head(name))


def save(head: ValueHead, folder: Path) -> None:
    save_file({name: value.detach().cpu().contiguous() for name, value in head.state_dict().items()}, folder / FILE)


def load(head: ValueHead, folder: Path) -> None:
    """Restore a saved head, in place."""
    head.load_state_dict(load_file(folder / FILE))


def positions_from_mask(model: PreTrainedModel) -> None:
    """Let the model count positions from the first token that its attention mask shows.

    Without it, a left-padded prompt counts its padding: harmless for rotary positions, wrong for learned ones.
    """
    model.base_model.register_forward_pre_hook(_positions, with_kwargs=True)


def _positions(_module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    mask = kwargs.get("attention_mask")
    if kwargs.get("position_ids") is None and torch.is_tensor(mask) and mask.dim() == 2:
        ids = args[0] if args else kwargs.get("input_ids")
        shown = ids if ids is not None else kwargs["inputs_embeds"]
        kwargs["position_ids"] = (mask.long().cumsum(-1) - 1).clamp(min=0)[:, -shown.shape[1] :]
    return args, kwargs
