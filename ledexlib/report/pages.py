"""Pages for people: one for each run, with its rendered notebooks, and one that compares all runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ledexlib.params import FIELDS
from ledexlib.report.states import RunState, run_states
from ledexlib.report.text import TEMPLATES, parameter_text

COMPARED = 8  # the newest so many runs stand side by side
STEPS = {"sft_over_prompting": "SFT over base", "rl_over_sft": "RL over SFT"}
MISSING = "–"
Row = tuple[str, list[Any]]  # what is compared, and the value of each run


def write_run_page(folder: Path) -> Path:
    """Write the run's page with its rendered notebooks, and the page of all runs; the path of the run's page."""
    from ledexlib.report.notebook_html import rendered_notebook  # what it needs takes long to import

    run, pages = RunState(folder), folder / "report"
    pages.mkdir(exist_ok=True)
    shown = [stage for stage in run.stages if stage.notebook]
    for stage, previous, following in zip(shown, [None, *shown[:-1]], [*shown[1:], None], strict=False):
        body, contents = rendered_notebook(stage.notebook, whole=stage.status != "done")
        values = {"stage": stage, "previous": previous, "following": following, "body": body, "contents": contents}
        _write(pages / f"{stage.name}.html", "stage.html", run=run, **values)
    _write(pages / "index.html", "run.html", run=run, fields=FIELDS)
    _write_runs_page(folder.parent)
    return pages / "index.html"


def _write_runs_page(outputs: Path) -> None:
    """Write the page of all runs, the newest first, which compares them."""
    runs = sorted(run_states(outputs), key=lambda run: run.about["updated"], reverse=True)
    compared = runs[:COMPARED]
    singles = [{stage.name: stage.singles for stage in run.stages} for run in compared]
    names = sorted({name for run in singles for name in run if run[name]})
    _write(
        outputs / "index.html", "runs.html", runs=runs, compared=compared,
        parameters=differing_parameters([run.about["parameters"] for run in compared]),
        gains=_side_by_side([_gains(run) for run in compared]),
        metrics={stage: _side_by_side([run.get(stage, {}) for run in singles]) for stage in names})


def _write(path: Path, template: str, **values: Any) -> None:
    path.write_text(TEMPLATES.get_template(template).render(**values), encoding="utf-8")


def _side_by_side(runs: Sequence[Mapping[str, Any]]) -> list[Row]:
    """A row for everything that a run has."""
    names = dict.fromkeys(name for run in runs for name in run)
    return [(name, [run.get(name, MISSING) for run in runs]) for name in names]


def differing_parameters(runs: Sequence[Mapping[str, Any]]) -> list[Row]:
    """The parameters in which runs differ; ``runs`` are their parameters by name."""
    rows = _side_by_side([{name: parameter_text(value) for name, value in run.items()} for run in runs])
    return [row for row in rows if row[0] not in ("run", "outputs") and len({*row[1]} - {MISSING}) > 1]


def _gains(run: RunState) -> dict[str, Any]:
    """The gains of a run by name; those of the ablations, which have seeds, in the place of the evaluation's."""
    steps: dict[str, Any] = {}
    for stage in run.stages:
        steps |= stage.metrics.get("gains", {})
    named = {f"{STEPS.get(step, step)}: {rate}": gain for step, rates in steps.items() for rate, gain in rates.items()}
    return {name: gain for name, gain in named.items() if "points" in gain}
