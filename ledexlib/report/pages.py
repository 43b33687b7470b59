"""Pages for people: one for each run, with its rendered notebooks, and one that compares all runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ledexlib.params import FIELDS
from ledexlib.report.comparison import differing_parameters, headline_gains, metrics_by_stage
from ledexlib.report.notebook_html import rendered_notebook
from ledexlib.report.states import StageState, date, run_folders, stage_states, summary
from ledexlib.report.text import as_html, parameter_text
from ledexlib.runs import duration, read_json

MAIN_PACKAGES = ("python", "torch", "transformers", "trl", "peft", "datasets", "papermill")
COMPARED = 8  # the newest so many runs stand side by side


def _page(template: str, **values: Any) -> str:
    """A page from its template."""
    import jinja2
    from markupsafe import Markup

    here = Path(__file__).parent / "templates"
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(here), autoescape=True, trim_blocks=True)
    environment.filters["code"] = lambda text: Markup(as_html(text))
    style = Markup((here / "style.css").read_text(encoding="utf-8"))
    values = {name: Markup(value) if name == "body" else value for name, value in values.items()}
    return environment.get_template(template).render(style=style, date=date, **values)


def write_run_page(run: Path) -> Path:
    """Write the run's page with its rendered notebooks, and the page of all runs; the path of the run's page."""
    states, about = stage_states(run), read_json(run / "run.json") or {}
    folder = run / "report"
    folder.mkdir(exist_ok=True)
    shown = [stage for stage in states if stage.notebook]
    for number, stage in enumerate(shown):
        beside = {"previous": shown[number - 1] if number else None, "following": (*shown, None)[number + 1]}
        _write_stage_page(folder / f"{stage.name}.html", run.name, stage, about, **beside)
    page = _page(
        "run.html", title=f"Run {run.name}", here=run.name, trail=[("runs", "../../index.html")], name=run.name,
        summary=summary(run, states), about=about, stages=states, parameters=list(_parameters(about["parameters"])),
        main_packages=MAIN_PACKAGES,
    )  # fmt: skip
    (folder / "index.html").write_text(page, encoding="utf-8")
    write_runs_page(run.parent)
    return folder / "index.html"


def _write_stage_page(path: Path, run: str, stage: StageState, about: dict[str, Any], **beside: Any) -> None:
    """Write a stage's page; ``beside`` has the ``previous`` and the ``following`` stage that has one, or None."""
    body, contents = rendered_notebook(stage.notebook, whole=stage.status != "done")
    trail = [("runs", "../../index.html"), (run, "index.html")]
    page = _page(
        "stage.html", title=f"{stage.name} · {run}", here=stage.name, trail=trail, run=run, stage=stage, body=body,
        contents=contents, commit=stage.done.get("commit") or about.get("commit"), **beside,
    )  # fmt: skip
    path.write_text(page, encoding="utf-8")


def write_runs_page(outputs: Path) -> Path:
    """Write the page of all runs, the newest first, which compares them."""
    runs = []
    for folder in run_folders(outputs):
        about, stages = read_json(folder / "run.json") or {}, stage_states(folder)
        page = "report/index.html" if (folder / "report" / "index.html").exists() else ""
        time = duration(sum(stage.seconds for stage in stages))
        runs.append({
            "name": folder.name, "href": f"{folder.name}/{page}", "stages": stages, "time": time,
            "updated": date(about["updated"]), "parameters": about["parameters"],
        })  # fmt: skip
    runs.sort(key=lambda run: run["updated"], reverse=True)
    compared = runs[:COMPARED]
    stages = [run["stages"] for run in compared]
    page = _page(
        "runs.html", title="Runs", here="runs", trail=[], runs=runs, compared=compared,
        parameters=differing_parameters([run["parameters"] for run in compared]), gains=headline_gains(stages),
        metrics=metrics_by_stage(stages),
    )  # fmt: skip
    (outputs / "index.html").write_text(page, encoding="utf-8")
    return outputs / "index.html"


def _parameters(values: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The parameters a run was made with, in the vocabulary's order, then those the vocabulary no longer has."""
    for name in [*(name for name in FIELDS if name in values), *(name for name in values if name not in FIELDS)]:
        field, value = FIELDS.get(name), values[name]
        yield {
            "name": name,
            "value": parameter_text(value),
            "changed": field is not None and value != field.default,
            "description": field.description if field else "",
        }
