"""Decoding with a model in this process: a batch of rows that go on from their prompts, a token at a time.

Prompts are prefilled once, and rows with a common prefix share its KV cache: on a CPU most time goes to attention over
prompts, which the samples of a problem have in common, and of which few-shot prompts share the examples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any, NamedTuple

import torch
from transformers import AttentionInterface
from transformers.cache_utils import Cache, DynamicLayer

ATTENTION = "ledexlib-shared"
WORTH = 32  # tokens of a common prefix that are worth a prefill of their own


class Decoding:
    """Rows that go on from prompts. ``logits`` (rows, vocabulary) are those of the next token of each.

    ``copies`` says for each row which of the prompts it goes on from, those of one prompt together; ``room`` is how
    many tokens may come, ``last_position`` the model's last. To be used in inference mode.
    """

    def __init__(
        self, model: Any, prompts: Sequence[list[int]], copies: Sequence[int], room: int, last_position: int
    ) -> None:
        self._model, self._last_position = model, last_position
        sharing = worth_sharing(model)
        read = _prefill(model, prompts, sharing)
        self._cache, self._shared, own = read.cache, None, 0  # a row's own tokens start at `own`
        if sharing and len(copies) >= 2 * len(prompts):
            own = read.mask.shape[1]
            self._shared = SharedPrefixes(self._cache.layers, read.mask, copies)
        elif read.common:
            own = read.common
            self._shared = SharedPrefixes(self._cache.layers, read.mask[:1, :own], [0] * len(copies))
        rows = torch.tensor(copies, device=model.device)
        self._cache.layers = [_copied(layer, rows, own, room) for layer in self._cache.layers]
        self._mask, self._position, self.logits = read.mask[rows, own:], read.position[rows], read.logits[rows]

    def keep(self, places: Sequence[int]) -> None:
        """Go on with these rows alone, given by their places among the present ones."""
        kept = torch.tensor(places, device=self._model.device)
        self._cache.batch_select_indices(kept)
        self._mask, self._position, self.logits = self._mask[kept], self._position[kept], self.logits[kept]
        if self._shared:
            self._shared.keep(places)

    def advance(self, tokens: torch.Tensor) -> None:
        """Read the next token of each row."""
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(tokens), 1)], dim=-1)
        self._position = (self._position + 1).clamp(max=self._last_position)  # of a row that is over, awaiting removal
        with _attention(self._model, self._shared) as arguments:
            out = self._model(
                tokens[:, None], attention_mask=self._mask[:, None, None] if self._shared else self._mask,
                position_ids=self._position, past_key_values=self._cache, use_cache=True, **arguments,
            )  # fmt: skip
        self.logits = out.logits[:, -1]


class Prefilled(NamedTuple):
    """Prompts whose keys and values are in the cache."""

    cache: Cache
    mask: torch.Tensor  # (prompts, tokens), False where there is padding
    position: torch.Tensor  # (prompts, 1), of the last token
    logits: torch.Tensor  # (prompts, vocabulary), behind the last token
    common: int  # length of the shared prefix, before any padding; 0: it was prefilled with each prompt


def _prefill(model: Any, prompts: Sequence[list[int]], sharing: bool) -> Prefilled:
    """Prefill prompts; with ``sharing`` their common prefix once for all."""
    last = min(map(len, prompts)) - 1  # each prompt is left a token, whose logits are wanted
    common = next((n for n, tokens in enumerate(zip(*prompts, strict=False)) if n == last or len(set(tokens)) > 1), 0)
    if not sharing or len(prompts) == 1 or common < WORTH:
        common = 0
    cache = None
    if common:
        prefix = torch.tensor([prompts[0][:common]], device=model.device)
        cache = model(prefix, use_cache=True, logits_to_keep=1).past_key_values
        cache.batch_repeat_interleave(len(prompts))
    ids, mask = left_padded([prompt[common:] for prompt in prompts], model.device)
    mask = torch.cat([mask.new_ones(len(mask), common), mask], dim=-1)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)  # right for rotary and for learned absolute positions
    out = model(
        ids, attention_mask=mask, position_ids=positions[:, common:], past_key_values=cache, use_cache=True,
        logits_to_keep=1,
    )  # fmt: skip
    return Prefilled(out.past_key_values, mask.bool(), positions[:, -1:], out.logits[:, -1], common)


def left_padded(prompts: Sequence[list[int]], device: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask, both of shape (prompts, longest prompt)."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(p)) + p for p in prompts], device=device)
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=device)
    return ids, mask


def _copied(layer: Any, rows: torch.Tensor, own: int, room: int) -> Any:
    """A layer of the cache for these rows of it, from token ``own`` on, with room for more if it is an ordinary one."""
    if type(layer) is DynamicLayer:
        return PreallocatedLayer(layer.keys[:, :, own:][rows], layer.values[:, :, own:][rows], room)
    layer.batch_select_indices(rows)
    return layer


class PreallocatedLayer(DynamicLayer):
    """A layer's keys and values with room for the tokens to come; the stock layer copies all of them at each token."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, room: int) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self._length = keys.shape[-2]
        space = (0, 0, 0, room)  # behind the tokens, the last but one dimension
        self._room = [torch.nn.functional.pad(x, space) for x in (keys, values)]
        self._show()

    def _show(self) -> None:
        self.keys, self.values = (x[:, :, : self._length] for x in self._room)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        start, self._length = self._length, self._length + key_states.shape[-2]
        for x, new in zip(self._room, (key_states, value_states), strict=True):
            x[:, :, start : self._length] = new
        self._show()
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        self._room = [x[indices] for x in self._room]
        self._show()


