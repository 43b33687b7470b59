"""The caches of completions and verdicts: a sample is drawn once, a program runs once, whoever asks for it.

Samples are drawn and saved in batches. Batches and their seeds follow from what is asked for, by whom and from the
parameters, never from where an earlier process was killed: a resumed run ends with the samples of an undisturbed one.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import cache
from pathlib import Path

from ledexlib.models import Generator, Prompt
from ledexlib.params import Params
from ledexlib.problems import verify_programs
from ledexlib.records import Problem, Record, Sampling, Verdict, content_id
from ledexlib.runs import JsonLines, NewProgress
from ledexlib.sandbox import Limits

# Makes batches of the prompts' names, given the prompts as they were asked, and how many samples of each are wanted.
Batching = Callable[[Mapping[str, Prompt], Mapping[str, int]], Iterator[list[str]]]
SAVE_SECONDS = 1.0  # verdicts are cheap: they are saved together


def in_order(prompts_per_batch: int) -> Batching:
    """Collection's batches: so many prompts, in their order."""

    def batches(prompts: Mapping[str, Prompt], counts: Mapping[str, int]) -> Iterator[list[str]]:
        names = list(prompts)
        return (names[start : start + prompts_per_batch] for start in range(0, len(names), prompts_per_batch))

    return batches


def longest_first(answers_per_batch: int) -> Batching:
    """Evaluation's batches: about so many answers with little padding, each prompt's in one batch.

    Prompts wanted equally often come together, of these the longest first."""

    def length(prompt: Prompt) -> int:
        return len(prompt) if isinstance(prompt, str) else sum(len(message["content"]) for message in prompt)

    def batches(prompts: Mapping[str, Prompt], counts: Mapping[str, int]) -> Iterator[list[str]]:
        batch: list[str] = []
        for name in sorted(prompts, key=lambda name: (-counts[name], -length(prompts[name]))):
            # Most wanted first: the first of a batch says how many samples of each are drawn.
            if batch and (len(batch) + 1) * counts[batch[0]] > answers_per_batch:
                yield batch
                batch = []
            batch.append(name)
        if batch:
            yield batch

    return batches


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

    ``load`` is called only if a sample has to be drawn; batches' seeds are derived from ``seed``. For one process."""

    def __init__(
        self, path: Path, name: str, load: Callable[[], Generator], sampling: Sampling, seed: int | Sampling,
        batching: Batching, progress: NewProgress) -> None:
        self.name, self.sampling = name, sampling
        self._generator, self._seed, self._batching, self._progress = cache(load), seed, batching, progress
        self._lines = JsonLines(path, CachedCompletion)
        self._lines.append(())  # cuts off what a kill tore
        self._drawn = {sample.id: sample for sample in self._lines}

    def __call__(self, prompts: Sequence[Prompt], n: int, asked_by: str) -> list[CachedCompletion]:
        """``n`` completions of each prompt, one prompt's after the other's; one that comes k times gets k × ``n``.

        The step ``asked_by`` is part of what seeds the samples that it is the first to ask for."""
        drawn, names = self._drawn, [content_id("prompt", prompt) for prompt in prompts]
        counts = {name: n * times for name, times in Counter(names).items()}
        wanted = {name: [f"{name}/{k}" for k in range(count)] for name, count in counts.items()}
        asked = {
            name: prompt for name, prompt in zip(names, prompts, strict=True)
            if any(sample not in drawn or drawn[sample].asked_by == asked_by for sample in wanted[name])}
        known = sum(sample in drawn for samples in wanted.values() for sample in samples)
        with self._progress(sum(counts.values()), f"{self.name}: {asked_by}", known) as bar:
            for number, batch in enumerate(self._batching(asked, counts)):
                missing = {sample for name in batch for sample in wanted[name]} - drawn.keys()
                if missing:
                    seed = int(content_id(self._seed, asked_by, number)[:8], 16)
                    most = max(counts[name] for name in batch)
                    self._draw({name: asked[name] for name in batch}, most, seed, missing, asked_by)
                    bar.advance(len(missing))
        samples = {name: iter(ids) for name, ids in wanted.items()}
        return [drawn[next(samples[name])] for name in names for _ in range(n)]

    def _draw(self, batch: Mapping[str, Prompt], n: int, seed: int, missing: set[str], asked_by: str) -> None:
        """Generate ``n`` samples of each prompt of a batch and keep those that are missing."""
        rows = self._generator().generate(list(batch.values()), n, self.sampling.model_copy(update={"seed": seed}))
        new = [
            CachedCompletion(id=f"{name}/{k}", asked_by=asked_by, seed=seed, **completion._asdict())
            for name, row in zip(batch, rows, strict=True) for k, completion in enumerate(row)
            if f"{name}/{k}" in missing]
        self._lines.append(new)
        self._drawn.update((sample.id, sample) for sample in new)

    def sampling_of(self, sample: CachedCompletion) -> Sampling:
        """How a completion was drawn."""
        return self.sampling.model_copy(update={"seed": sample.seed, "index": int(sample.id.rpartition("/")[2])})


