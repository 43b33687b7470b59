"""Sampling from a model in this process, with transformers.

The loop is the project's own instead of ``model.generate``: a prompt is prefilled once for all its samples, rows that
have ended leave the batch, the KV cache is allocated once, and every sample has random numbers of its own: neither its
neighbours in the batch nor a checkpoint's generation config change it, and the global random state is untouched."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jinja2 import TemplateError
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from ledexlib.models.interface import STOP, Completion
from ledexlib.models.local.decoding import Decoding
from ledexlib.models.prompts import CHAT_TEMPLATE, Prompt
from ledexlib.records import Sampling

logging.disable_progress_bar()  # the bars of loading a checkpoint would fill a rendered notebook

PromptIds = list[list[int]]  # the tokens of each prompt
Row = tuple[int, tuple[int, ...]]  # one completion: the number of its prompt, its seed


class SampledTokens(NamedTuple):
    """A sampled answer's tokens, the end of the turn included if it came, and the log-probability of each."""
    ids: list[int]
    logps: list[float]
    finished: bool = True  # ended by itself, not by its length


class _StopStrings:
    """Strings that end a completion, looked for only when a token could be the last of one."""

    def __init__(self, tokenizer: Any, strings: Sequence[str]) -> None:
        self.strings, self._tokenizer = tuple(strings), tokenizer
        self._longest = max((len(string.encode()) for string in strings), default=0)  # in tokens of at least one byte
        pieces = tokenizer.batch_decode([[i] for i in range(len(tokenizer))]) if strings else []
        lasts = {string[-1] for string in strings} | {"\ufffd"}  # a piece of a character of several bytes
        self._last = {i for i, piece in enumerate(pieces) if not lasts.isdisjoint(piece)}

    def reached(self, ids: list[int]) -> bool:
        """Whether the newest token completed a stop string."""
        tail = self._tokenizer.decode(ids[-self._longest - 1 :]) if ids[-1] in self._last else ""
        return any(string in tail for string in self.strings)

    def cut(self, text: str) -> str:
        """The text before the first stop string."""
        return text[: min((text.find(string) for string in self.strings if string in text), default=len(text))]


