"""Models behind OpenAI-compatible endpoints: vLLM serve, transformers serve, commercial services.

Requests go round robin to the endpoints, at most so many at once, and are tried again after an error that may pass.
They run on an event loop in a thread of their own, because a Jupyter kernel's thread already has a running loop.
Servers differ: some answer fewer choices than asked (then the rest is asked for), ignore a stop string (then the text
is cut here) or draw nothing at random (then a warning says so); equal seeds give equal answers only where the server
keeps that promise.
"""

from __future__ import annotations

import asyncio
import email.utils
import hashlib
import json
import os
import random
import threading
import time
import warnings
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import openai

from ledexlib.models.interface import STOP, Completion
from ledexlib.models.prompts import Prompt
from ledexlib.records import Sampling
from ledexlib.models.request_log import Request, RequestLog, Totals

LONGEST_WAIT = 300.0  # seconds before a try, whatever a server's Retry-After says
T = TypeVar("T")


class EndpointError(RuntimeError):
    """A request that failed for good; the message names the endpoint, the model and the last error."""


class MalformedAnswer(ValueError):
    """An answer with status 200 that holds no completion."""


@dataclass
class _Endpoint:
    url: str
    rest_until: float = 0.0  # on the clock of time.monotonic; others are preferred until then
    client: openai.AsyncOpenAI | None = None


