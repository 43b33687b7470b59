"""The notebooks, the parameter files and the vocabulary agree; the notebooks are clean and readable."""

import ast
import io
import tokenize
import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import nbformat
import pytest
from nbformat import v4
from tiny_notebooks import write_notebook

from ledexlib.params import FIELDS, FILES, ROOT, load, read_yaml
from ledexlib.runs import STAGE_NAME, parameters_cell, read_stages

PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PARAMETER_FILES = sorted((ROOT / "params").glob("*.yaml"))
OPENING_LINES = ("question", "needs", "writes", "read by")
LONGEST_CELL, LONGEST_PARAMETERS = 15, 15
STAGES = {stage.name: stage for stage in read_stages(ROOT / "notebooks")}
each_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def cells_of(path: Path) -> list[nbformat.NotebookNode]:
    return nbformat.read(path, as_version=4).cells


def is_parameters(cell: nbformat.NotebookNode) -> bool:
    return "parameters" in cell.metadata.get("tags", ())


def code_of(path: Path) -> list[str]:
    """The sources of all code cells but the parameters cell."""
    return [cell.source for cell in cells_of(path) if cell.cell_type == "code" and not is_parameters(cell)]


def written_type(annotation: Any) -> str:
    """How a parameters cell writes a field's type: a Literal is a str, an Optional is 'type | None'."""
    if get_origin(annotation) is Literal:
        return "str"
    if get_origin(annotation) in (Union, types.UnionType):
        return " | ".join(sorted(map(written_type, get_args(annotation)), key=lambda name: name == "None"))
    if annotation is type(None):
        return "None"
    return annotation.__name__ if get_origin(annotation) is None else str(annotation)


def parameter_faults(path: Path) -> list[str]:
    """Where a notebook's parameters cell departs from the vocabulary."""
    source = next(cell.source for cell in cells_of(path) if is_parameters(cell))
    declared = parameters_cell(path)
    commented = {
        token.start[0] for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT and token.string.strip("# ")
    }  # fmt: skip
    faults = []
    for statement in ast.parse(source).body:
        name, annotation = statement.target.id, ast.unparse(statement.annotation)
        if statement.end_lineno not in commented:
            faults.append(f"{name}: no comment at the end of its line")
        if name == FILES:
            continue
        field = FIELDS[name]
        if repr(declared[name]) != repr(field.default):
            faults.append(f"{name}: default {declared[name]!r}, in the vocabulary {field.default!r}")
        if annotation != written_type(field.annotation):
            faults.append(f"{name}: type {annotation}, in the vocabulary {written_type(field.annotation)}")
    if len(source.splitlines()) > LONGEST_PARAMETERS:
        faults.append(f"{len(source.splitlines())} lines, at most {LONGEST_PARAMETERS}")
    return faults


def opening_faults(path: Path, needed: tuple[str, ...]) -> list[str]:
    """Which of the four opening lines, and which needed stage in them, the first cell lacks."""
    first = cells_of(path)[0]
    if first.cell_type != "markdown":
        return ["the first cell is not text"]
    lines = [line.lstrip("-*_#> ").lower() for line in first.source.splitlines()]
    started = {word for word in OPENING_LINES for line in lines if line.startswith(word)}
    faults = [f"no line that starts with '{word}'" for word in OPENING_LINES if word not in started]
    needs = " ".join(line for line in lines if line.startswith("needs"))
    return faults + [f"'needs' does not name {name}" for name in needed if name not in needs]


def overwritten(path: Path) -> set[str]:
    """Parameters that a later cell assigns or imports: what the user or papermill set would not be what is used."""
    from IPython.core.inputtransformer2 import TransformerManager

    nodes = list(ast.walk(ast.parse(TransformerManager().transform_cell("\n\n".join(code_of(path))))))
    names = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    names |= {node.asname or node.name for node in nodes if isinstance(node, ast.alias)}
    return names & set(parameters_cell(path))


