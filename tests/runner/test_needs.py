"""A stage that needs what a parameter names: nothing, one stage, or a stage that is not there."""

import pytest
from tiny_notebooks import COLLECT, DONE, PARAMETERS, write_notebook, write_table

from ledexlib import runner
from ledexlib.runs import StageError, StageTableError, needed

TABLE = """\
01_collect: {parameters: [seed, max_problems, workers]}
06_choose: {needs_each: evaluate_models, parameters: [seed, evaluate_models]}
"""
CHOOSING = f'{PARAMETERS}\nevaluate_models: list[str] = ["base", "04_sft"]  # models'
NAMED = "evaluate_models=[base, 01_collect]"
READ = """sources = stage.needs
total = sum(item.value for source in sources.values() for item in source.records("items.jsonl", Item))"""
DONE_TOTAL = 'stage.done({"total": total, "sources": sorted(sources)})'


@pytest.fixture
def folder(tmp_path):
    write_notebook(tmp_path / "notebooks", "01_collect", [COLLECT, DONE])
    write_notebook(tmp_path / "notebooks", "06_choose", [READ, DONE_TOTAL], CHOOSING)
    write_table(tmp_path / "notebooks", TABLE)
    return tmp_path / "notebooks"


def run(folder, *overrides, **more):
    settings = (f"outputs={folder.parent}", "max_problems=3", *overrides)
    return runner.run([], settings, name="r", folder=folder, **more)


def metrics(folder):
    return needed(folder.parent / "r", "06_choose", by="a test").metrics


def test_a_stage_needs_what_its_parameter_names(folder):
    assert run(folder, NAMED) == 0
    assert metrics(folder) == {"total": 21, "sources": ["01_collect"]}
    assert list(needed(folder.parent / "r", "06_choose", by="a test").done["needs"]) == ["01_collect"]


def test_a_stage_that_is_not_named_is_not_needed(folder):
    assert run(folder, "evaluate_models=[base]", first="06") == 0
    assert metrics(folder) == {"total": 0, "sources": []}


def test_a_named_stage_that_was_not_made_or_does_not_exist_is_refused_before_anything_runs(folder):
    with pytest.raises(StageError, match="06_choose needs 01_collect of run 'r': has not been run"):
        run(folder, NAMED, first="06")
    with pytest.raises(StageTableError, match="evaluate_models names '05_ppo', which is no stage"):
        run(folder, "evaluate_models=[05_ppo]")
    with pytest.raises(StageTableError, match="evaluate_models names '07_iterate', which is not a stage before"):
        run(folder, "evaluate_models=[07_iterate]")
