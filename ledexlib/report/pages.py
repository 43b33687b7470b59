"""What the runs hold, for people: a page for each run with its rendered notebooks, a page of all runs, a text table."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ledexlib.runs import stage as runs
from ledexlib.runs.storage import lock, read_json
from ledexlib.runs.progress import duration
from ledexlib.runs.notebooks import STAGE_NAME
from ledexlib.params.layers import FIELDS

MAIN_PACKAGES = ("python", "torch", "transformers", "trl", "peft", "datasets", "papermill")
KEY_METRICS = 6  # how many of a stage's metrics a table shows: the first ones that are single values


@dataclass(frozen=True)
class StageState:
    """A stage as it stands: ``status`` is done, running, failed or unfinished; ``notebook`` is the executed one."""

    name: str
    status: str
    seconds: float | None
    metrics: dict[str, Any]
    notebook: Path | None

    @property
    def time(self) -> str:
        return "" if self.seconds is None else duration(self.seconds)


def stage_state(folder: Path) -> StageState:
    """The state of the stage in this folder."""
    name = folder.name
    done = read_json(folder / "done.json")
    executed, failed = folder / f"{name}.ipynb", folder / f"{name}.failed.ipynb"
    if _locked(folder.parent / f".{name}.lock"):
        status, notebook = "running", None
    elif failed.exists() and not (done and failed.stat().st_mtime < (folder / "done.json").stat().st_mtime):
        status, notebook = "failed", failed
    else:
        status, notebook = ("done" if done else "unfinished"), executed if executed.exists() else None
    metrics = (read_json(folder / "metrics.json") or {}) if done else {}
    return StageState(name, status, done["seconds"] if done else None, metrics, notebook)


def _locked(path: Path) -> bool:
    """Whether a process holds the lock."""
    if not path.exists():
        return False
    held = lock(path)
    if held is None:
        return True
    held.close()
    return False


def stage_states(run: Path) -> list[StageState]:
    """The stages that the run in this folder has begun, in order."""
    return [stage_state(p) for p in sorted(run.iterdir()) if p.is_dir() and STAGE_NAME.match(p.name)]


def run_folders(outputs: Path) -> list[Path]:
    """The folders of all runs, by name."""
    return sorted(path.parent for path in outputs.glob("*/run.json"))


def measures(metrics: dict[str, Any]) -> str:
    """The first metrics that are single values, such as 'problems 20, pass@1 0.317'."""
    singles = [(name, value) for name, value in metrics.items() if not isinstance(value, (dict, list))]
    return ", ".join(f"{name} {_value(value)}" for name, value in singles[:KEY_METRICS])


def _value(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def status(outputs: Path, only: str | None = None) -> str:
    """Runs with their stages, times and key metrics as text; raises StageError if there is no run called ``only``."""
    folders = run_folders(outputs)
    if only is not None:
        names = ", ".join(folder.name for folder in folders) or "none"
        folders = [folder for folder in folders if folder.name == only]
        if not folders:
            raise runs.StageError(f"no run '{only}' in {outputs}; the runs are: {names}")
    return "\n\n".join(_run_text(folder) for folder in folders) or f"no run in {outputs}"


def _run_text(run: Path) -> str:
    states = stage_states(run)
    width = max((len(state.name) for state in states), default=0)
    lines = [f"{run.name}: {_summary(run, states)}"]
    lines += [
        f"  {state.name:{width}}  {state.status:10}  {state.time:>11}  {measures(state.metrics)}".rstrip()
        for state in states
    ]
    return "\n".join(lines)


def _summary(run: Path, states: list[StageState]) -> str:
    about = read_json(run / "run.json") or {}
    done = sum(state.status == "done" for state in states)
    total = duration(sum(state.seconds or 0 for state in states))
    return f"{done} of {len(states)} stages done in {total}, updated {_date(about['updated'])}"


def _date(stamp: str) -> str:
    """'2026-01-31T12:30:59+00:00' as '2026-01-31 12:30 UTC'."""
    return f"{stamp[:10]} {stamp[11:16]} UTC"


def _environment() -> Any:
    import jinja2

    here = Path(__file__).parent / "templates"
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(here), autoescape=True, trim_blocks=True)
    environment.globals.update(measures=measures, style=_trusted((here / "style.css").read_text(encoding="utf-8")))
    return environment


def _trusted(html: str) -> Any:
    from markupsafe import Markup

    return Markup(html)


def write(run: Path) -> Path:
    """Write the run's page with its rendered notebooks, and the page of all runs; the path of the run's page."""
    environment = _environment()
    states = stage_states(run)
    about = read_json(run / "run.json") or {}
    folder = run / "report"
    folder.mkdir(exist_ok=True)
    trail = [("runs", "../../index.html")]
    for stage in states:
        if stage.notebook:
            page = environment.get_template("stage.html").render(
                title=f"{stage.name} · {run.name}", here=stage.name, trail=[*trail, (run.name, "index.html")],
                stage=stage, body=_trusted(rendered(stage.notebook, whole=stage.status != "done")),
            )  # fmt: skip
            (folder / f"{stage.name}.html").write_text(page, encoding="utf-8")
    page = environment.get_template("run.html").render(
        title=f"Run {run.name}", here=run.name, trail=trail, name=run.name, summary=_summary(run, states), about=about,
        stages=states, parameters=list(_parameters(about["parameters"])), main_packages=_main_packages(about),
    )  # fmt: skip
    (folder / "index.html").write_text(page, encoding="utf-8")
    write_index(run.parent)
    return folder / "index.html"


def write_index(outputs: Path) -> Path:
    """Write the page of all runs."""
    rows = []
    for folder in run_folders(outputs):
        states = stage_states(folder)
        updated = _date((read_json(folder / "run.json") or {})["updated"])
        page = "report/index.html" if (folder / "report" / "index.html").exists() else ""
        time = duration(sum(state.seconds or 0 for state in states))
        rows.append(
            {"name": folder.name, "href": f"{folder.name}/{page}", "stages": states, "time": time, "updated": updated}
        )
    rows.sort(key=lambda row: row["updated"], reverse=True)
    page = _environment().get_template("runs.html").render(title="Runs", here="runs", trail=[], runs=rows)
    (outputs / "index.html").write_text(page, encoding="utf-8")
    return outputs / "index.html"


def _parameters(values: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The parameters a run was made with, in the vocabulary's order, then those the vocabulary no longer has."""
    for name in [*(name for name in FIELDS if name in values), *(name for name in values if name not in FIELDS)]:
        field, value = FIELDS.get(name), values[name]
        yield {
            "name": name,
            "value": value if not isinstance(value, list) else ", ".join(map(str, value)) or "none",
            "changed": field is not None and value != field.default,
            "description": field.description if field else "",
        }