def clutter(path: Path) -> list[str]:
    """Outputs, counts and metadata that do not belong into a committed notebook."""
    notebook = nbformat.read(path, as_version=4)
    found = [f"metadata.{name}" for name in notebook.metadata if name not in ("kernelspec", "language_info")]
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "code" and (cell.outputs or cell.execution_count is not None):
            found.append(f"cell {number}: outputs or an execution count")
        found += [f"cell {number}: metadata.{name}" for name in cell.metadata if name != "tags"]
    return found


def long_cells(path: Path) -> list[str]:
    """Code cells, other than the parameters cell, with more lines than fit the eye; they belong into ledexlib."""
    return [source for source in code_of(path) if len(source.splitlines()) > LONGEST_CELL]


@each_notebook
def test_the_parameters_cell_agrees_with_the_vocabulary(path):
    assert parameter_faults(path) == []
    assert overwritten(path) == set()


@each_notebook
def test_a_notebook_is_clean_valid_and_readable(path):
    nbformat.validate(nbformat.read(path, as_version=4))
    assert STAGE_NAME.match(path.stem), "a stage is named like 01_collect"
    assert nbformat.read(path, as_version=4).metadata.kernelspec["name"] == "python3"
    assert clutter(path) == [], "run: make strip"
    assert long_cells(path) == []
    assert opening_faults(path, STAGES[path.stem].needs) == []


@each_notebook
def test_a_notebook_opens_and_reads_the_stages_of_the_table(path):
    """Its calls of open_stage and need are those of stages.yaml."""
    calls: dict[str, set[str]] = {"open_stage": set(), "need": set()}
    from IPython.core.inputtransformer2 import TransformerManager

    for node in ast.walk(ast.parse(TransformerManager().transform_cell("\n\n".join(code_of(path))))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in calls:
            calls[node.func.attr].add(ast.literal_eval(node.args[0]))
    spec = STAGES[path.stem]
    assert calls["open_stage"] == {path.stem}
    assert calls["need"] <= set(spec.needs), "a stage that the table does not name"


def test_every_notebook_is_a_stage_and_every_stage_has_its_notebook():
    assert sorted(STAGES) == [path.stem for path in PATHS]


@pytest.mark.parametrize("path", PARAMETER_FILES, ids=lambda path: path.stem)
def test_a_parameter_file_is_valid_and_every_key_is_read(path):
    load([path])
    read = {name for stage in STAGES.values() for name in stage.parameters}
    assert set(read_yaml(path)) <= read, "a parameter that no stage reads"


def test_the_checks_above_find_what_they_look_for(tmp_path):
    """Each fault, made on purpose."""
    parameters = (
        'run: str = "scratch"  # name\noutputs: str = "outputs"\nseed: float = 0  # seed\n'
        "max_problems: int | None = 7  # how many\ntop_p: float = 1  # an int\n"
        "problems_path: str | None = None  # file\nrecorded: list[str] = []  # files\n"
        'teacher_style: str = "chat"  # style\nparams: list[str] = []  # files'
    )
    code = ['stage.need("01_collect")', "%matplotlib inline\nseed = 5\nimport top_p"]
    path = write_notebook(tmp_path, "02_x", code, parameters)
    assert parameter_faults(path) == [
        "outputs: no comment at the end of its line",
        "seed: type float, in the vocabulary int",
        "max_problems: default 7, in the vocabulary 20",
        "top_p: default 1, in the vocabulary 1.0",
    ]
    assert overwritten(path) == {"seed", "top_p"}
    assert opening_faults(path, ("01_collect",)) == [*(f"no line that starts with '{w}'" for w in OPENING_LINES),
                                    "'needs' does not name 01_collect"]  # fmt: skip
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[0].source = "# X\n**Question.** Why?\n- Needs: 01_collect\n- *Writes* x\n\nRead by 03_y"
    notebook.cells[2].outputs = [v4.new_output("stream", text="x")]
    notebook.cells[3].metadata["papermill"] = {}
    notebook.metadata["widgets"] = {}
    notebook.cells.append(v4.new_code_cell("x = 1\n" * 16))
    nbformat.write(notebook, path)
    assert opening_faults(path, ("01_collect",)) == [] and len(long_cells(path)) == 1
    assert clutter(path) == ["metadata.widgets", "cell 2: outputs or an execution count", "cell 3: metadata.papermill"]
