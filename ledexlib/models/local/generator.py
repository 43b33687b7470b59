"""Sampling from a model in this process, with transformers.

The loop is the project's own instead of ``model.generate``: a prompt is prefilled once for all its samples, rows that
have ended leave the batch, the KV cache is allocated once, and every sample has random numbers of its own, so that
neither its neighbours in the batch nor a checkpoint's generation config change it, and the global random state is
untouched.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from ledexlib.models.interface import STOP, Completion
from ledexlib.models.local.decoding import Decoding
from ledexlib.models.prompts import CHAT_TEMPLATE, Prompt
from ledexlib.records import Sampling

logging.disable_progress_bar()  # the bars of loading a checkpoint would fill a rendered notebook

Row = tuple[int, tuple[int, ...]]  # one completion: the number of its prompt, its seed


class SampledTokens(NamedTuple):
    """A sampled answer's tokens, the end of the turn included if it came, and the log-probability of each."""

    ids: list[int]
    logps: list[float]


class TransformersGenerator:
    """A causal language model of transformers, in this process.

    ``path`` is a checkpoint folder or a name on the hub. The model runs on a GPU where there is one (in bfloat16, or
    float16 where the GPU lacks it), else on the CPU in float32; ``device`` may be "auto" to spread it over several.
    ``stop`` ends the completions of text prompts; answers to conversations end with their turn. A batch holds at most
    ``max_batch_tokens`` tokens (rows times longest prompt and completion), which bounds the memory of its cache.
    ``loaded`` are a model and its tokenizer to use as they are, such as a policy in training.
    """

    def __init__(
        self, path: str | Path, device: str | None = None, dtype: str | None = None, stop: Sequence[str] = STOP,
        max_batch_tokens: int = 65_536, name: str | None = None, loaded: tuple[Any, Any] | None = None,
    ) -> None:  # fmt: skip
        gpu = torch.cuda.is_available()
        device = device or ("cuda" if gpu else "cpu")
        dtype = dtype or (("bfloat16" if torch.cuda.is_bf16_supported() else "float16") if gpu else "float32")
        self.name = name or str(path)
        if loaded:
            self.model, self.tokenizer = loaded
        else:
            self.tokenizer = AutoTokenizer.from_pretrained(path)
            self.model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype, device_map=device).eval()
        self.max_batch_tokens = max_batch_tokens
        self.context = getattr(self.model.config, "max_position_embeddings", None)
        self._ends = _end_ids(self.model.generation_config, self.tokenizer)
        turn_ids, turn_strings = end_of_turn(self.tokenizer)
        self._turn_ends = self._ends | turn_ids
        self._stop = _StopStrings(self.tokenizer, stop)
        self._turn_stop = _StopStrings(self.tokenizer, turn_strings)

    def generate(self, prompts: Sequence[Prompt], n: int, sampling: Sampling) -> list[list[Completion]]:
        """``n`` completions of each prompt; raises ValueError for a prompt that fills the model's context."""
        encoded = [self._encode(prompt) for prompt in prompts]
        for number, ids in enumerate(encoded):
            if self.context is not None and len(ids) >= self.context:
                raise ValueError(
                    f"prompt {number} has {len(ids)} tokens, but {self.name} reads at most {self.context}, "
                    "prompt and completion together: shorten the prompt or choose a model with a longer context"
                )
        answers: list[list[Completion]] = [[] for _ in prompts]
        for chat in (False, True):  # text and conversations end differently
            kind = (i for i, prompt in enumerate(prompts) if isinstance(prompt, str) != chat)
            rows = [(i, (sampling.seed, i, sample)) for i in kind for sample in range(n)]
            ends, stop = self._end_of(chat)
            for (i, _), (tokens, finished) in zip(rows, self._sample(encoded, rows, sampling, chat), strict=True):
                text = stop.cut(self._text(encoded[i], tokens.ids, ends))
                answers[i].append(Completion(text, len(tokens.ids), finished))
        return answers

    def sample_ids(
        self, prompts: Sequence[list[int]], seeds: Sequence[tuple[int, ...]], sampling: Sampling
    ) -> list[SampledTokens]:
        """One answer to each prompt of tokens, which ends with its turn.

        Every answer depends on its prompt and its seed alone, whatever else is in the batch (but for rounding). Equal
        prompts are prefilled once.
        """
        unique = sorted({tuple(prompt) for prompt in prompts})
        places = {prompt: place for place, prompt in enumerate(unique)}
        rows = [(places[tuple(prompt)], seed) for prompt, seed in zip(prompts, seeds, strict=True)]
        return [tokens for tokens, _ in self._sample([list(prompt) for prompt in unique], rows, sampling, chat=True)]

    def _end_of(self, chat: bool) -> tuple[set[int], _StopStrings]:
        """What ends an answer: tokens and strings."""
        return (self._turn_ends, self._turn_stop) if chat else (self._ends, self._stop)

    def _sample(
        self, prompts: list[list[int]], rows: Sequence[Row], sampling: Sampling, chat: bool
    ) -> list[tuple[SampledTokens, bool]]:
        """What is sampled for each row, in order, and whether it ended by itself."""
        found: dict[int, tuple[SampledTokens, bool]] = {}
        lengths = [len(prompts[prompt]) for prompt, _ in rows]
        for batch in self._batches(lengths, sampling.max_tokens):
            unique = sorted({rows[row][0] for row in batch})
            copies = [unique.index(rows[row][0]) for row in batch]
            noise = np.array([np.random.default_rng(rows[row][1]).random(sampling.max_tokens) for row in batch])
            space = [max(1, self.context - lengths[row]) if self.context else sampling.max_tokens for row in batch]
            budgets = [min(sampling.max_tokens, tokens) for tokens in space]
            asked = [prompts[prompt] for prompt in unique]
            found.update(zip(batch, self._decode_batch(asked, copies, noise, budgets, sampling, chat), strict=True))
        return [found[row] for row in range(len(rows))]

    def _batches(self, lengths: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
        """The numbers of rows of like length, which waste little padding, as many as the cache may hold."""
        batch: list[int] = []
        for row in sorted(range(len(lengths)), key=lengths.__getitem__):  # the newest row has the longest prompt
            if batch and (len(batch) + 1) * (lengths[row] + max_tokens) > self.max_batch_tokens:
                yield batch
                batch = []
            batch.append(row)
        if batch:
            yield batch

    def _decode_batch(
        self, prompts: list[list[int]], copies: list[int], noise: np.ndarray, budgets: list[int], sampling: Sampling,
        chat: bool,
    ) -> list[tuple[SampledTokens, bool]]:  # fmt: skip
        """Sample one batch: ``copies[row]`` is the row's prompt, ``noise[row, step]`` in [0, 1) chooses its tokens."""
        ends, stop = self._end_of(chat)
        steps, last_position = max(budgets), (self.context or 2**31) - 1
        sampled = [SampledTokens([], []) for _ in copies]
        finished, over = [False] * len(copies), [False] * len(copies)
        rows = sorted(range(len(copies)), key=lambda row: copies[row])  # those in the batch
        with torch.inference_mode():
            decoding = Decoding(self.model, prompts, [copies[row] for row in rows], steps, last_position)
            for step in range(steps):
                chosen, logps = _choose(decoding.logits, torch.from_numpy(noise[rows, step]), sampling)
                for row, token, logp in zip(rows, chosen.tolist(), logps.tolist(), strict=True):
                    if not over[row]:
                        ids = sampled[row].ids
                        ids.append(token)
                        sampled[row].logps.append(logp)
                        finished[row] = token in ends or stop.reached(ids)
                        over[row] = finished[row] or len(ids) == budgets[row]
                places = [place for place, row in enumerate(rows) if not over[row]]
                if not places:
                    break
                if len(places) <= 0.9 * len(rows):  # removing rows copies the cache, so not for each one
                    decoding.keep(places)
                    chosen, rows = chosen[places], [rows[place] for place in places]
                decoding.advance(chosen)
        return list(zip(sampled, finished, strict=True))

    # Text to tokens and back

    def _encode(self, prompt: Prompt) -> list[int]:
        if isinstance(prompt, str):
            ids = self.tokenizer(prompt)["input_ids"]
        else:  # a model's own template writes its special tokens
            text = _chat_text(self.tokenizer, prompt, add_generation_prompt=True)
            ids = self.tokenizer(text, add_special_tokens=self.tokenizer.chat_template is None)["input_ids"]
        if not ids:
            raise ValueError("a prompt is empty: there is nothing to continue")
        return ids

    def _text(self, prompt: list[int], ids: list[int], ends: set[int]) -> str:
        """The text of sampled tokens, decoded behind the prompt's last ones: alone, some lose their first space."""
        if ids and ids[-1] in ends:
            ids = ids[:-1]
        before = self._decode(prompt[-4:])
        text = self._decode(prompt[-4:] + ids)
        return text[len(before) :] if text.startswith(before) else self._decode(ids)

    def _decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


class _StopStrings:
    """Strings that end a completion, looked for only when a token could be the last of one."""

    def __init__(self, tokenizer: Any, strings: Sequence[str]) -> None:
        self.strings = tuple(strings)
        self._tokenizer = tokenizer
        self._longest = max((len(string.encode()) for string in strings), default=0)  # in tokens of at least one byte
        pieces = tokenizer.batch_decode([[i] for i in range(len(tokenizer))]) if strings else []
        lasts = {string[-1] for string in strings} | {"\ufffd"}  # a piece of a character of several bytes
        self._last = {i for i, piece in enumerate(pieces) if not lasts.isdisjoint(piece)}

    def reached(self, ids: list[int]) -> bool:
        """Whether the newest token completed a stop string."""
        if ids[-1] not in self._last:
            return False
        tail = self._tokenizer.decode(ids[-self._longest - 1 :])
        return any(string in tail for string in self.strings)

    def cut(self, text: str) -> str:
        """The text before the first stop string."""
        return text[: min((text.find(string) for string in self.strings if string in text), default=len(text))]


def _chat_text(tokenizer: Any, messages: list[dict[str, str]], **options: Any) -> str:
    template = tokenizer.chat_template or CHAT_TEMPLATE
    return tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False, **options)


