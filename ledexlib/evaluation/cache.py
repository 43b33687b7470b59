"""What is kept of a model under evaluation: its answers, and the verdicts on its programs.

A prompt's samples are drawn once, whoever asks for them: benchmarks that share prompts (a benchmark and its plus
version) share the samples, and equal requests to repair get the same answers. A program runs once against a problem's
tests.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from ledexlib.runs.storage import JsonLines, read_json, write_json
from ledexlib.repair.collection import NewProgress, judge
from ledexlib.models.interface import Generator, load_generator
from ledexlib.mini import BACKBONE
from ledexlib.models.prompts import Prompt
from ledexlib.records import Judged, Problem, Record, Sampling, Verdict, content_id
from ledexlib.params.paths import resolve
from ledexlib.params.vocabulary import Params

Style = Literal["few_shot", "chat"]


class EvaluationError(ValueError):
    """An evaluation that cannot be made or reused; the message says what differs."""


@dataclass(frozen=True)
class Candidate:
    """A model to evaluate: its name in tables, what is loaded (a folder, a hub name, 'mini'), how it is asked."""

    label: str
    model: str
    style: Style


def label_of(model: str) -> str:
    """A model's name for tables and files: ``mini-lora_04_sft`` for ``outputs/mini-lora/04_sft/model``."""
    parts = [part for part in model.split("/") if part]
    return re.sub(r"[^\w.-]+", "_", "_".join((parts[:-1] if parts[-1:] == ["model"] else parts)[-2:]))


def located(model: str) -> str:
    """Where a checkpoint folder is, named from the working folder or from the repository; other names as they are."""
    folders = (Path(model).expanduser().resolve(), resolve(model))
    return next((str(folder) for folder in folders if folder.is_dir()), model)


class Answered(Record):
    """A model's answer to a prompt; ``asked_by`` says in which step of the evaluation it was drawn."""

    id: str  # the prompt's id and the number of the sample
    asked_by: str
    text: str
    tokens: int
    finished: bool


class Completions:
    """The samples of one model in ``folder``; ``load`` is called only if one has to be drawn.

    Samples are drawn ``per_batch`` at a time and saved together. Batches depend on what is asked for and by whom, never
    on where an earlier process was killed, so that a resumed evaluation ends with the samples of an undisturbed one.
    """

    def __init__(
        self, folder: Path, load: Callable[[], Generator], sampling: Sampling, per_batch: int, progress: NewProgress
    ) -> None:
        self._load, self._sampling, self._per_batch, self._progress = load, sampling, per_batch, progress
        self._lines = JsonLines(folder / "completions.jsonl", Answered)
        self._lines.append(())  # cuts off what a kill tore
        self._answers = {answered.id: answered for answered in self._lines}
        self._generator: Generator | None = None

    def ask(self, prompts: Sequence[Prompt], asked_by: str) -> list[Answered]:
        """An answer to each prompt; a prompt that comes k times gets k samples."""
        ids = [content_id("prompt", prompt) for prompt in prompts]
        counts, by_id = Counter(ids), dict(zip(ids, prompts, strict=True))
        wanted = {f"{name}/{k}": name for name, count in counts.items() for k in range(count)}
        mine = {
            name for sample, name in wanted.items()
            if sample not in self._answers or self._answers[sample].asked_by == asked_by
        }  # fmt: skip
        done = sum(sample in self._answers for sample in wanted)
        names = sorted(mine, key=_order(counts, ids, by_id))
        with self._progress(len(wanted), asked_by, done) as bar:
            for number, batch in enumerate(_batches(names, counts, self._per_batch)):
                missing = {f"{name}/{k}" for name in batch for k in range(counts[name])} - self._answers.keys()
                if missing:
                    bar.advance(self._draw({name: by_id[name] for name in batch}, counts, missing, asked_by, number))
        seen: Counter[str] = Counter()
        found = []
        for name in ids:
            found.append(self._answers[f"{name}/{seen[name]}"])
            seen[name] += 1
        return found

    def _draw(
        self, batch: dict[str, Prompt], counts: Counter[str], missing: set[str], asked_by: str, number: int
    ) -> int:
        """Generate a batch and keep what is missing; how many that was."""
        if self._generator is None:
            self._generator = self._load()
        seed = int(content_id(self._sampling, asked_by, number)[:8], 16)
        most = max(counts[name] for name in batch)
        rows = self._generator.generate(list(batch.values()), most, self._sampling.model_copy(update={"seed": seed}))
        new = [
            Answered(id=f"{name}/{k}", asked_by=asked_by, **completion._asdict())
            for name, row in zip(batch, rows, strict=True)
            for k, completion in enumerate(row)
            if f"{name}/{k}" in missing
        ]
        self._lines.append(new)
        self._answers |= {answered.id: answered for answered in new}
        return len(new)


