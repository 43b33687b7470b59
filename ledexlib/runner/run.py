"""The stages of a run in order, each made by its notebook, stopping at the first that fails; or what that would do."""

import shlex
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from ledexlib import runs
from ledexlib.params import FILES, NOTEBOOKS, ROOT, Params, shown, stated, validate
from ledexlib.report import write_run_page
from ledexlib.runner.checks import check_parameters, check_stages
from ledexlib.runner.execution import StageFailed, make, progress_shown

UP_TO_DATE, OTHER_CODE, WOULD_RUN = "up to date", "made by other code", "would run"


class Planned(NamedTuple):
    """A stage, its key with these parameters, what would happen to it, and why."""
    spec: runs.StageSpec
    key: str
    status: str
    why: str = ""

    @property
    def runs(self) -> bool:
        return self.status == WOULD_RUN

    def __str__(self) -> str:
        return f"{self.status}{f' ({self.why})' if self.why else ''}"


def plan(stages: Sequence[runs.StageSpec], p: Params) -> list[Planned]:
    """What would happen to every stage of the table with these parameters."""
    keys = runs.expected_keys(stages, p)
    return [Planned(spec, keys[spec.name], *_status(spec, keys, p)) for spec in stages]


def _status(spec: runs.StageSpec, keys: Mapping[str, str], p: Params) -> tuple[str, str]:
    """What would happen to a stage, and why."""
    place = runs.holding(runs.run_folder(p) / spec.name, keys[spec.name])
    if place is None:
        return WOULD_RUN, _why_not_there(spec, keys, p)
    try:
        faults = [f"{file} {fault}" for file, fault in runs.damage(place).items()]
        done = runs.read_json(place / "done.json")
    except runs.ArtifactError as error:
        return WOULD_RUN, str(error)
    if done is None or faults:
        return WOULD_RUN, runs.in_words(faults, 1) or "started, not complete"
    if other := runs.changed_code(done.get("code"), spec.notebook):
        return OTHER_CODE, f"changed since: {runs.in_words(other)}"
    return UP_TO_DATE, ""


def _why_not_there(spec: runs.StageSpec, keys: Mapping[str, str], p: Params) -> str:
    """Why a run holds nothing for a stage's key: it is new, or parameters or the stages it needs differ."""
    made = runs.read_json(runs.run_folder(p) / spec.name / "stage.json")
    if made is None:
        return ""
    if different := runs.differences(made["parameters"], spec.influencing(p)):
        return "; ".join(different)
    now = {name: keys[name] for name in spec.needs_with(p)}
    changed = sorted({name for name, _ in now.items() ^ made["needs"].items()})
    return f"needs another {runs.in_words(changed)}" if changed else "asked to be made anew"


def _restore(planned: Planned, p: Params) -> str | None:
    """Bring what a stage's key made back into its folder; what was moved, in words. StageError if it is being made."""
    folder = runs.run_folder(p) / planned.spec.name
    with runs.hold(folder.parent / f".{folder.name}.lock", f"{folder} is being written"):
        return runs.bring_back(folder, planned.key)


def _check_needs(chosen: Sequence[Planned], every: Sequence[Planned], p: Params) -> list[Planned]:
    """The stages that the chosen ones read and that are not among them; raises StageError if one cannot be used."""
    by_name, making = {planned.spec.name: planned for planned in every}, {planned.spec.name for planned in chosen}
    wanted = {name: by for by in chosen for name in by.spec.needs_with(p) if name not in making}
    for name, by in wanted.items():
        if by_name[name].runs:
            fault = f"{by.spec.name} needs {name} of run '{p.run}': {by_name[name].why or 'has not been run'}"
            raise runs.StageError(f"{fault}.\nLeave out --from to make it, or use another --run name.")
    return [by_name[name] for name in wanted]


