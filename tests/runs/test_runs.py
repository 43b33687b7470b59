"""Stages, their keys, and records that survive a kill at any byte."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_notebooks import COLLECT, DONE, DONE_SUM, PARAMETERS, SUM, Item, two_stages, write_notebook

from ledexlib.runs import storage as artifacts
from ledexlib.runs import notebooks
from ledexlib.params import layers as params
from ledexlib.runs import stage as runs
from ledexlib.runs.storage import ArtifactError, JsonLines
from ledexlib.runs.stage import StageError

items = st.lists(
    st.builds(Item, id=st.text(st.characters(codec="utf-8"), max_size=4), value=st.integers(-9, 9)),
    unique_by=lambda item: item.id,
    min_size=1,
    max_size=4,
)


@settings(max_examples=12, deadline=None)
@given(items)
def test_records_survive_a_cut_at_every_byte(tmp_path_factory, records):
    """Whatever prefix of the file a kill leaves, the whole records in it are there and the rest is made once."""
    path = tmp_path_factory.mktemp("cut") / "items.jsonl"
    JsonLines(path, Item).append(records)
    whole = path.read_bytes()
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        resumed = JsonLines(path, Item)
        kept = whole[:size].count(b"\n")
        assert resumed.read() == records[:kept]
        assert resumed.append(records) == len(records) - kept
        assert path.read_bytes() == whole


def test_reading_does_not_change_a_half_written_file(tmp_path):
    path = tmp_path / "items.jsonl"
    path.write_text('{"id": "a", "value": 1}\n{"id": "b", "va')
    before = path.read_bytes()
    assert [item.id for item in JsonLines(path, Item)] == ["a"]
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"id": "a", "value": 1}\nrubbish\n{"id": "b", "value": 2}\n', r"items\.jsonl:2: not a Item"),
        ('{"id": "a", "value": 1}\n\n{"id": "b", "value": 2}\n', r"items\.jsonl:2: not a Item"),
        ('{"id": "a", "value": "x"}\n', r"items\.jsonl:1: not a Item \(value:"),
        ('{"id": "a", "value": 1}\n{"id": "a", "value": 2}\n', r"items\.jsonl:2: the record of line 1 again \('a'\)"),
    ],
)
def test_a_broken_line_is_named(tmp_path, text, message):
    (tmp_path / "items.jsonl").write_text(text)
    with pytest.raises(ArtifactError, match=message):
        JsonLines(tmp_path / "items.jsonl", Item)


def test_a_finished_file_that_was_cut_is_refused(tmp_path):
    (tmp_path / "items.jsonl").write_text('{"id": "a", "value": 1}\n{"id": "b"')
    with pytest.raises(ArtifactError, match=r"items\.jsonl:2: the last line is cut off"):
        JsonLines(tmp_path / "items.jsonl", Item, complete=True)


def test_append_ignores_known_ids_and_sees_a_second_writer(tmp_path):
    first = JsonLines(tmp_path / "items.jsonl", Item)
    assert first.append([Item(id="a", value=1), Item(id="a", value=2)]) == 1
    second = JsonLines(tmp_path / "items.jsonl", Item)
    assert second.append([Item(id="a", value=3)]) == 0 and "a" in second and len(second) == 1
    second.append([Item(id="b", value=1)])
    with pytest.raises(ArtifactError, match="another process"):
        first.append([Item(id="c", value=1)])
    assert [item.id for item in second] == ["a", "b"]


def test_appending_while_reading_gives_the_records_of_the_start(tmp_path):
    lines = JsonLines(tmp_path / "items.jsonl", Item)
    lines.append([Item(id="a", value=1), Item(id="b", value=2)])
    for item in lines:
        lines.append([Item(id=item.id * 2, value=item.value)])
    assert [item.id for item in lines] == ["a", "b", "aa", "bb"]


def test_kill_9_between_appends_loses_nothing(tmp_path):
    """A process that appends as fast as it can is killed; every record it reported is in the file."""
    path = tmp_path / "items.jsonl"
    code = (
        "import sys; from pydantic import BaseModel; from ledexlib.artifacts import JsonLines\n"
        "class Item(BaseModel):\n    id: str\n    value: int\n"
        "lines = JsonLines(sys.argv[1], Item)\n"
        "for i in range(len(lines), 10**6):\n"
        "    lines.append([Item(id=str(i), value=i)]); print(i, flush=True)\n"
    )
    last = -1
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == f"{last + 1}\n"
        time.sleep(0.1)
        process.kill()
        reported = process.communicate()[0].split()
        found = [item.value for item in JsonLines(path, Item)]
        assert found == list(range(len(found))) and len(found) > int(reported[-1])
        last = found[-1]


def test_json_is_plain_and_replaced_whole(tmp_path):
    import numpy as np

    path = tmp_path / "metrics.json"
    artifacts.write_json(path, {"a": np.float64(0.5), "b": float("nan"), "c": [np.int64(3)], "d": (1, "é")})
    assert artifacts.read_json(path) == {"a": 0.5, "b": None, "c": [3], "d": [1, "é"]}
    with pytest.raises(TypeError):
        artifacts.write_json(path, {"a": object()})
    assert artifacts.read_json(path)["a"] == 0.5 and os.listdir(tmp_path) == ["metrics.json"]


def test_a_lock_dies_with_its_holder(tmp_path):
    code = "import sys, time; from pathlib import Path; from ledexlib.artifacts import lock\n"
    code += "held = lock(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "l")], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    assert artifacts.lock(tmp_path / "l") is None
    assert (tmp_path / "l").read_text() == f"{holder.pid}\n"
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    assert artifacts.lock(tmp_path / "l") is not None


@pytest.fixture
def parameters(tmp_path):
    return params.check({"run": "r", "outputs": str(tmp_path / "outputs"), "max_problems": 3})


def collect(folder, p, count=3):
    """Make 01_collect without a kernel."""
    stage = runs.open_stage("01_collect", p, folder)
    stage.records("items.jsonl", Item).append(Item(id=str(i), value=i) for i in range(count))
    stage.done({"records": count})
    return stage


def test_a_stage_is_done_when_its_last_file_is_written(tmp_path, parameters):
    folder = two_stages(tmp_path / "nb")
    stage = collect(folder, parameters)
    assert artifacts.read_json(stage.folder / "metrics.json") == {"records": 3}
    done = artifacts.read_json(stage.folder / "done.json")
    assert done["key"] == stage.key and done["needs"] == {} and done["parameters"] == {"max_problems": 3, "seed": 0}
    second = runs.open_stage("02_sum", parameters, folder)
    source = second.need("01_collect")
    assert source.metrics == {"records": 3} and len(source.records("items.jsonl", Item)) == 3
    with pytest.raises(StageError, match=r"01_collect wrote no other\.jsonl.*items\.jsonl"):
        source.path("other.jsonl")
    about = artifacts.read_json(stage.folder.parent / "run.json")
    assert about["parameters"]["max_problems"] == 3 and about["stages"]["01_collect"]["key"] == stage.key
    assert about["hardware"]["cores"] >= 1 and about["versions"]["papermill"] and len(about["commit"]) == 40


def test_a_missing_stage_is_named_with_the_command_that_makes_it(tmp_path, parameters):
    folder = two_stages(tmp_path / "nb")
    command = r"python -m ledexlib run PARAMS\.yaml --run r --to 01_collect"
    with pytest.raises(StageError, match=rf"(?s)02_sum needs 01_collect, which has not been run.*{command}"):
        runs.open_stage("02_sum", parameters, folder)
    runs.open_stage("01_collect", parameters, folder)
    with pytest.raises(StageError, match="was started but is not complete"):
        runs.open_stage("02_sum", parameters, folder)


def test_a_damaged_stage_is_refused(tmp_path, parameters):
    folder = two_stages(tmp_path / "nb")
    stage = collect(folder, parameters)
    with (stage.folder / "items.jsonl").open("ab") as file:
        file.truncate(40)
    with pytest.raises(StageError, match=r"damaged: .*items\.jsonl has 40 bytes"):
        runs.open_stage("02_sum", parameters, folder)


def test_a_stage_older_than_its_source_is_refused(tmp_path, parameters):
    folder = two_stages(tmp_path / "nb")
    write_notebook(folder, "03_more", ['source = stage.need("02_sum")', "stage.done({})"])
    collect(folder, parameters)
    runs.open_stage("02_sum", parameters, folder).done({})
    assert runs.open_stage("03_more", parameters, folder).need("02_sum").name == "02_sum"
    write_notebook(folder, "01_collect", [COLLECT, "print('changed')", DONE])
    collect(folder, parameters)
    with pytest.raises(StageError, match="needs 02_sum, which was made from an earlier 01_collect"):
        runs.open_stage("03_more", parameters, folder)


def test_a_stage_made_with_other_parameters_is_refused(tmp_path, parameters):
    folder = two_stages(tmp_path / "nb")
    collect(folder, parameters)
    other = parameters.model_copy(update={"max_problems": 5, "workers": 7})
    with pytest.raises(StageError, match=r"made with max_problems = 3, now 5\.\nRun 01_collect again"):
        runs.open_stage("02_sum", other, folder)


def test_the_key_follows_what_influences_results(tmp_path, parameters):
    folder = two_stages(tmp_path / "nb")

    def key(p=parameters, needs=None):
        return runs.stage_key(notebooks.read(folder / "01_collect.ipynb"), p, needs or {})

    first = key()
    assert key(parameters.model_copy(update={"workers": 9, "run": "other", "outputs": "elsewhere"})) == first
    assert key(parameters.model_copy(update={"n_solutions": 3})) == first, "the notebook does not declare it"
    assert key(parameters.model_copy(update={"seed": 1})) != first
    assert key(needs={"00_x": "k"}) != first
    write_notebook(folder, "01_collect", [COLLECT, DONE], PARAMETERS.replace("# how many", "# so many"))
    assert key() == first, "a comment in the parameters cell"
    write_notebook(folder, "01_collect", [COLLECT + "\n1 + 1", DONE])
    assert key() != first


def test_names_left_out_of_the_key_are_parameters():
    assert set(params.FIELDS) >= runs.NOT_IN_KEY


def test_records_of_another_key_are_moved_aside(tmp_path, parameters, capsys):
    folder = two_stages(tmp_path / "nb")
    old = collect(folder, parameters)
    for _ in range(2):
        other = runs.open_stage("01_collect", parameters.model_copy(update={"seed": 1}), folder)
        assert len(other.records("items.jsonl", Item)) == 0
        runs.open_stage("01_collect", parameters, folder)
    names = {path.name for path in old.folder.parent.iterdir() if path.is_dir()}
    kept = f"01_collect.old-{old.key[:8]}"
    assert {kept, f"{kept}-2", f"01_collect.old-{other.key[:8]}"} < names
    assert len(JsonLines(old.folder.parent / kept / "items.jsonl", Item)) == 3
    assert kept in capsys.readouterr().out


def test_opening_again_goes_on_and_adds_up_the_time(tmp_path, parameters):
    folder = two_stages(tmp_path / "nb")
    stage = runs.open_stage("01_collect", parameters, folder)
    stage.records("items.jsonl", Item).append([Item(id="0", value=0)])
    about = json.loads((stage.folder / "stage.json").read_text())
    artifacts.write_json(stage.folder / "stage.json", about | {"opened": time.time() - 100})
    assert len(runs.open_stage("01_collect", parameters, folder).records("items.jsonl", Item)) == 1
    collect(folder, parameters)
    assert 99 < artifacts.read_json(stage.folder / "done.json")["seconds"] < 110


def test_figures_are_saved_in_the_stage(tmp_path, parameters):
    from matplotlib.figure import Figure

    stage = runs.open_stage("01_collect", parameters, two_stages(tmp_path / "nb"))
    fig = Figure()
    fig.subplots().plot([1, 2])
    path = stage.figure(fig, "curve")
    assert path == stage.folder / "figures" / "curve.png" and path.read_bytes().startswith(b"\x89PNG")


def test_progress_counts_writes_and_prints_rarely(tmp_path, monkeypatch, capsys):
    clock = [0.0]
    monkeypatch.setattr(artifacts.time, "monotonic", lambda: clock[0])
    with artifacts.Progress(tmp_path, 7210, "items", done=10) as progress:
        for _ in range(720):
            clock[0] += 5
            progress.advance(10)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "items 30/7,210 (0 %), 2/s, 59 min 50 s left"
    assert lines[-1] == "items 7,210/7,210, 10 of them made before, 7,200 in 1 h 00 min" and len(lines) == 10
    state = artifacts.read_json(tmp_path / "progress.json")
    assert state["count"] == 7210 and state["rate"] == 2 and state["seconds_left"] == 0
    artifacts.Progress(tmp_path, 7210, "items", done=7210).close()
    assert capsys.readouterr().out == "" and artifacts.read_json(tmp_path / "progress.json")["count"] == 7210


def test_relative_paths_start_at_the_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert runs.resolve("outputs") == runs.ROOT / "outputs" and (runs.ROOT / "ledexlib").is_dir()
    assert runs.resolve(tmp_path) == tmp_path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tags": ()}, "no cells are tagged 'parameters'"),
        ({"parameters": PARAMETERS + "\nhalf = seed / 2"}, "parameters cell, line 6: expected 'name: type = literal"),
        ({"parameters": PARAMETERS + "\nn_solutions: int = 2 * 3"}, "line 6: the default is not a literal"),
        ({"parameters": PARAMETERS + "\nn_solution: int = 2"}, "did you mean 'n_solutions'"),
        ({"parameters": PARAMETERS.replace("seed: int = 0", "seed: int = 'x'")}, "'seed' = 'x'"),
        ({"parameters": PARAMETERS.replace("seed: int = 0", "seed: int =")}, "line 3: invalid syntax"),
        ({"parameters": 'run: str = "scratch"  # name'}, "must declare outputs"),
        ({"cells": ['stage.need("02_sum")']}, "needs '02_sum', which is not the name of an earlier stage"),
        ({"cells": ['runs.open_stage("01_other", p)']}, "opens '01_collect' and '01_other'"),
    ],
)
def test_a_notebook_that_cannot_be_a_stage_is_refused(tmp_path, change, message):
    arguments = {"cells": [COLLECT, DONE]} | change
    path = write_notebook(tmp_path, "01_collect", **arguments)
    with pytest.raises((notebooks.NotebookError, params.ParameterError), match=message) as caught:
        notebooks.read(path)
    assert str(path) in str(caught.value)


def test_stages_are_found_by_name_and_number(tmp_path):
    folder = two_stages(tmp_path)
    for name in ("Untitled", "01_collect-Copy1"):
        (folder / f"{name}.ipynb").write_text("{}")
    found = notebooks.find(folder)
    assert [stage.name for stage in found] == ["01_collect", "02_sum"] and found[1].needs == ("01_collect",)
    assert [notebooks.position(found, wanted) for wanted in ("02_sum", "sum", "02")] == [1, 1, 1]
    with pytest.raises(notebooks.NotebookError, match=r"no stage 'colect'; did you mean 'collect'\? .*01_collect"):
        notebooks.position(found, "colect")
    write_notebook(folder, "01_second", [DONE])
    with pytest.raises(notebooks.NotebookError, match="'01' could be 01_collect or 01_second"):
        notebooks.position(notebooks.find(folder), "01")
    (folder / "01_collect.ipynb").unlink()
    with pytest.raises(notebooks.NotebookError, match=r"has no 01_collect\.ipynb"):
        notebooks.find(folder)


def test_a_need_behind_a_comment_does_not_count(tmp_path):
    path = write_notebook(tmp_path, "02_sum", ['# stage.need("01_collect")', SUM, DONE_SUM])
    assert notebooks.read(path).needs == ("01_collect",)
    path = write_notebook(tmp_path, "02_sum", ['# stage.need("01_collect")', "stage.done({})"])
    assert notebooks.read(path).needs == ()


def test_appending_nothing_cuts_off_a_torn_line(tmp_path):
    path = tmp_path / "items.jsonl"
    JsonLines(path, Item).append([Item(id="a", value=1)])
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"id": "b", "val')
    assert JsonLines(path, Item).append(()) == 0
    assert path.read_bytes() == whole
