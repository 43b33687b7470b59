"""A model under evaluation, and the on-disk cache of its completions and of verdicts on its programs.

Benchmarks that share prompts (a benchmark and its plus version) share the samples, and equal requests to repair get the
same answers: see `ledexlib.repair`."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TextIO

from ledexlib.models import Generator, checkpoint_path, load_generator
from ledexlib.params import Params, Refused
from ledexlib.records import Sampling, content_id
from ledexlib.repair import CompletionCache, VerdictCache, longest_first
from ledexlib.runs import NewProgress, hold, read_json, write_json

Style = Literal["few_shot", "chat"]
MADE_WITH = (
    "n_samples", "evaluate_temperature", "top_p", "evaluate_max_tokens", "seed", "answers_per_batch",
    "timeout", "memory_mb")


class EvaluationError(Refused, ValueError):
    """An evaluation that cannot be made or reused; the message says what differs."""


@dataclass(frozen=True)
class EvaluatedModel:
    """A model to evaluate: its name in tables, what is loaded (a folder, a registered or hub name), how it is asked."""
    label: str
    model: str
    style: Style


def model_label(model: str) -> str:
    """A model's name for tables and files: ``mini-lora_04_sft`` for ``outputs/mini-lora/04_sft/model``."""
    parts = [part for part in model.split("/") if part]
    return re.sub(r"[^\w.-]+", "_", "_".join((parts[:-1] if parts[-1:] == ["model"] else parts)[-2:]))


def fingerprint(model: str) -> str:
    """What tells a model from others: a hash of the files of a checkpoint folder; the name of any other model."""
    folder = Path(checkpoint_path(model))
    if not folder.is_dir():
        return model
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in (".json", ".jinja", ".safetensors", ".bin", ".model", ".txt"):
            with path.open("rb") as file:
                digest.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def cache_settings(model: EvaluatedModel, p: Params) -> dict[str, Any]:
    """What completions and verdicts follow from, beside the prompts and the programs themselves."""
    return {"model": fingerprint(model.model), **{name: getattr(p, name) for name in MADE_WITH}}


def cache_folder(parent: Path, model: EvaluatedModel, p: Params) -> Path:
    """Where in ``parent`` a model's cache belongs: under its label and a key of its settings."""
    return parent / f"{model.label}-{content_id(cache_settings(model, p))[:8]}"


class EvaluationCache:
    """A model's completions and the verdicts on its programs in a folder; the model is loaded when one is missing."""

    def __init__(self, folder: Path, model: EvaluatedModel, p: Params, progress: NewProgress) -> None:
        def load() -> Generator:  # endpoints serve the run's base model alone, any other runs in this process
            other = {} if model.model == p.model else {"model": model.model, "model_endpoints": []}
            return load_generator("model", p.model_copy(update=other), folder / "requests.jsonl")

        drawn = {"temperature": p.evaluate_temperature, "top_p": p.top_p, "max_tokens": p.evaluate_max_tokens}
        sampling, batching = Sampling(**drawn, seed=p.seed), longest_first(p.answers_per_batch)
        path = folder / "completions.jsonl"
        self.completions = CompletionCache(path, model.label, load, sampling, sampling, batching, progress)
        self.verdicts = VerdictCache(p, folder / "verdicts.jsonl", progress)


def lock_folder(folder: Path, settings: dict[str, Any]) -> TextIO:
    """The lock of a folder, to use in ``with``; the folder is made, with a note of the settings that it is for.
    Raises StageError if another process holds it, EvaluationError if the folder was made with other settings."""
    held = hold(folder / ".lock", f"{folder} is being written")
    made = read_json(folder / "settings.json") or settings
    if names := [name for name in {**made, **settings} if made.get(name) != settings.get(name)]:
        held.close()
        other = "; ".join(f"{name} = {made.get(name)!r}, now {settings.get(name)!r}" for name in names)
        raise EvaluationError(f"{folder} holds an evaluation made with {other}. Use another folder, or these settings")
    write_json(folder / "settings.json", settings)
    return held