class EndpointGenerator:
    """A model behind one or several OpenAI-compatible endpoints.

    ``endpoints`` are base URLs (ending in /v1); ``timeout`` is in seconds for a whole request; ``attempts`` counts the
    tries of one request; ``prices`` are of a million tokens in and out; ``log_path`` gets one JSON line a request. The
    key is the environment's OPENAI_API_KEY; a local server needs none. Raises EndpointError when a request has failed
    for good.
    """

    def __init__(
        self, model: str, endpoints: Sequence[str], requests_in_flight: int = 16, timeout: float = 120.0,
        attempts: int = 6, prices: tuple[float, float] = (0.0, 0.0), log_path: Path | str | None = None,
        stop: Sequence[str] = STOP, backoff: float = 1.0,
    ) -> None:  # fmt: skip
        if not endpoints:
            raise ValueError("endpoints: expected at least one base URL")
        self.name = model
        self.requests_in_flight, self.timeout, self.attempts = requests_in_flight, timeout, attempts
        self.prices, self.stop, self.backoff = prices, tuple(stop), backoff
        self._log = RequestLog(Path(log_path) if log_path is not None else None)
        self._endpoints = [_Endpoint(url) for url in endpoints]
        self._turn = 0
        self._choices: int | None = None  # most choices that a server was seen to answer at once, if fewer than asked
        self._jitter = random.Random()
        self._warned = False

    @property
    def totals(self) -> Totals:
        """Requests, tokens and cost so far, those of earlier runs in the same log included."""
        return self._log.totals

    def generate(self, prompts: Sequence[Prompt], n: int, sampling: Sampling) -> list[list[Completion]]:
        """``n`` completions of each prompt, in order."""
        answers = _run(self._generate(prompts, n, sampling))
        if n >= 3 and sampling.temperature > 0 and not self._warned:
            texts = [{completion.text for completion in answer} for answer in answers]
            if texts and all(len(distinct) == 1 for distinct in texts):
                self._warned = True
                warnings.warn(
                    f"{self.name}: all {n} samples of every prompt are equal at temperature {sampling.temperature}; "
                    "does the server sample? (transformers serve does only if the checkpoint's generation config has "
                    "do_sample)",
                    stacklevel=2,
                )
        return answers

    async def _generate(self, prompts: Sequence[Prompt], n: int, sampling: Sampling) -> list[list[Completion]]:
        self._slots = asyncio.Semaphore(self.requests_in_flight)
        key = os.environ.get("OPENAI_API_KEY") or "none"
        for endpoint in self._endpoints:
            endpoint.client = openai.AsyncOpenAI(
                base_url=endpoint.url, api_key=key, max_retries=0, timeout=self.timeout
            )
        failed: Exception | None = None
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._answer(i, prompt, n, sampling)) for i, prompt in enumerate(prompts)]
        except ExceptionGroup as failures:
            failed = failures
            while isinstance(failed, ExceptionGroup):  # the first; the groups have cancelled the others
                failed = failed.exceptions[0]
        finally:
            for endpoint in self._endpoints:
                await endpoint.client.close()
        if failed is not None:
            raise failed  # out here, where no group is its context: IPython shows no error that has one
        return [task.result() for task in tasks]

    async def _answer(self, number: int, prompt: Prompt, n: int, sampling: Sampling) -> list[Completion]:
        """``n`` completions of one prompt, however many choices the server gives at a time."""
        got: list[Completion] = []
        used: set[int] = set()
        while len(got) < n:
            size = min(n - len(got), self._choices or n)
            async with asyncio.TaskGroup() as group:
                tasks = []
                for first in range(len(got), n, size):
                    count = min(size, n - first)
                    while first in used:  # a distinct seed for every request
                        first += n
                    used.add(first)
                    request = self._request(prompt, count, _seed(sampling.seed, number, first), sampling)
                    tasks.append(group.create_task(request))
            for task in tasks:
                got += task.result()
        return got[:n]

    async def _request(self, prompt: Prompt, n: int, seed: int, sampling: Sampling) -> list[Completion]:
        """At most ``n`` completions from one request, tried again until it is answered or its attempts are used up."""
        started, last, endpoint = time.monotonic(), "", None
        for tries in range(1, self.attempts + 1):
            async with self._slots:
                endpoint = self._next_endpoint(failed=endpoint)
                try:
                    data = await self._post(endpoint, prompt, n, seed, sampling)
                    completions = _read(data, self.stop if isinstance(prompt, str) else ())[:n]
                except (openai.APIError, TimeoutError, MalformedAnswer) as error:
                    last = f"{endpoint.url}: {_describe(error, self.timeout)}"
                    fatal, wait = not _may_pass(error), self._wait(error, tries)
                else:
                    self._record(endpoint, data, len(completions), tries, started, None)
                    if len(completions) < n:
                        self._choices = min(len(completions), self._choices or n)
                    return completions
            if fatal or tries == self.attempts:
                break
            endpoint.rest_until = time.monotonic() + wait
            if all(other.rest_until > time.monotonic() for other in self._endpoints):
                await asyncio.sleep(wait)
        self._record(endpoint, {}, 0, tries, started, last)
        plural = "try" if tries == 1 else "tries"
        raise EndpointError(f"model {self.name}: no answer after {tries} {plural}; the last from {last}")

    async def _post(self, endpoint: _Endpoint, prompt: Prompt, n: int, seed: int, sampling: Sampling) -> Any:
        """The server's answer as JSON; raises MalformedAnswer if it is none."""
        options: dict[str, Any] = {
            "model": self.name, "temperature": sampling.temperature, "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens, "seed": seed,
        }  # fmt: skip
        if n > 1:
            options["n"] = n
        async with asyncio.timeout(self.timeout):  # the client's own limit is on each read, not on the whole
            if isinstance(prompt, str):
                create = endpoint.client.completions.with_raw_response.create
                response = await create(prompt=prompt, stop=list(self.stop) or openai.omit, **options)
            else:
                create = endpoint.client.chat.completions.with_raw_response.create
                response = await create(messages=prompt, **options)
        try:
            return json.loads(response.text)
        except ValueError:
            raise MalformedAnswer(f"the answer is not JSON: {response.text[:200]!r}") from None

    def _next_endpoint(self, failed: _Endpoint | None) -> _Endpoint:
        """The next in turn, not the one that failed last if there is another, nor one that had trouble lately."""
        now = time.monotonic()
        others = [endpoint for endpoint in self._endpoints if endpoint is not failed] or self._endpoints
        rested = [endpoint for endpoint in others if endpoint.rest_until <= now] or others
        self._turn += 1
        return rested[self._turn % len(rested)]

    def _wait(self, error: Exception, tries: int) -> float:
        """Seconds before the next try: what the server asked for, or doubling from ``backoff``; jittered."""
        asked = _retry_after(error)
        if asked is not None:
            return min(asked + self._jitter.uniform(0, self.backoff), LONGEST_WAIT)
        return min(self.backoff * 2 ** (tries - 1), 60.0) * self._jitter.uniform(0.5, 1.0)

    def _record(
        self, endpoint: _Endpoint, data: Any, choices: int, tries: int, started: float, error: str | None
    ) -> None:
        tokens_in, tokens_out = _usage(data)
        cost = (tokens_in * self.prices[0] + tokens_out * self.prices[1]) / 1e6
        seconds = round(time.monotonic() - started, 3)
        self._log.append(
            Request(endpoint.url, self.name, tokens_in, tokens_out, cost, choices, tries, seconds, error)
        )


