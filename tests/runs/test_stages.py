"""Stages: their table, keys, folders and locks; what is kept when parameters or code change."""

import json
import time

import pytest
from tiny_notebooks import COLLECT, DONE, PARAMETERS, TABLE, Item, two_stages, write_notebook, write_table

from ledexlib.params import FIELDS, ROOT, ParameterError, resolve, validate
from ledexlib.runs import (
    EARLIER,
    NOT_IN_KEY,
    JsonLines,
    Progress,
    StageError,
    StageTableError,
    changed_code,
    expected_keys,
    holding,
    make_anew,
    needed,
    open_stage,
    parameters_cell,
    position,
    read_json,
    read_stages,
    stage_key,
    whole,
    write_json,
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of two notebooks, in which they run."""
    two_stages(tmp_path / "nb")
    monkeypatch.chdir(tmp_path / "nb")
    return tmp_path / "nb"


@pytest.fixture
def given(tmp_path):
    """What a notebook states."""
    return {"run": "r", "outputs": str(tmp_path / "outputs"), "max_problems": 3}


def collect(given, count=3):
    """Make 01_collect without a kernel."""
    stage = open_stage("01_collect", given)
    stage.records("items.jsonl", Item).append(Item(id=str(i), value=i) for i in range(count))
    stage.done({"records": count})
    return stage


def test_a_stage_is_done_when_its_last_file_is_written(folder, given):
    stage = collect(given)
    assert read_json(stage.folder / "metrics.json") == {"records": 3}
    done = read_json(stage.folder / "done.json")
    assert done["key"] == stage.key and done["needs"] == {} and done["parameters"] == {"max_problems": 3, "seed": 0}
    second = open_stage("02_sum", given)
    source = second.need("01_collect")
    assert source.metrics == {"records": 3} and len(source.records("items.jsonl", Item)) == 3
    with pytest.raises(StageError, match=r"01_collect wrote no other\.jsonl.*items\.jsonl"):
        source.path("other.jsonl")
    about = read_json(stage.folder.parent / "run.json")
    assert about["parameters"]["max_problems"] == 3 and about["stages"]["01_collect"]["key"] == stage.key
    assert about["hardware"]["cores"] >= 1 and about["versions"]["papermill"] and len(about["commit"]) == 40


def test_the_last_cell_may_run_twice(folder, given, capsys):
    stage = collect(given)
    stage.done({"records": 4})
    assert read_json(stage.folder / "metrics.json") == {"records": 4} and whole(stage.folder)
    assert capsys.readouterr().out.count("01_collect done after") == 2


def test_a_missing_stage_is_named_with_the_command_that_makes_it(folder, given):
    command = r"ledex run PARAMS\.yaml --run r --to 01_collect"
    with pytest.raises(StageError, match=rf"(?s)02_sum needs 01_collect, which has not been run.*{command}"):
        open_stage("02_sum", given)
    open_stage("01_collect", given)
    with pytest.raises(StageError, match="was started but is not complete"):
        open_stage("02_sum", given)


def test_every_file_of_a_stage_is_listed_and_a_damaged_one_makes_it_incomplete(folder, given):
    stage = open_stage("01_collect", given)
    stage.records("items.jsonl", Item).append([Item(id="0", value=0)])
    stage.path("model/config.json").write_text("{}")
    stage.path("model/weights.bin").write_bytes(b"12345")
    stage.done({})
    done = read_json(stage.folder / "done.json")
    assert set(done["files"]) == {"items.jsonl", "metrics.json", "model/config.json", "model/weights.bin"}
    (stage.folder / "model" / "weights.bin").write_bytes(b"123")
    with pytest.raises(StageError, match=r"damaged: .*weights\.bin has 3 bytes, not the 5"):
        open_stage("02_sum", given)
    assert not whole(stage.folder)
    again = open_stage("01_collect", given)
    assert not (again.folder / "model").exists() and not (again.folder / "done.json").exists()
    assert len(again.records("items.jsonl", Item)) == 1, "records that cost something stay"


def test_a_stage_older_than_its_source_is_refused(folder, given):
    write_notebook(folder, "03_more", ['source = stage.need("02_sum")', "stage.done({})"])
    write_table(folder, TABLE + "03_more: {needs: [02_sum], parameters: [seed]}\n")
    collect(given)
    open_stage("02_sum", given).done({})
    assert open_stage("03_more", given).need("02_sum").name == "02_sum"
    collect(given | {"seed": 1})
    with pytest.raises(StageError, match="needs 02_sum, which was made from an earlier 01_collect"):
        open_stage("03_more", given)


def test_what_a_notebook_does_not_state_is_what_the_needed_stages_were_made_with(folder, given):
    collect(given)
    stage = open_stage("02_sum", {name: given[name] for name in ("run", "outputs")})
    rows = {row["name"]: row for row in stage.parameter_rows}
    assert stage.params.max_problems == 3 and rows["max_problems"]["source"] == "01_collect"
    assert rows["seed"]["value"] == 0 and rows["seed"]["description"] == FIELDS["seed"].description


def test_a_stage_made_with_other_parameters_is_refused(folder, given):
    collect(given)
    with pytest.raises(StageError, match=r"made with max_problems = 3, now 5\.\nRun 01_collect again"):
        open_stage("02_sum", given | {"max_problems": 5, "workers": 7})


def test_the_key_follows_parameters_and_needs_and_nothing_else(folder, given):
    spec = read_stages(folder)[0]

    def key(needs=None, **changed):
        return stage_key(spec, validate(given | changed), needs or {})

    first = key()
    assert key(workers=9, run="other", outputs="elsewhere") == first
    assert key(n_solutions=3) == first, "the table does not name it"
    assert key(seed=1) != first and key({"00_x": "k"}) != first
    write_notebook(folder, "01_collect", [COLLECT + "\nprint('a view')", DONE])
    assert key() == first


def test_names_left_out_of_the_key_are_parameters():
    assert set(FIELDS) >= NOT_IN_KEY


def test_a_parameter_changed_back_finds_the_earlier_records(folder, given, capsys):
    first = collect(given)
    open_stage("02_sum", given).done({"total": 3})
    other = open_stage("01_collect", given | {"seed": 1})
    assert len(other.records("items.jsonl", Item)) == 0
    aside = first.folder.parent / EARLIER / f"01_collect-{first.key[:12]}"
    assert len(JsonLines(aside / "items.jsonl", Item)) == 3 and aside.name in capsys.readouterr().out
    back = open_stage("01_collect", given)
    assert len(back.records("items.jsonl", Item)) == 3 and whole(back.folder) and not aside.exists()
    assert "the records of these parameters are back" in capsys.readouterr().out
    assert needed(first.folder.parent, "02_sum", by="a test").metrics == {"total": 3}


def test_a_stage_made_anew_gives_all_that_need_it_other_keys(folder, given):
    stages, p = read_stages(folder), validate(given)
    first = collect(given)
    before = expected_keys(stages, p)
    make_anew(p, "01_collect")
    after = expected_keys(stages, p)
    assert before["01_collect"] == first.key and all(before[name] != after[name] for name in before)
    assert holding(first.folder, after["01_collect"]) is None
    assert len(open_stage("01_collect", given).records("items.jsonl", Item)) == 0


def test_other_code_is_named_and_throws_nothing_away(folder, given, capsys):
    stage = collect(given)
    made_by = read_json(stage.folder / "done.json")["code"]
    assert changed_code(made_by, folder / "01_collect.ipynb") == []
    assert "ledexlib/runs/stage.py" in made_by
    write_notebook(folder, "01_collect", [COLLECT, "print('a view')", DONE])
    (changed,) = changed_code(made_by, folder / "01_collect.ipynb")
    assert changed.endswith("/01_collect.ipynb")
    again = open_stage("01_collect", given)
    assert len(again.records("items.jsonl", Item)) == 3
    assert "made by other code, and used (changed since: " in capsys.readouterr().out
    again.done({})
    assert read_json(again.folder / "done.json")["code"] == made_by, "its records are old"
    open_stage("02_sum", given)
    assert "01_collect was made by other code" in capsys.readouterr().out


def test_a_comment_or_a_text_is_no_other_code(folder, given):
    stage = collect(given)
    made_by = read_json(stage.folder / "done.json")["code"]
    write_notebook(folder, "01_collect", [COLLECT, DONE], PARAMETERS.replace("# how many", "# so many"))
    assert changed_code(made_by, folder / "01_collect.ipynb") == []


def test_opening_again_goes_on_and_adds_up_the_time(folder, given):
    stage = open_stage("01_collect", given)
    stage.records("items.jsonl", Item).append([Item(id="0", value=0)])
    about = json.loads((stage.folder / "stage.json").read_text())
    write_json(stage.folder / "stage.json", about | {"opened": time.time() - 100})
    assert len(open_stage("01_collect", given).records("items.jsonl", Item)) == 1
    collect(given)
    assert 99 < read_json(stage.folder / "done.json")["seconds"] < 110


def test_figures_are_saved_in_the_stage(folder, given):
    from matplotlib.figure import Figure

    stage = open_stage("01_collect", given)
    fig = Figure()
    fig.subplots().plot([1, 2])
    path = stage.figure(fig, "curve")
    assert path == stage.folder / "figures" / "curve.png" and path.read_bytes().startswith(b"\x89PNG")


def test_only_stages_of_the_table_can_be_read(folder, given):
    collect(given)
    second = open_stage("02_sum", given)
    with pytest.raises(StageError, match=r"02_sum does not need 03_x: add it to its needs in .*stages\.yaml"):
        second.need("03_x")
    with pytest.raises(StageError, match=r"stages\.yaml has no stage '05_mine'; add a line"):
        open_stage("05_mine", given)


def test_progress_is_written_and_said_where_nobody_looks_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LEDEX_QUIET", "1")
    with Progress(tmp_path, 30, "items", done=10) as progress:
        for _ in range(20):
            progress.advance()
    shown = capsys.readouterr()
    assert shown.out.startswith("items 30/30, 10 of them made before, 20 in ") and shown.err == ""
    state = read_json(tmp_path / "progress.json")
    assert (state["count"], state["total"], state["label"], state["seconds_left"]) == (30, 30, "items", 0)
    Progress(tmp_path, 30, "items", done=30).close()
    assert capsys.readouterr().out == ""


def test_progress_is_a_bar_where_somebody_looks_on(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("LEDEX_QUIET", raising=False)
    with Progress(tmp_path, 4, "solutions by mini") as progress:
        progress.advance(4)
    shown = capsys.readouterr()
    assert "solutions by mini: 100%" in shown.err and "4/4" in shown.err and shown.out == ""


def test_relative_paths_start_at_the_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolve("outputs") == ROOT / "outputs" and (ROOT / "ledexlib").is_dir()
    assert resolve(tmp_path) == tmp_path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tags": ()}, "no cells are tagged 'parameters'"),
        ({"parameters": PARAMETERS + "\nhalf = seed / 2"}, "parameters cell, line 7: the value is not a literal"),
        ({"parameters": PARAMETERS + "\nprint(1)"}, "parameters cell, line 7: expected 'name: type = literal"),
        ({"parameters": PARAMETERS + "\nn_solution: int = 2"}, "did you mean 'n_solutions'"),
        ({"parameters": PARAMETERS.replace("seed: int = 0", "seed: int = 'x'")}, "'seed' = 'x'"),
        ({"parameters": PARAMETERS.replace("seed: int = 0", "seed: int =")}, "line 3: invalid syntax"),
        ({"parameters": 'run: str = "scratch"  # name'}, "must declare outputs"),
    ],
)
def test_a_notebook_that_cannot_be_a_stage_is_refused(tmp_path, change, message):
    path = write_notebook(tmp_path, "01_collect", **({"cells": [COLLECT, DONE]} | change))
    with pytest.raises((StageTableError, ParameterError), match=message) as caught:
        parameters_cell(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no stages in it"),
        ("01_collect: [", "not valid YAML"),
        ("collect: {}", "'collect' is not a stage's name, such as 01_collect"),
        ("01_a: {needs: [02_b]}\n02_b: {}", "01_a: needs '02_b', which is not the name of an earlier stage"),
        ("01_a: {parameters: [sed]}", "'sed' is neither a group of parameters nor a parameter; did you mean 'seed'"),
        ("01_a: {need: [x]}", "'need' is none of needs, needs_each, parameters"),
        ("01_a: {needs_each: models}", "needs_each: 'models' is not a parameter"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(tmp_path, text, message):
    write_table(tmp_path, text)
    with pytest.raises(StageTableError, match=message):
        read_stages(tmp_path)


def test_stages_are_found_by_name_and_number(tmp_path):
    found = read_stages(two_stages(tmp_path))
    assert [stage.name for stage in found] == ["01_collect", "02_sum"] and found[1].needs == ("01_collect",)
    assert [position(found, wanted) for wanted in ("02_sum", "sum", "02")] == [1, 1, 1]
    with pytest.raises(StageTableError, match=r"no stage 'colect'; did you mean 'collect'\? .*01_collect"):
        position(found, "colect")
    write_table(tmp_path, TABLE + "01_second: {}\n")
    with pytest.raises(StageTableError, match="'01' could be 01_collect or 01_second"):
        position(read_stages(tmp_path), "01")
