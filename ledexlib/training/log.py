"""What both trainings leave beside the model: log files and progress, from the first process only, and a card."""

from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from ledexlib.params import Params
from ledexlib.records import Record
from ledexlib.runs import JsonLines, Progress

SHARED = ("method", "lora_rank", "lora_alpha", "load_in_4bit")


class LogCallback(TrainerCallback):
    """Opens ``files``, of these names and kinds of records, and the progress; in other processes than the first none.

    ``updates`` steps of the optimizer are one of what is counted."""

    def __init__(self, folder: Path, kinds: dict[str, type[Record]], label: str, updates: int = 1) -> None:
        self.folder, self.kinds, self.label, self.updates = folder, kinds, label, updates
        self.files: dict[str, JsonLines] = {}
        self.progress: Progress | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            self.files = {name: JsonLines(self.folder / name, kind) for name, kind in self.kinds.items()}
            for lines in self.files.values():
                lines.append(())  # a line that a kill tore must not stay
            total, done = state.max_steps // self.updates, state.global_step // self.updates
            self.progress = Progress(self.folder, total, self.label, done)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.progress:
            self.progress.close()


def model_card(p: Params, prefix: str, title: str, about: str) -> str:
    """A Markdown card: what the model is (title), what came of its training (about), the parameters of this prefix."""
    names = [name for name in Params.model_fields if name.startswith(f"{prefix}_")]
    settings = "\n".join(f"| {name} | {getattr(p, name)} |" for name in (*names, *SHARED))
    card = Path(__file__).with_name("model_card.md").read_text(encoding="utf-8")
    return card.format(base=p.sft_model or p.model, p=p, prefix=prefix, title=title, about=about, settings=settings)