def _main_packages(about: dict[str, Any]) -> str:
    return ", ".join(f"{name} {about['versions'][name]}" for name in MAIN_PACKAGES if name in about["versions"])


def rendered(notebook: Path, whole: bool = False) -> str:
    """A notebook's text and outputs as an HTML fragment, without its code and without cells tagged ``hide``.

    ``whole`` keeps those cells, so that a failure inside one shows; papermill's own banners go, the page has its own.
    """
    import nbformat
    from nbconvert.preprocessors import CoalesceStreamsPreprocessor, TagRemovePreprocessor

    removed = {"papermill-error-cell-tag"} | (set() if whole else {"hide"})
    exporter = _exporter_class()(
        template_name="basic", exclude_input=True, exclude_output_prompt=True, exclude_input_prompt=True,
        embed_images=True,
    )  # fmt: skip
    exporter.register_preprocessor(TagRemovePreprocessor(remove_cell_tags=removed), enabled=True)
    exporter.register_preprocessor(CoalesceStreamsPreprocessor, enabled=True)  # printed lines in one block
    body, _ = exporter.from_notebook_node(nbformat.read(notebook, as_version=4))
    return re.sub(r'<div[^>]*class="cell [^"]*code_cell[^"]*"[^>]*>\s*</div>', "", body)


def _exporter_class() -> type:
    """nbconvert's HTML exporter, with formulas as MathML: browsers show it without a script from the network."""
    from jinja2 import pass_context
    from nbconvert import HTMLExporter
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    class Renderer(IPythonRenderer):
        def inline_math(self, body: str) -> str:
            return mathml(body, "inline")

        def block_math(self, body: str) -> str:
            return mathml(body, "block")

        def latex_environment(self, name: str, body: str) -> str:
            return mathml(f"\\begin{{{name}}}{body}\\end{{{name}}}", "block")

    class Exporter(HTMLExporter):
        @pass_context
        def markdown2html(self, context: Any, source: str) -> str:
            attachments = context.get("cell", {}).get("attachments", {})
            return MarkdownWithMath(
                renderer=Renderer(escape=False, attachments=attachments, exclude_anchor_links=True)
            ).render(source)

    return Exporter


def mathml(formula: str, display: str) -> str:
    """A TeX formula as MathML; one that cannot be converted is shown as it was written."""
    from html import escape

    import latex2mathml.converter

    try:
        return latex2mathml.converter.convert(formula.strip(), display=display)
    except Exception:  # the converter raises a class of its own for each fault
        return f"<code>{escape(formula)}</code>"
