"""The on-disk cache of a model's completions: a prompt's samples are drawn once, whoever asks for them.

Samples are drawn and saved in batches. Batches and their seeds follow from what is asked for, by whom and from the
parameters, never from where an earlier process was killed: a resumed run ends with the samples of an undisturbed one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from ledexlib.models import Generator, Prompt
from ledexlib.records import Record, Sampling, content_id
from ledexlib.runs import JsonLines, NewProgress

# Makes batches of the prompts' names, given the prompts in the order in which they were asked, and how many samples of
# each are wanted.
Batching = Callable[[Mapping[str, Prompt], Mapping[str, int]], Iterator[list[str]]]


def in_order(prompts_per_batch: int) -> Batching:
    """Collection's batches: so many prompts, in their order."""

    def batches(prompts: Mapping[str, Prompt], counts: Mapping[str, int]) -> Iterator[list[str]]:
        names = list(prompts)
        for start in range(0, len(names), prompts_per_batch):
            yield names[start : start + prompts_per_batch]

    return batches


def longest_first(answers_per_batch: int) -> Batching:
    """Evaluation's batches: about so many answers with little padding, each prompt's in one batch.

    Prompts wanted equally often come together, of these the longest first.
    """

    def batches(prompts: Mapping[str, Prompt], counts: Mapping[str, int]) -> Iterator[list[str]]:
        batch: list[str] = []
        for name in sorted(prompts, key=lambda name: (-counts[name], -_length(prompts[name]))):
            # Most wanted first: the first of a batch says how many samples of each are drawn.
            if batch and (len(batch) + 1) * counts[batch[0]] > answers_per_batch:
                yield batch
                batch = []
            batch.append(name)
        if batch:
            yield batch

    return batches


def _length(prompt: Prompt) -> int:
    """Characters of a prompt."""
    return len(prompt) if isinstance(prompt, str) else sum(len(message["content"]) for message in prompt)


class CachedCompletion(Record):
    """A sample of a prompt; ``asked_by`` names the step for which it was drawn, ``seed`` is its batch's."""

    id: str  # the prompt's id, a slash and the number of the sample, from 0
    asked_by: str
    text: str
    tokens: int
    finished: bool
    seed: int


class CompletionCache:
    """The completions of the model ``name``, sampled with ``sampling``, in the JSON-lines file ``path``.

    ``load`` is called only if a sample has to be drawn; batches' seeds are derived from ``seed``. One process at a time
    may use the file.
    """

    def __init__(
        self, path: Path, name: str, load: Callable[[], Generator], sampling: Sampling, seed: int | Sampling,
        batching: Batching, progress: NewProgress,
    ) -> None:  # fmt: skip
        self.name, self.sampling = name, sampling
        self._load, self._seed, self._batching, self._progress = load, seed, batching, progress
        self._generator: Generator | None = None
        self._lines = JsonLines(path, CachedCompletion)
        self._lines.append(())  # cuts off what a kill tore
        self._drawn = {sample.id: sample for sample in self._lines}

    def __call__(self, prompts: Sequence[Prompt], n: int, asked_by: str) -> list[CachedCompletion]:
        """``n`` completions of each prompt, one prompt's after the other's; one that comes k times gets k × ``n``.

        The step ``asked_by`` is part of what seeds the samples that it is the first to ask for.
        """
        names = [content_id("prompt", prompt) for prompt in prompts]
        counts = {name: n * times for name, times in Counter(names).items()}
        wanted = {f"{name}/{k}": name for name, count in counts.items() for k in range(count)}
        mine = {
            name for sample, name in wanted.items()
            if sample not in self._drawn or self._drawn[sample].asked_by == asked_by
        }  # fmt: skip
        asked = {name: prompt for name, prompt in zip(names, prompts, strict=True) if name in mine}
        known = sum(sample in self._drawn for sample in wanted)
        with self._progress(len(wanted), f"{self.name}: {asked_by}", known) as bar:
            for number, batch in enumerate(self._batching(asked, counts)):
                missing = {f"{name}/{k}" for name in batch for k in range(counts[name])} - self._drawn.keys()
                if missing:
                    seed = int(content_id(self._seed, asked_by, number)[:8], 16)
                    most = max(counts[name] for name in batch)
                    self._draw({name: asked[name] for name in batch}, most, seed, missing, asked_by)
                    bar.advance(len(missing))
        seen: Counter[str] = Counter()
        found = []
        for name in names:
            found += [self._drawn[f"{name}/{seen[name] + k}"] for k in range(n)]
            seen[name] += n
        return found

    def _draw(self, batch: Mapping[str, Prompt], n: int, seed: int, missing: set[str], asked_by: str) -> None:
        """Generate ``n`` samples of each prompt of a batch and keep those that are missing."""
        if self._generator is None:
            self._generator = self._load()
        rows = self._generator.generate(list(batch.values()), n, self.sampling.model_copy(update={"seed": seed}))
        new = [
            CachedCompletion(id=f"{name}/{k}", asked_by=asked_by, seed=seed, **completion._asdict())
            for name, row in zip(batch, rows, strict=True)
            for k, completion in enumerate(row)
            if f"{name}/{k}" in missing
        ]
        self._lines.append(new)
        self._drawn |= {sample.id: sample for sample in new}

    def sampling_of(self, sample: CachedCompletion) -> Sampling:
        """How a completion was drawn."""
        index = int(sample.id.rpartition("/")[2])
        return self.sampling.model_copy(update={"seed": sample.seed, "index": index})