def run(
    files: Iterable[Path | str], overrides: Iterable[str] = (), name: str | None = None, first: str | None = None,
    last: str | None = None, folder: Path | str = NOTEBOOKS, fresh: Sequence[str] = (), dry_run: bool = False,
    out: TextIO | None = None) -> int:
    """Make the stages of a run from ``first`` to ``last``; the exit status: 0, 1 after a failure, 130 if interrupted.
    ``fresh`` stages are made anew, with all that follow from them; ``dry_run`` says what would be done and checks what
    can be checked without work. Raises Refused before anything runs if something cannot be right."""
    out = out or sys.stdout
    files, overrides = list(files), [*overrides, *([f"run={name}"] if name else [])]
    p, stages = validate(*stated(files, overrides)), runs.read_stages(Path(folder).resolve())
    check_parameters(p, stages)
    chosen = _chosen(stages, first, last)
    anew = {stages[runs.position(stages, wanted)].name for wanted in fresh}
    if dry_run:
        _dry_run(plan(stages, p), chosen, anew, p, out)
        return 0
    with runs.hold(runs.run_folder(p) / ".runner.lock", f"run '{p.run}' is being made"):
        for stage in anew:
            runs.make_anew(p, stage)
        every = plan(stages, p)
        mine = [planned for planned in every if planned.spec.name in chosen]
        for planned in _check_needs(mine, every, p):
            _restore(planned, p)
        check_stages(p, [planned.spec.name for planned in mine if planned.runs])
        runs.record_run(p, command=_command(files, overrides, p.run, folder))
        status = _make_all(mine, p, _injected(files, overrides, p), out)
        if status != 130:
            print(f"report: {shown(write_run_page(runs.run_folder(p)))}", file=out, flush=True)
    return status


def _chosen(stages: Sequence[runs.StageSpec], first: str | None, last: str | None) -> set[str]:
    """The names of the stages from ``first`` to ``last``, whose notebooks must be fit to run."""
    start = runs.position(stages, first) if first else 0
    stop = runs.position(stages, last) if last else len(stages) - 1
    if start > stop:
        raise runs.StageTableError(f"--from {stages[start].name} comes after --to {stages[stop].name}")
    for spec in stages[start : stop + 1]:
        runs.parameters_cell(spec.notebook)
    return {spec.name for spec in stages[start : stop + 1]}


def _dry_run(every: Sequence[Planned], chosen: set[str], anew: set[str], p: Params, out: TextIO) -> None:
    """Say what would be done to each chosen stage, and check what can be checked without work."""
    mine, running = [planned for planned in every if planned.spec.name in chosen], []
    for number, planned in enumerate(mine, start=1):
        name, others = planned.spec.name, anew.intersection(planned.spec.needs_with(p))
        if name in anew or others:
            why = "--fresh" if name in anew else f"needs another {min(others)}"
            anew, planned = {*anew, name}, planned._replace(status=WOULD_RUN, why=why)
        running += [name] if planned.runs else []
        print(f"[{number}/{len(mine)}] {name}: {planned}", file=out)
    _check_needs(mine, every, p)
    check_stages(p, running)
    print("nothing was run; every check passed", file=out)


def _injected(files: Sequence[Path | str], overrides: Sequence[str], p: Params) -> dict[str, Any]:
    """What every notebook gets: the files, and the overrides as parameters."""
    paths = [Path(path).resolve() for path in files]
    named = [str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path) for path in paths]
    values = {name: getattr(p, name) for name in stated((), overrides).values}
    return {"run": p.run, "outputs": p.outputs, FILES: named, **values}


def _command(files: Sequence[Path | str], overrides: Sequence[str], name: str, folder: Path | str) -> str:
    """The command that makes the whole run."""
    words = ["ledex", "run", *map(str, files), "--run", name]
    words += [word for text in overrides if not text.startswith("run=") for word in ("--set", text)]
    words += ["--notebooks", str(folder)] if Path(folder).resolve() != NOTEBOOKS else []
    return shlex.join(words)


def _make_all(mine: Sequence[Planned], p: Params, injected: Mapping[str, Any], out: TextIO) -> int:
    """Make each stage that is not up to date; the exit status."""
    say = partial(print, file=out, flush=True)
    for number, planned in enumerate(mine, start=1):
        label = f"[{number}/{len(mine)}] {planned.spec.name}"
        if moved := _restore(planned, p):
            say(f"{label}: {moved.partition(': ')[2]}")
        if not planned.runs:
            say(f"{label}: {planned}")
            continue
        say(f"{label}: running{f' ({planned.why})' if planned.why else ''}")
        began = time.monotonic()
        try:
            with progress_shown(runs.run_folder(p) / planned.spec.name, label, out):
                make(planned.spec, planned.key, p, injected)
        except StageFailed as failure:
            say(f"{label}: failed after {runs.duration(time.monotonic() - began)}\n{failure}")
            return 1
        except KeyboardInterrupt:
            say(f"\n{label}: interrupted; the same command goes on where it stopped")
            return 130
        say(f"{label}: done in {runs.duration(time.monotonic() - began)}")
    return 0