class CachedVerdict(Record):
    """The verdict on a program, named by the content of the program and of the problem with its tests."""
    id: str
    verdict: Verdict


def program_limits(p: Params) -> Limits:
    """What the parameters allow a program."""
    return Limits(timeout=p.timeout, memory_mb=p.memory_mb)


class VerdictCache:
    """Verdicts on programs, in the JSON-lines file ``path`` or in memory alone.

    In memory ``infra`` is not remembered: such a program is tried again. On disk it is, so that a killed and resumed
    run ends with the records of an undisturbed one."""

    def __init__(self, p: Params, path: Path | None = None, progress: NewProgress | None = None) -> None:
        self._p, self._progress = p, progress
        self._lines = JsonLines(path, CachedVerdict) if path else None
        if self._lines is not None:
            self._lines.append(())  # cuts off what a kill tore
        self._known = {cached.id: cached.verdict for cached in self._lines or ()}
        self._names: dict[int, tuple[Problem, str]] = {}  # of problems, by identity; hashing large tests takes time

    def __call__(
        self, problems: Iterable[Problem], programs: Sequence[tuple[str, str]], label: str | None = None
    ) -> list[Verdict]:
        """The verdict on each program (task id, code), run if it is not known; progress is shown if it has a label."""
        by_task = {problem.task_id: problem for problem in problems}
        names = [content_id(self._name(by_task[task_id]), code) for task_id, code in programs]
        new = {
            name: (name, by_task[task_id], code) for name, (task_id, code) in zip(names, programs, strict=True)
            if name not in self._known}
        found = self._run(list(new.values()), label, len(set(names)) - len(new)) if new else {}
        return [found[name] if name in found else self._known[name] for name in names]

    def _run(self, items: Sequence[tuple[str, Problem, str]], label: str | None, known: int) -> dict[str, Verdict]:
        """Run programs by name, beside which so many are known, and remember their verdicts."""
        found: dict[str, Verdict] = {}
        saved, unsaved = time.monotonic(), []
        shown = self._progress if label else None
        with shown(known + len(items), label, known) if shown else nullcontext() as bar:
            for name, verdict in verify_programs(items, self._p.workers, program_limits(self._p)):
                found[name] = verdict
                unsaved.append(CachedVerdict(id=name, verdict=verdict))
                if bar is not None:
                    bar.advance()
                if self._lines is not None and (len(found) == len(items) or time.monotonic() - saved > SAVE_SECONDS):
                    self._lines.append(unsaved)
                    saved, unsaved = time.monotonic(), []
        self._known |= {name: v for name, v in found.items() if self._lines is not None or v.status != "infra"}
        return found

    def _name(self, problem: Problem) -> str:
        if id(problem) not in self._names:
            self._names[id(problem)] = (problem, content_id(problem))
        return self._names[id(problem)][1]