class SharedPrefixes:
    """The KV cache of prefixes that rows share: for each layer the keys and values (kv heads, tokens, width) of each.

    ``masks[number]`` says which tokens of row ``number`` of the layers are the prefix; ``followed`` names for each row
    the prefix that it follows, rows with the same one together.
    """

    def __init__(self, layers: Sequence[DynamicLayer], masks: torch.Tensor, followed: Sequence[int]) -> None:
        length = masks.shape[1]
        self.layers = [
            [(layer.keys[row, :, :length][:, mask], layer.values[row, :, :length][:, mask])
             for row, mask in enumerate(masks)]
            for layer in layers
        ]  # fmt: skip
        self._followed = list(followed)
        self.keep(range(len(followed)))

    def keep(self, places: Sequence[int]) -> None:
        """Go on with these rows alone."""
        self._followed = [self._followed[place] for place in places]
        self.groups: list[tuple[int, slice]] = []  # each prefix with the rows that follow it
        for number, rows in groupby(range(len(places)), key=self._followed.__getitem__):
            first, *rest = rows
            self.groups.append((number, slice(first, first + 1 + len(rest))))


def worth_sharing(model: Any) -> bool:
    """Whether rows share the KV cache of a common prefix: on a CPU, with ordinary attention to all earlier tokens.

    A GPU reads copies faster than it starts a kernel for each prompt.
    """
    config = model.config
    windowed = getattr(config, "sliding_window", None) is not None or any(
        kind != "full_attention" for kind in getattr(config, "layer_types", None) or ()
    )
    ordinary = config._attn_implementation == "sdpa" and model._supports_attention_backend
    return model.device.type == "cpu" and ordinary and not windowed


@contextmanager
def _attention(model: Any, shared: SharedPrefixes | None) -> Iterator[dict[str, Any]]:
    """While it lasts, a model called with the yielded arguments also attends to the shared prefixes."""
    if shared is None:
        yield {}
        return
    before = model.config._attn_implementation
    model.config._attn_implementation = ATTENTION
    try:
        yield {"shared": shared}
    finally:
        model.config._attn_implementation = before


def attend(
    module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
    attention_mask: torch.Tensor, scaling: float | None = None, *, shared: SharedPrefixes, **_: Any,
) -> tuple[torch.Tensor, None]:  # fmt: skip
    """Attention of one new token in each row to its row and to the prefix that it follows.

    ``query`` has shape (rows, heads, 1, width), ``key`` and ``value`` (rows, kv heads, own tokens, width),
    ``attention_mask`` (rows, 1, 1, own tokens). A softmax over both parts is the mean of those over each, weighted by
    their sums of exponentials.
    """
    rows, heads, _, width = query.shape
    query = (query * (width**-0.5 if scaling is None else scaling)).view(rows, key.shape[1], -1, width)
    scores = (query @ key.mT).masked_fill(~attention_mask, -torch.inf)
    own, own_weight = _weigh(scores, value)
    found = []
    for number, place in shared.groups:
        keys, values = shared.layers[module.layer_idx][number]
        mine = query[place].transpose(0, 1)
        out, weight = _weigh(mine.flatten(1, 2) @ keys.mT, values)
        found.append((out.view(mine.shape).transpose(0, 1), weight.view(mine.shape[:-1]).transpose(0, 1)))
    common, weight = (torch.cat(parts) for parts in zip(*found, strict=True))
    out = torch.lerp(own, common, torch.sigmoid(weight - own_weight)[..., None])
    return out.reshape(rows, 1, heads, width), None


def _weigh(scores: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean of the values by the softmax of the scores, and the logarithm of its denominator."""
    total = scores.logsumexp(-1)
    return (scores - total[..., None]).exp() @ values, total


AttentionInterface.register(ATTENTION, attend)