def end_of_turn(tokenizer: Any) -> tuple[set[int], list[str]]:
    """What the chat template writes after an assistant's turn: a special token, or else a string."""
    content = "answer"
    messages = [{"role": "user", "content": "question"}, {"role": "assistant", "content": content}]
    closing = _chat_text(tokenizer, messages).rpartition(content)[2].strip()
    if not closing:
        return set(), []
    first = tokenizer(closing, add_special_tokens=False)["input_ids"][0]
    if first in tokenizer.all_special_ids or first in tokenizer.added_tokens_decoder:
        return {first}, []
    return set(), [closing]


def _end_ids(config: Any, tokenizer: Any) -> set[int]:
    """The end tokens that the checkpoint names; of its generation config nothing else is used."""
    ids = config.eos_token_id
    ids = [] if ids is None else [ids] if isinstance(ids, int) else list(ids)
    return {i for i in [*ids, tokenizer.eos_token_id] if i is not None}


def _choose(logits: torch.Tensor, noise: torch.Tensor, sampling: Sampling) -> tuple[torch.Tensor, torch.Tensor]:
    """One token for each row of logits (rows, vocabulary): the best at temperature 0, else by inverting the CDF.

    ``noise`` (rows), in [0, 1), says which; ``top_p`` keeps the smallest set of tokens with that probability. With the
    tokens come the logarithms of their probabilities, at temperature 0 and with ``top_p`` those before the choice was
    narrowed.
    """
    logps = torch.log_softmax(logits.double() / (sampling.temperature or 1.0), -1)
    if sampling.temperature == 0:
        chosen = logits.argmax(-1, keepdim=True)
        return chosen.squeeze(-1), logps.gather(-1, chosen).squeeze(-1)
    probabilities, order = logps.exp(), None
    if sampling.top_p < 1:
        probabilities, order = probabilities.sort(dim=-1, descending=True, stable=True)
        before = probabilities.cumsum(-1) - probabilities
        probabilities = probabilities.masked_fill(before >= sampling.top_p, 0)
    cumulative = probabilities.cumsum(-1)
    target = noise.to(logits.device)[:, None] * cumulative[:, -1:]
    chosen = torch.searchsorted(cumulative, target, right=True).clamp(max=logits.shape[-1] - 1)
    chosen = chosen if order is None else order.gather(-1, chosen)
    return chosen.squeeze(-1), logps.gather(-1, chosen).squeeze(-1)
