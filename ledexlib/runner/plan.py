"""What a run would do: for each stage whether it is up to date, made by other code, or would run, and why."""

from collections.abc import Sequence
from typing import NamedTuple

from ledexlib import runs
from ledexlib.params import Params

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
    return [_planned(spec, keys, p) for spec in stages]


def _planned(spec: runs.StageSpec, keys: dict[str, str], p: Params) -> Planned:
    key = keys[spec.name]
    place = runs.holding(runs.run_folder(p) / spec.name, key)
    if place is None:
        return Planned(spec, key, WOULD_RUN, _why_not_there(spec, keys, p))
    try:
        faults = [f"{file} {fault}" for file, fault in runs.damage(place).items()]
        done = runs.read_json(place / "done.json")
    except runs.ArtifactError as error:
        return Planned(spec, key, WOULD_RUN, str(error))
    if done is None or faults:
        return Planned(spec, key, WOULD_RUN, runs.in_words(faults, 1) or "started, not complete")
    if other := runs.changed_code(done.get("code"), spec.notebook):
        return Planned(spec, key, OTHER_CODE, f"changed since: {runs.in_words(other)}")
    return Planned(spec, key, UP_TO_DATE)


def _why_not_there(spec: runs.StageSpec, keys: dict[str, str], p: Params) -> str:
    """Why a run holds nothing for a stage's key: it is new, or parameters or the stages it needs differ."""
    made = runs.read_json(runs.run_folder(p) / spec.name / "stage.json")
    if made is None:
        return ""
    if different := runs.differences(made["parameters"], spec.influencing(p)):
        return "; ".join(different)
    now = {name: keys[name] for name in spec.needs_with(p)}
    changed = sorted({name for name, _ in now.items() ^ made["needs"].items()})
    return f"needs another {runs.in_words(changed)}" if changed else "asked to be made anew"


def restore(planned: Planned, p: Params) -> str | None:
    """Bring what was made under a stage's key back into its folder; what was moved, in words.
    Raises StageError if a notebook is writing there."""
    folder = runs.run_folder(p) / planned.spec.name
    with runs.hold(folder.parent / f".{folder.name}.lock", f"{folder} is being written"):
        return runs.bring_back(folder, planned.key)


def check_needs(chosen: Sequence[Planned], every: Sequence[Planned], p: Params) -> list[Planned]:
    """The stages that the chosen ones read and that are not among them; raises StageError if one cannot be used."""
    by_name, making = {planned.spec.name: planned for planned in every}, {planned.spec.name for planned in chosen}
    wanted = {name: by for by in chosen for name in by.spec.needs_with(p) if name not in making}
    for name, by in wanted.items():
        if by_name[name].runs:
            fault = f"{by.spec.name} needs {name} of run '{p.run}': {by_name[name].why or 'has not been run'}"
            raise runs.StageError(f"{fault}.\nLeave out --from to make it, or use another --run name.")
    return [by_name[name] for name in wanted]
