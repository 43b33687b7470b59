"""Models behind OpenAI-compatible endpoints: vLLM serve, transformers serve, commercial services.

The openai client tries again what may pass, with growing waits or those that the server asks for; each try goes to the
next endpoint in turn, and at once to another if that one has trouble. Requests run on an event loop in a thread of its
own, because a Jupyter kernel's thread already has a running loop.

Servers differ: some answer fewer choices than asked (the rest is asked for), ignore a stop string (the text is cut
here) or draw nothing at random (a warning says so); not all give equal answers to equal seeds."""

import asyncio
import hashlib
import json
import os
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

import httpx2
import openai
from anyio.from_thread import start_blocking_portal

from ledexlib.models.interface import STOP, Completion
from ledexlib.models.prompts import Prompt
from ledexlib.records import Sampling
from ledexlib.sandbox import clean

REST = 5.0  # seconds in which others are preferred to an endpoint that had trouble


class EndpointError(RuntimeError):
    """A request that failed for good; the message names the endpoint, the model and the last error."""


class EndpointGenerator:
    """A model behind one or several OpenAI-compatible endpoints.

    ``endpoints`` are base URLs (ending in /v1); ``timeout`` is in seconds for a whole request; ``max_retries`` counts
    the tries after the first; ``log_path`` gets one JSON line a request. The key is the environment's OPENAI_API_KEY; a
    local server needs none. Raises EndpointError when a request has failed for good."""

    def __init__(
        self, model: str, endpoints: Sequence[str], requests_in_flight: int = 16, timeout: float = 120.0,
        max_retries: int = 5, log_path: Path | str | None = None, stop: Sequence[str] = STOP) -> None:
        if not endpoints:
            raise ValueError("endpoints: expected at least one base URL")
        self.name, self.endpoints, self.requests_in_flight = model, list(endpoints), requests_in_flight
        self.timeout, self.max_retries, self.stop = timeout, max_retries, tuple(stop)
        self._log_path = Path(log_path) if log_path is not None else None
        self._choices: int | None = None  # most choices that a server was seen to answer at once, if fewer than asked
        self._warned = False

    def generate(self, prompts: Sequence[Prompt], n: int, sampling: Sampling) -> list[list[Completion]]:
        """``n`` completions of each prompt, in order."""
        with start_blocking_portal() as portal:  # an interrupt cancels what is still under way
            answers = portal.call(self._generate, prompts, n, sampling)
        equal = all(len({completion.text for completion in answer}) == 1 for answer in answers)
        if answers and n >= 3 and sampling.temperature > 0 and equal and not self._warned:
            self._warned = True
            warnings.warn(
                f"{self.name}: all {n} samples of every prompt are equal at temperature {sampling.temperature}; does "
                "the server sample? (transformers serve does only if the checkpoint's generation config has do_sample)",
                stacklevel=2)
        return answers

    async def _generate(self, prompts: Sequence[Prompt], n: int, sampling: Sampling) -> list[list[Completion]]:
        balancer = _RoundRobin(self.endpoints, self.requests_in_flight, self.timeout)
        key = os.environ.get("OPENAI_API_KEY") or "none"
        async with openai.AsyncOpenAI(
            base_url="http://endpoint", api_key=key, max_retries=self.max_retries, timeout=None, http_client=balancer
        ) as self._client:
            tasks = [asyncio.create_task(self._answer(i, prompt, n, sampling)) for i, prompt in enumerate(prompts)]
            try:
                return await asyncio.gather(*tasks)
            finally:  # after a failure, give up what is still under way
                for task in tasks:
                    task.cancel()

    async def _answer(self, number: int, prompt: Prompt, n: int, sampling: Sampling) -> list[Completion]:
        """``n`` completions of one prompt, however many choices the server gives at a time."""
        got: list[Completion] = []
        used: set[int] = set()
        while len(got) < n:
            size = min(n - len(got), self._choices or n)
            requests = []
            for first in range(len(got), n, size):
                count = min(size, n - first)
                while first in used:  # a distinct seed for every request
                    first += n
                used.add(first)
                requests.append(self._request(prompt, count, _seed(sampling.seed, number, first), sampling))
            got += chain.from_iterable(await asyncio.gather(*requests))
        return got[:n]

    async def _request(self, prompt: Prompt, n: int, seed: int, sampling: Sampling) -> list[Completion]:
        """At most ``n`` completions from one request; raises EndpointError if all its tries fail."""
        options: dict[str, Any] = {
            "model": self.name, "temperature": sampling.temperature, "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens, "seed": seed, "n": n if n > 1 else openai.omit}
        started = time.monotonic()
        try:
            if isinstance(prompt, str):
                options |= {"prompt": prompt, "stop": list(self.stop) or openai.omit}
                response = await self._client.completions.with_raw_response.create(**options)
            else:
                response = await self._client.chat.completions.with_raw_response.create(messages=prompt, **options)
        except openai.APIError as error:
            endpoint = error.request.extensions["endpoint"]
            tries = 1 + int(error.request.headers["x-stainless-retry-count"])
            last = f"{endpoint}: {_describe(error, self.timeout)}"
            self._log(endpoint, {}, 0, tries, started, last)
            counted = f"{tries} {'try' if tries == 1 else 'tries'}"
            raise EndpointError(f"model {self.name}: no answer after {counted}; the last from {last}") from None
        endpoint, data = response.http_request.extensions["endpoint"], response.http_response.extensions["data"]
        completions = _read(data, self.stop if isinstance(prompt, str) else ())[:n]
        self._log(endpoint, data, len(completions), response.retries_taken + 1, started)
        if len(completions) < n:
            self._choices = min(len(completions), self._choices or n)
        return completions

    def _log(self, endpoint: str, data: Any, choices: int, tries: int, started: float, error: str = "") -> None:
        """Append a request with all its tries to the log."""
        if self._log_path is None:
            return
        row = {
            "endpoint": endpoint, "model": self.name, **_usage(data),
            "choices": choices, "tries": tries, "seconds": round(time.monotonic() - started, 3), "error": error or None}
        self._log_path.parent.mkdir(parents=True, exist_ok=True)
        with self._log_path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


class _RoundRobin(httpx2.AsyncClient):
    """Sends each request to the next endpoint in turn, or to others if that has trouble.

    What is sent to the URL /path goes to an endpoint's /path, at most ``in_flight`` requests at once, each for at most
    ``limit`` seconds. An answer without completions gets the status 502, which the openai client tries again."""

    def __init__(self, endpoints: Sequence[str], in_flight: int, limit: float) -> None:
        super().__init__(timeout=None, follow_redirects=True, limits=httpx2.Limits(max_connections=in_flight))
        self._rest_until = dict.fromkeys(endpoints, 0.0)  # on the clock of time.monotonic
        self._slots, self._limit, self._turn = asyncio.Semaphore(in_flight), limit, 0

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        """The first answer without trouble, else what came of the last endpoint."""
        now, rest, path = time.monotonic(), self._rest_until, request.url.path
        ready = [endpoint for endpoint in rest if rest[endpoint] <= now] or [min(rest, key=rest.get)]
        self._turn = (self._turn + 1) % len(ready)
        *others, last = ready[self._turn :] + ready[: self._turn]
        for endpoint in others:
            with suppress(httpx2.RequestError):
                if not _may_pass(response := await self._ask(endpoint, path, request, options)):
                    return response
        return await self._ask(last, path, request, options)

    async def _ask(self, endpoint: str, path: str, request: httpx2.Request, options: dict[str, Any]) -> httpx2.Response:
        """One endpoint's answer; raises httpx2.RequestError if there is none in time."""
        request.url = httpx2.URL(endpoint.rstrip("/") + path)
        request.headers["Host"] = request.url.netloc.decode()
        request.extensions["endpoint"] = endpoint
        response = None
        try:
            async with self._slots, asyncio.timeout(self._limit):
                response = await super().send(request, **options)
            if response.is_success:
                response.extensions["data"] = json.loads(response.text)
                _read(response.extensions["data"], ())
        except TimeoutError:
            raise httpx2.ReadTimeout("", request=request) from None
        except (ValueError, RecursionError) as error:
            response.status_code = 502
            response.extensions["malformed"] = f"{error} in the answer {response.text[:200]!r}"
        finally:
            if response is None or _may_pass(response):
                self._rest_until[endpoint] = time.monotonic() + REST
        return response


def _may_pass(response: httpx2.Response) -> bool:
    """Whether the same request may succeed later: after a time-out, too many requests or a fault of the server."""
    return response.status_code in (408, 429) or response.status_code >= 500


def _seed(*parts: int) -> int:
    """A seed of 31 bits, which every server takes."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4]) >> 1


def _read(data: Any, stop: Sequence[str]) -> list[Completion]:
    """The completions in an answer; raises ValueError if there is none.

    A server counts the tokens of all choices together; they are shared out by length of text."""
    texts: list[tuple[str, bool]] = []
    try:
        for choice in data["choices"]:
            text = choice["text"] if "text" in choice else choice["message"].get("content")
            if isinstance(text, list):  # parts, of which some are thoughts or calls
                text = "".join(part["text"] for part in text if part.get("type", "text") in ("text", "output_text"))
            finished = choice.get("finish_reason") != "length"
            if text is None and choice.get("finish_reason") in ("length", "content_filter"):
                text = ""  # all its tokens went into hidden reasoning, or the service withheld it
            if isinstance(text, str):
                ends = [text.find(string) for string in stop if string in text]
                texts.append((clean(text[: min(ends)]), True) if ends else (clean(text), finished))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{type(error).__name__} {error}") from None
    if not texts:
        raise ValueError("no text")
    tokens, length = _usage(data)["tokens_out"], sum(len(text) for text, _ in texts)
    shares = [len(text) / length if length else 1 / len(texts) for text, _ in texts]
    return [Completion(text, round(tokens * s), finished) for (text, finished), s in zip(texts, shares, strict=True)]


def _usage(data: Any) -> dict[str, int]:
    """Tokens in and out as the server counts them; 0 where it does not say."""
    usage = data.get("usage") if isinstance(data, dict) and isinstance(data.get("usage"), dict) else {}
    names = {"tokens_in": "prompt_tokens", "tokens_out": "completion_tokens"}
    return {ours: max(0, n) if type(n := usage.get(theirs)) is int else 0 for ours, theirs in names.items()}


def _describe(error: openai.APIError, timeout: float) -> str:
    if isinstance(error, openai.APITimeoutError):
        return f"no answer within {timeout:g} s"
    if isinstance(error, openai.APIStatusError):
        said = f"status {error.status_code}: {error.response.text.strip() or 'no message'}"
        return " ".join(error.response.extensions.get("malformed", said).split())[:500]
    return f"{error} ({error.__cause__})" if error.__cause__ else str(error)
