"""Sampling from a model in this process, with transformers.

The loop is short and the project's own instead of ``model.generate``: each prompt is read once for all its samples,
rows that have ended leave the batch, the cache is laid out once, and every sample has random numbers of its own, so
that neither its neighbours in the batch nor a checkpoint's generation config change it, and the global random state is
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

from ledexlib.models.local.decoding import Decoding
from ledexlib.models.interface import STOP, Completion
from ledexlib.models.prompts import CHAT_TEMPLATE, Prompt
from ledexlib.records import Sampling

logging.disable_progress_bar()  # the bars of loading a checkpoint would fill a rendered notebook

Row = tuple[int, int]  # one completion: number of its prompt, number of the sample


class Sampled(NamedTuple):
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
        # Text and conversations end differently; batches of similar length waste little padding.
        for chat in (False, True):
            kind = [i for i, prompt in enumerate(prompts) if isinstance(prompt, str) != chat]
            rows = [(i, sample) for i in sorted(kind, key=lambda i: len(encoded[i])) for sample in range(n)]
            for batch in self._batches(rows, encoded, sampling.max_tokens):
                for (i, _), completion in zip(batch, self._run(batch, encoded, sampling, chat), strict=True):
                    answers[i].append(completion)
        return answers

    def sample_ids(
        self, prompts: Sequence[list[int]], seeds: Sequence[tuple[int, ...]], sampling: Sampling
    ) -> list[Sampled]:
        """One answer to each prompt of tokens.

        Every answer depends on its prompt and its seed alone, whatever else is in the batch (but for rounding). Equal
        prompts are read once.
        """
        answers: dict[int, Sampled] = {}
        rows = [(number, 0) for number in sorted(range(len(prompts)), key=lambda n: len(prompts[n]))]
        for batch in self._batches(rows, list(prompts), sampling.max_tokens):
            numbers = [number for number, _ in batch]
            unique = sorted({tuple(prompts[number]) for number in numbers})
            places = {prompt: place for place, prompt in enumerate(unique)}
            noise = [np.random.default_rng(seeds[number]).random(sampling.max_tokens) for number in numbers]
            sampled, _ = self._sample(
                [list(prompt) for prompt in unique], [places[tuple(prompts[number])] for number in numbers],
                np.array(noise), [sampling.max_tokens] * len(numbers), sampling, self._turn_ends, self._turn_stop,
            )  # fmt: skip
            answers.update(zip(numbers, sampled, strict=True))
        return [answers[number] for number in range(len(prompts))]

    def _batches(self, rows: list[Row], encoded: list[list[int]], max_tokens: int) -> Iterator[list[Row]]:
        batch: list[Row] = []
        for row in rows:  # sorted: the newest row has the longest prompt
            if batch and (len(batch) + 1) * (len(encoded[row[0]]) + max_tokens) > self.max_batch_tokens:
                yield batch
                batch = []
            batch.append(row)
        if batch:
            yield batch

    def _run(
        self, rows: list[Row], encoded: list[list[int]], sampling: Sampling, chat: bool
    ) -> list[Completion]:
        """The completions of one batch."""
        unique = sorted({i for i, _ in rows})
        prompts = [encoded[i] for i in unique]
        copies = [unique.index(i) for i, _ in rows]
        noise = [np.random.default_rng((sampling.seed, *row)).random(sampling.max_tokens) for row in rows]
        room = [self.context - len(encoded[i]) if self.context else sampling.max_tokens for i, _ in rows]
        budgets = [min(sampling.max_tokens, space) for space in room]
        ends, stop = (self._turn_ends, self._turn_stop) if chat else (self._ends, self._stop)
        sampled, finished = self._sample(prompts, copies, np.array(noise), budgets, sampling, ends, stop)
        return [
            Completion(stop.cut(self._text(prompts[copy], ids, ends)), len(ids), done)
            for copy, (ids, _), done in zip(copies, sampled, finished, strict=True)
        ]

    def _sample(
        self, prompts: list[list[int]], copies: list[int], noise: np.ndarray, budgets: list[int], sampling: Sampling,
        ends: set[int], stop: _StopStrings,
    ) -> tuple[list[Sampled], list[bool]]:  # fmt: skip
        """What is sampled for each row, and whether it ended by itself.

        ``copies[row]`` is the row's prompt; ``noise[row, step]`` in [0, 1) chooses its token at that step.
        """
        steps, last_position = max(budgets), (self.context or 2**31) - 1
        sampled = [Sampled([], []) for _ in copies]
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
        return sampled, finished

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