class TransformersGenerator:
    """A causal language model of transformers, in this process.

    ``path`` is a checkpoint folder or a name on the hub. The model runs on a GPU where there is one (in bfloat16, or
    float16 where the GPU lacks it), else on the CPU in float32; ``device`` may be "auto" to spread it over several.
    ``stop`` ends the completions of text prompts; answers to conversations end with their turn. A batch holds at most
    ``max_batch_tokens`` tokens (rows times longest prompt and completion), which bounds the memory of its cache.
    ``loaded`` are a model and its tokenizer to use as they are, such as a policy in training."""

    def __init__(
        self, path: str | Path, device: str | None = None, dtype: str | None = None, stop: Sequence[str] = STOP,
        max_batch_tokens: int = 65_536, name: str | None = None, loaded: tuple[Any, Any] | None = None) -> None:
        gpu = torch.cuda.is_available()
        device = device or ("cuda" if gpu else "cpu")
        dtype = dtype or (("bfloat16" if torch.cuda.is_bf16_supported() else "float16") if gpu else "float32")
        self.name, self.max_batch_tokens = name or str(path), max_batch_tokens
        self.model, self.tokenizer = loaded or (
            AutoModelForCausalLM.from_pretrained(path, dtype=dtype, device_map=device).eval(),
            AutoTokenizer.from_pretrained(path))
        self.context = getattr(self.model.config, "max_position_embeddings", None)
        turn_ids, turn_strings = end_of_turn(self.tokenizer)
        # Of a checkpoint's generation config nothing but the end tokens is used.
        self._ends = {*end_tokens(self.model.generation_config), *end_tokens(self.tokenizer)}
        self._turn_ends = self._ends | turn_ids
        self._stop, self._turn_stop = _StopStrings(self.tokenizer, stop), _StopStrings(self.tokenizer, turn_strings)

    def generate(self, prompts: Sequence[Prompt], n: int, sampling: Sampling) -> list[list[Completion]]:
        """``n`` completions of each prompt; raises ValueError for a prompt that fills the model's context."""
        encoded = [self._encode(prompt) for prompt in prompts]
        for number, ids in enumerate(encoded):
            if self.context is not None and len(ids) >= self.context:
                raise ValueError(
                    f"prompt {number} has {len(ids)} tokens, but {self.name} reads at most {self.context}, "
                    "prompt and completion together: shorten the prompt or choose a model with a longer context")
        answers: list[list[Completion]] = [[] for _ in prompts]
        for chat in (False, True):  # text and conversations end differently
            kind = (i for i, prompt in enumerate(prompts) if isinstance(prompt, str) != chat)
            rows = [(i, (sampling.seed, i, sample)) for i in kind for sample in range(n)]
            ends, stop = self._end_of(chat)
            for (i, _), sampled in zip(rows, self._sample(encoded, rows, sampling, chat), strict=True):
                text = stop.cut(self._text(encoded[i], sampled.ids, ends))
                answers[i].append(Completion(text, len(sampled.ids), sampled.finished))
        return answers

    def sample_ids(
        self, prompts: Sequence[list[int]], seeds: Sequence[tuple[int, ...]], sampling: Sampling
    ) -> list[SampledTokens]:
        """One answer to each prompt of tokens, which ends with its turn.

        Every answer depends on its prompt and its seed alone, whatever else is in the batch (but for rounding)."""
        unique = sorted(map(list, {tuple(prompt) for prompt in prompts}))
        rows = [(bisect_left(unique, prompt), seed) for prompt, seed in zip(prompts, seeds, strict=True)]
        return self._sample(unique, rows, sampling, chat=True)

    def _end_of(self, chat: bool) -> tuple[set[int], _StopStrings]:
        return (self._turn_ends, self._turn_stop) if chat else (self._ends, self._stop)

    def _sample(self, prompts: PromptIds, rows: Sequence[Row], sampling: Sampling, chat: bool) -> list[SampledTokens]:
        """What is sampled for each row, in order."""
        found: dict[int, SampledTokens] = {}
        for batch in self._batches([len(prompts[prompt]) for prompt, _ in rows], sampling.max_tokens):
            sampled = self._decoded(prompts, [rows[row] for row in batch], sampling, chat)
            found.update(zip(batch, sampled, strict=True))
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

    def _decoded(self, prompts: PromptIds, rows: Sequence[Row], sampling: Sampling, chat: bool) -> list[SampledTokens]:
        """What is sampled for each row of one batch."""
        ends, stop = self._end_of(chat)
        context = self.context or 2**31
        unique = sorted({prompt for prompt, _ in rows})
        copies = [unique.index(prompt) for prompt, _ in rows]
        noise = np.array([np.random.default_rng(seed).random(sampling.max_tokens) for _, seed in rows])  # in [0, 1)
        budgets = [min(sampling.max_tokens, max(1, context - len(prompts[prompt]))) for prompt, _ in rows]
        ids: list[list[int]] = [[] for _ in rows]
        logps: list[list[float]] = [[] for _ in rows]
        finished, over = [False] * len(rows), [False] * len(rows)
        left = sorted(range(len(rows)), key=copies.__getitem__)  # those in the batch
        with torch.inference_mode():
            asked, steps = [prompts[prompt] for prompt in unique], max(budgets)
            decoding = Decoding(self.model, asked, [copies[row] for row in left], steps, context - 1)
            for step in range(steps):
                chosen, chances = _choose(decoding.logits, torch.from_numpy(noise[left, step]), sampling)
                for row, token, logp in zip(left, chosen.tolist(), chances.tolist(), strict=True):
                    if not over[row]:
                        ids[row].append(token)
                        logps[row].append(logp)
                        finished[row] = token in ends or stop.reached(ids[row])
                        over[row] = finished[row] or len(ids[row]) == budgets[row]
                places = [place for place, row in enumerate(left) if not over[row]]
                if not places:
                    break
                if len(places) <= 0.9 * len(left):  # removing rows copies the cache, so not for each one
                    decoding.keep(places)
                    chosen, left = chosen[places], [left[place] for place in places]
                decoding.advance(chosen)
        return list(map(SampledTokens, ids, logps, finished))

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
        before, text = self._decode(prompt[-4:]), self._decode(prompt[-4:] + ids)
        return text[len(before) :] if text.startswith(before) else self._decode(ids)

    def _decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def _chat_text(tokenizer: Any, messages: list[dict[str, str]], **options: Any) -> str:
    """The conversation in the model's template; where that has no system role, its text opens the first user turn."""
    template = None if tokenizer.chat_template else CHAT_TEMPLATE
    try:
        return tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False, **options)
    except TemplateError:
        if messages[0]["role"] != "system":
            raise
        opening = {**messages[1], "content": f"{messages[0]['content']}\n\n{messages[1]['content']}"}
        return _chat_text(tokenizer, [opening, *messages[2:]], **options)


def end_of_turn(tokenizer: Any) -> tuple[set[int], list[str]]:
    """What the chat template writes after an assistant's turn: a special token, or else a string."""
    messages = [{"role": "user", "content": "question"}, {"role": "assistant", "content": "answer"}]
    closing = _chat_text(tokenizer, messages).rpartition("answer")[2].strip()
    first = tokenizer(closing, add_special_tokens=False)["input_ids"][:1]
    special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}.intersection(first)
    return special, [closing] if closing and not special else []


def end_tokens(of: Any) -> list[int]:
    """The end tokens of a generation config or tokenizer."""
    ids = of.eos_token_id
    return [] if ids is None else [ids] if isinstance(ids, int) else list(ids)


def _choose(logits: torch.Tensor, noise: torch.Tensor, sampling: Sampling) -> tuple[torch.Tensor, torch.Tensor]:
    """One token for each row of logits (rows, vocabulary): the best at temperature 0, else by inverting the CDF.

    ``noise`` (rows), in [0, 1), says which; ``top_p`` keeps the smallest set of tokens with that probability. With the
    tokens come the logarithms of their probabilities, at temperature 0 and with ``top_p`` before the narrowing."""
    logps = torch.log_softmax(logits.double() / (sampling.temperature or 1.0), -1)
    if sampling.temperature == 0:
        chosen = logits.argmax(-1, keepdim=True)
    else:
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
