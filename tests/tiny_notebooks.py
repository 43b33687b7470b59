"""Tiny notebooks for the tests: real stages that append records, in a folder of their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nbformat.v4 as v4
from nbformat import write
from pydantic import BaseModel

PARAMETERS = """\
run: str = "scratch"  # name of the run
outputs: str = "outputs"  # folder of all runs
seed: int = 0  # seed
params: list[str] = []  # parameter files
max_problems: int | None = 20  # how many records
workers: int = 2  # how fast"""

TABLE = """\
01_collect: {parameters: [seed, max_problems, workers]}
02_sum: {needs: [01_collect], parameters: [seed, max_problems]}
"""

OPEN = """\
from pydantic import BaseModel
from ledexlib import runs

class Item(BaseModel):
    id: str
    value: int

stage = runs.open_stage("{name}", globals())
p = stage.params"""

# Slow enough to be killed in the middle; a record's value depends on the seed and its own number alone.
COLLECT = """\
import time
items = stage.records("items.jsonl", Item)
print("found", len(items))
with stage.progress(p.max_problems, "items", done=len(items)) as progress:
    for i in range(p.max_problems):
        if f"item{i}" not in items:
            time.sleep(0.05)
            items.append([Item(id=f"item{i}", value=i * 7 + p.seed)])
            progress.advance()"""

SUM = """\
source = stage.need("01_collect")
total = sum(item.value for item in source.records("items.jsonl", Item))
print("total", total)"""

DONE = """stage.done({"records": len(items), "share": 0.25})"""
DONE_SUM = """stage.done({"total": total})"""


class Item(BaseModel):
    """The record that the tiny notebooks write."""

    id: str
    value: int


def write_notebook(
    folder: Path, name: str, cells: Sequence[str], parameters: str = PARAMETERS, tags: Sequence[str] = ("parameters",)
) -> Path:
    """A stage's notebook: a heading, the parameters cell, the opening cell, then these code cells."""
    folder.mkdir(parents=True, exist_ok=True)
    opening = OPEN.format(name=name)
    notebook = v4.new_notebook(
        cells=[
            v4.new_markdown_cell(f"# {name}\n\nThe loss is $L = \\sum_i x_i^2$ and costs <b>nothing</b>."),
            v4.new_code_cell(parameters, metadata={"tags": list(tags)}),
            *(v4.new_code_cell(source) for source in [opening, *cells]),
        ]
    )
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path = folder / f"{name}.ipynb"
    write(notebook, path)
    return path


def write_table(folder: Path, text: str) -> None:
    """The table of a folder's stages."""
    (folder / "stages.yaml").write_text(text)


def two_stages(folder: Path) -> Path:
    """01_collect and 02_sum in a folder."""
    write_notebook(folder, "01_collect", [COLLECT, DONE])
    write_notebook(folder, "02_sum", [SUM, DONE_SUM])
    write_table(folder, TABLE)
    return folder
