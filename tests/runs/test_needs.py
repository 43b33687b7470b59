"""A stage that needs what a parameter names: nothing, one stage, or a stage that is not there."""

import pytest
from tiny_notebooks import COLLECT, DONE, PARAMETERS, write_notebook

from ledexlib.runs import notebooks
from ledexlib.runner import execution as pipeline
from ledexlib.runs import stage as runs
from ledexlib.runs.notebooks import NotebookError
from ledexlib.runs.stage import StageError
from ledexlib.params.vocabulary import Params

CHOOSING = f'{PARAMETERS}\nevaluate_models: list[str] = ["base", "04_sft"]  # models'
NAMED = "evaluate_models=[base, 01_collect]"
READ = """sources = stage.need_each("evaluate_models")  # .need("01_nothing") in a comment is not meant
total = sum(item.value for source in sources.values() for item in source.records("items.jsonl", Item))"""
DONE_TOTAL = 'stage.done({"total": total, "sources": sorted(sources)})'


@pytest.fixture
def folder(tmp_path):
    write_notebook(tmp_path / "notebooks", "01_collect", [COLLECT, DONE])
    write_notebook(tmp_path / "notebooks", "06_choose", [READ, DONE_TOTAL], CHOOSING)
    return tmp_path / "notebooks"


def run(folder, *overrides, **more):
    settings = (f"outputs={folder.parent}", "max_problems=3", *overrides)
    return pipeline.run([], settings, name="r", folder=folder, **more)


def metrics(folder):
    return runs.needed(folder.parent / "r", "06_choose", by="a test").metrics


def test_a_stage_needs_what_its_parameter_names(folder):
    assert run(folder, NAMED) == 0
    assert metrics(folder) == {"total": 21, "sources": ["01_collect"]}
    done = runs.needed(folder.parent / "r", "06_choose", by="a test").done
    assert list(done["needs"]) == ["01_collect"]


def test_a_stage_that_is_not_named_is_not_needed(folder):
    assert run(folder, "evaluate_models=[base]", first="06") == 0
    assert metrics(folder) == {"total": 0, "sources": []}


def test_a_named_stage_that_was_not_made_or_does_not_exist_is_refused_before_anything_runs(folder):
    with pytest.raises(StageError, match="06_choose needs 01_collect, which has not been run"):
        run(folder, NAMED, first="06")
    with pytest.raises(NotebookError, match=r"06_choose needs 05_ppo, and .* has no 05_ppo\.ipynb"):
        run(folder, "evaluate_models=[05_ppo]")
    with pytest.raises(NotebookError, match="evaluate_models names '07_iterate', which is not a stage before"):
        run(folder, "evaluate_models=[07_iterate]")


def test_the_parameter_must_be_a_list_that_the_notebook_declares(tmp_path):
    path = write_notebook(tmp_path, "06_choose", ['stage.need_each("max_problems")'])
    with pytest.raises(NotebookError, match=r"need_each\('max_problems'\): the parameters cell declares no list"):
        notebooks.read(path)


def test_several_stages_on_a_line_are_all_found(tmp_path):
    path = write_notebook(tmp_path, "03_x", ['a, b = stage.need("01_a"), stage.need("02_b")  # and .need("00_c") not'])
    assert notebooks.read(path).needs == ("01_a", "02_b")
    assert notebooks.read(path).needs_with(Params()) == ("01_a", "02_b")
