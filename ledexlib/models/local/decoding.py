"""Decoding with a model in this process: a batch of rows that go on from their prompts, a token at a time.

Prompts are prefilled once, and rows with a common prefix share its KV cache: on a CPU most time goes to attention over
prompts, which the samples of a problem have in common, and of which few-shot prompts share the examples."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
from transformers import AttentionInterface
from transformers.cache_utils import Cache, DynamicLayer

ATTENTION = "ledexlib-shared"
WORTH = 32  # tokens of a common prefix that are worth a prefill of their own


class Decoding:
    """Rows that go on from prompts. ``logits`` (rows, vocabulary) are those of the next token of each.

    ``copies`` says for each row which of the prompts it goes on from, those of one prompt together; ``room`` is how
    many tokens may come, ``last_position`` the model's last. To be used in inference mode."""

    def __init__(self, model: Any, prompts: Sequence[list[int]], copies: Sequence[int], room: int, last_position: int):
        self._model, self._last_position = model, last_position
        sharing = worth_sharing(model)
        self._cache, mask, position, logits, common = _prefill(model, prompts, sharing)
        self._shared, own = None, common  # a row's own tokens start at `own`
        if sharing and len(copies) >= 2 * len(prompts):
            own = mask.shape[1]
            self._shared = SharedPrefixes(self._cache.layers, mask, copies)
        elif common:
            self._shared = SharedPrefixes(self._cache.layers, mask[:1, :own], [0] * len(copies))
        rows = torch.tensor(copies, device=model.device)
        self._cache.layers = [_copied(layer, rows, own, room) for layer in self._cache.layers]
        self._mask, self._position, self.logits = mask[rows, own:], position[rows], logits[rows]

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
        options = {"position_ids": self._position, "past_key_values": self._cache, "use_cache": True}
        if self._shared is None:
            self.logits = self._model(tokens[:, None], attention_mask=self._mask, **options).logits[:, -1]
            return
        config, own_attention = self._model.config, self._model.config._attn_implementation
        config._attn_implementation = ATTENTION
        try:
            out = self._model(tokens[:, None], attention_mask=self._mask[:, None, None], shared=self._shared, **options)
        finally:
            config._attn_implementation = own_attention
        self.logits = out.logits[:, -1]


def _prefill(
    model: Any, prompts: Sequence[list[int]], sharing: bool
) -> tuple[Cache, torch.Tensor, torch.Tensor, torch.Tensor, int]:
    """Prefill prompts; with ``sharing`` their common prefix once for all.

    Gives the cache, a mask (prompts, tokens) that is False at padding, the position (prompts, 1) of the last token, the
    logits (prompts, vocabulary) behind it, and the length of the prefix that was prefilled once, before any padding."""
    last = min(map(len, prompts)) - 1  # each prompt is left a token, whose logits are wanted
    common = next((n for n, tokens in enumerate(zip(*prompts, strict=False)) if n == last or len(set(tokens)) > 1), 0)
    cache = None
    if sharing and len(prompts) > 1 and common >= WORTH:
        prefix = torch.tensor([prompts[0][:common]], device=model.device)
        cache = model(prefix, use_cache=True, logits_to_keep=1).past_key_values
        cache.batch_repeat_interleave(len(prompts))
    else:
        common = 0
    ids, mask = left_padded([prompt[common:] for prompt in prompts], model.device)
    mask = torch.cat([mask.new_ones(len(mask), common), mask], dim=-1)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)  # right for rotary and for learned absolute positions
    options = {"attention_mask": mask, "position_ids": positions[:, common:], "past_key_values": cache}
    out = model(ids, use_cache=True, logits_to_keep=1, **options)
    return out.past_key_values, mask.bool(), positions[:, -1:], out.logits[:, -1], common


def left_padded(prompts: Sequence[list[int]], device: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask, both of shape (prompts, longest prompt)."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(p)) + p for p in prompts], device=device)
    return ids, torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=device)


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

    def update(self, keys: torch.Tensor, values: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, torch.Tensor]:
        start, self._length = self._length, self._length + keys.shape[-2]
        for x, new in zip(self._room, (keys, values), strict=True):
            x[:, :, start : self._length] = new
        self._show()
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        self._room = [x[indices] for x in self._room]
        self._show()


class SharedPrefixes:
    """The KV cache of prefixes that rows share: for each layer the keys and values (kv heads, tokens, width) of each.

    ``masks[number]`` says which tokens of row ``number`` of the layers are the prefix; ``followed`` names for each row
    the prefix that it follows, rows with the same one together."""

    def __init__(self, layers: Sequence[DynamicLayer], masks: torch.Tensor, followed: Sequence[int]) -> None:
        parts = [[x[:, :, : masks.shape[1]] for x in (layer.keys, layer.values)] for layer in layers]
        self.layers = [[(k[row][:, mask], v[row][:, mask]) for row, mask in enumerate(masks)] for k, v in parts]
        self._followed = followed
        self.keep(range(len(followed)))

    def keep(self, places: Sequence[int]) -> None:
        """Go on with these rows alone."""
        self._followed = [self._followed[place] for place in places]
        grouped = groupby(range(len(places)), key=self._followed.__getitem__)
        runs = ((number, list(rows)) for number, rows in grouped)
        self.groups = [(number, slice(rows[0], rows[-1] + 1)) for number, rows in runs]  # a prefix, who follows it


def worth_sharing(model: Any) -> bool:
    """Whether rows share the KV cache of a common prefix: on a CPU, with ordinary attention to all earlier tokens.

    A GPU reads copies faster than it starts a kernel for each prompt."""
    config = model.config
    full = all(kind == "full_attention" for kind in getattr(config, "layer_types", None) or ())
    ordinary = config._attn_implementation == "sdpa" and model._supports_attention_backend
    return model.device.type == "cpu" and ordinary and full and getattr(config, "sliding_window", None) is None


def attend(
    module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
    attention_mask: torch.Tensor, scaling: float | None = None, *, shared: SharedPrefixes, **_: Any,
) -> tuple[torch.Tensor, None]:  # fmt: skip
    """Attention of one new token in each row to its row and to the prefix that it follows.

    ``query`` has shape (rows, heads, 1, width), ``key`` and ``value`` (rows, kv heads, own tokens, width),
    ``attention_mask`` (rows, 1, 1, own tokens). A softmax over both parts is the mean of those over each, weighted by
    their sums of exponentials."""
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