def _run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a loop of its own in a thread; an interrupt cancels what is still under way."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result()
    finally:
        asyncio.run_coroutine_threadsafe(_cancel_others(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _seed(*parts: int) -> int:
    """A seed of 31 bits, which every server takes."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4]) >> 1


def _read(data: Any, stop: Sequence[str]) -> list[Completion]:
    """The completions in an answer; raises MalformedAnswer if there is none.

    A server counts the tokens of all choices together; they are shared out by length of text.
    """
    texts: list[tuple[str, bool]] = []
    try:
        for choice in data["choices"]:
            text = choice["text"] if "text" in choice else choice["message"].get("content")
            finished = choice.get("finish_reason") != "length"
            if text is None and choice.get("finish_reason") in ("length", "content_filter"):
                text = ""  # all its tokens went into hidden reasoning, or the service withheld it
            if isinstance(text, str):
                ends = [text.find(string) for string in stop if string in text]
                texts.append((text[: min(ends)], True) if ends else (text, finished))
    except (KeyError, TypeError, AttributeError) as error:
        raise MalformedAnswer(f"{type(error).__name__} {error} in the answer {json.dumps(data)[:200]}") from None
    if not texts:
        raise MalformedAnswer(f"no text in the answer {json.dumps(data)[:200]}")
    tokens, length = _usage(data)[1], sum(len(text) for text, _ in texts)
    return [
        Completion(text, round(tokens * (len(text) / length if length else 1 / len(texts))), finished)
        for text, finished in texts
    ]


def _usage(data: Any) -> tuple[int, int]:
    """Tokens in and out as the server counts them; 0 where it does not say."""
    usage = data.get("usage") if isinstance(data, dict) else None
    usage = usage if isinstance(usage, dict) else {}
    return int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)


def _may_pass(error: Exception) -> bool:
    """Whether the same request may succeed later: not after a 4xx other than 408 (time-out) and 429 (too many)."""
    return not isinstance(error, openai.APIStatusError) or error.status_code in (408, 429) or error.status_code >= 500


def _retry_after(error: Exception) -> float | None:
    """Seconds that the server asked to wait, given in seconds or as a date; None if it did not."""
    if not isinstance(error, openai.APIStatusError):
        return None
    value = error.response.headers.get("retry-after")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _describe(error: Exception, timeout: float) -> str:
    if isinstance(error, (TimeoutError, openai.APITimeoutError)):
        return f"no answer within {timeout:g} s"
    if isinstance(error, openai.APIStatusError):
        return f"status {error.status_code}: {' '.join(error.response.text.split())[:500] or 'no message'}"
    cause = error.__cause__
    return f"{error}{f' ({cause})' if cause is not None else ''}"