def _order(
    counts: Counter[str], ids: Sequence[str], prompts: dict[str, Prompt]
) -> Callable[[str], tuple[int, int, int]]:
    """Prompts wanted equally often come together, of these the longest first: a batch of like lengths has less padding.

    Equally long ones come in the order in which they were first asked.
    """
    first = {name: place for place, name in reversed(list(enumerate(ids)))}

    def length(prompt: Prompt) -> int:
        return len(prompt) if isinstance(prompt, str) else sum(len(message["content"]) for message in prompt)

    return lambda name: (-counts[name], -length(prompts[name]), first[name])


def _batches(names: Sequence[str], counts: Counter[str], per_batch: int) -> Iterator[list[str]]:
    """Prompts in batches of about ``per_batch`` samples; each prompt's samples in one batch."""
    batch: list[str] = []
    for name in names:  # most wanted first: the first of a batch says how many samples of each are drawn
        if batch and (len(batch) + 1) * counts[batch[0]] > per_batch:
            yield batch
            batch = []
        batch.append(name)
    if batch:
        yield batch


class Program(Record):
    """A program to run; named by its content and by the problem with its tests."""

    id: str
    task_id: str
    code: str


def fingerprint(model: str) -> str:
    """What tells a model from others: a hash of the files of a checkpoint folder; the name of any other model."""
    folder = Path(BACKBONE) if model == "mini" else resolve(model)
    if not folder.is_dir():
        return model
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in (".json", ".jinja", ".safetensors", ".bin", ".model", ".txt"):
            with path.open("rb") as file:
                digest.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def settings(candidate: Candidate, p: Params) -> dict[str, Any]:
    """What answers and verdicts follow from, beside the prompts and the programs themselves."""
    names = ("n_samples", "evaluate_temperature", "top_p", "evaluate_max_tokens", "seed", "answers_per_batch",
             "timeout", "memory_mb")  # fmt: skip
    return {"model": fingerprint(candidate.model), **{name: getattr(p, name) for name in names}}


class Unseen:
    """A progress that nobody sees, for steps that are many and short."""

    def advance(self, n: int = 1) -> None:
        """Count nothing."""

    def __enter__(self) -> Unseen:
        return self

    def __exit__(self, *_: object) -> None:
        """End nothing."""


class Kept:
    """A model's answers and verdicts in ``folder``, which were ``made_with`` these settings.

    ``load`` is called if an answer has to be drawn. Raises EvaluationError if the folder was made with other settings.
    """

    def __init__(
        self, folder: Path, made_with: dict[str, Any], load: Callable[[], Generator], p: Params, progress: NewProgress
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        _same_settings(folder, made_with)
        sampling = Sampling(
            temperature=p.evaluate_temperature, top_p=p.top_p, max_tokens=p.evaluate_max_tokens, seed=p.seed
        )
        self._p, self._progress = p, progress
        self.completions = Completions(folder, load, sampling, p.answers_per_batch, progress)
        self._lines = JsonLines(folder / "verdicts.jsonl", Judged)
        self._lines.append(())
        self._verdicts = {judged.id: judged.verdict for judged in self._lines}
        self._names: dict[int, tuple[Problem, str]] = {}  # of problems, by identity; hashing large tests takes time

    def verdicts(
        self, problems: Sequence[Problem], programs: Sequence[tuple[str, str]], label: str | None
    ) -> list[Verdict]:
        """The verdict on each program (task id, code), run if it is not known; ``label`` None shows no progress."""
        tests = {problem.task_id: self._name(problem) for problem in problems}
        names = [content_id(tests[task_id], code) for task_id, code in programs]
        new = {
            name: Program(id=name, task_id=task_id, code=code)
            for name, (task_id, code) in zip(names, programs, strict=True)
            if name not in self._verdicts
        }
        if new:
            before = len(self._lines)
            judge(
                list(new.values()), problems, self._p, self._lines,
                lambda total, *_: self._progress(total, label, 0) if label else Unseen(),
            )  # fmt: skip
            self._verdicts |= {judged.id: judged.verdict for judged in islice(self._lines, before, None)}
        return [self._verdicts[name] for name in names]

    def _name(self, problem: Problem) -> str:
        if id(problem) not in self._names:
            self._names[id(problem)] = (problem, content_id(problem))
        return self._names[id(problem)][1]


def _same_settings(folder: Path, now: dict[str, Any]) -> None:
    """Take note of the settings, or refuse them if the folder was made with others."""
    made = read_json(folder / "settings.json") or now
    names = [name for name in {**made, **now} if made.get(name) != now.get(name)]
    if names:
        differing = "; ".join(f"{name} = {made.get(name)!r}, now {now.get(name)!r}" for name in names)
        raise EvaluationError(
            f"{folder} holds an evaluation made with {differing}. Use another folder, or the same settings"
        )
    write_json(folder / "settings.json", now)


def loader(candidate: Candidate, p: Params, folder: Path) -> Callable[[], Generator]:
    """How the candidate is loaded; a checkpoint other than the run's base model is always run in this process."""
    if candidate.model != p.model:
        local = {"model": candidate.model, "model_backend": "transformers", "model_endpoints": []}
        p = p.model_copy(update=local)
    return lambda: load_generator("model", p, folder / "requests.jsonl")
