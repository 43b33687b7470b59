"""Ablations: which trainings are made, what is made again, and the table's arithmetic."""

from types import SimpleNamespace

import numpy as np
import pytest
import tiny_runs

from ledexlib.evaluation import ablations as ablation
from ledexlib.training.rl import on_policy as own_programs
from ledexlib.report import plots
from ledexlib.runs.storage import JsonLines, write_json
from ledexlib.runs.progress import Progress
from ledexlib.params.layers import ParameterError
from ledexlib.records import Solution
from ledexlib.runs.stage import needed


def test_a_contrast_by_hand():
    """Two seeds, two problems of four samples: 3 and 5 of 8 after, 2 of 8 before."""
    before = np.array([[1, 4], [1, 4]])
    after = np.array([[[1, 4], [2, 4]], [[2, 4], [3, 4]]])
    found = ablation.contrast(after, before)
    assert found.value == pytest.approx(50 - 25) and found.n == 2
    # The least: the first seed twice, the first problem twice; the most: the second seed and problem
    assert found.low == pytest.approx(0) and found.high == pytest.approx(50)
    assert ablation.contrast(after[:1], before).low == 0 and ablation.contrast(before[None], before).high == 0


def test_a_contrast_with_trainings_of_the_same_seeds_by_hand():
    """The second seed does better by one of eight than the first in both, which says nothing about the difference."""
    before = np.array([[[1, 4], [1, 4]], [[2, 4], [1, 4]]])
    after = before + np.array([[1, 0], [0, 0]])
    found = ablation.contrast(after, before)
    assert found.value == pytest.approx(100 / 8)
    assert (found.low, found.high) == (pytest.approx(0), pytest.approx(25))  # the second problem twice, the first twice
    assert ablation.contrast(before, before) == (0, 0, 0, 2)


def test_every_variant_changes_one_thing():
    changed = [changes for _, changes in ablation.VARIANTS.values()]
    assert changed[0] == {} and all(len(changes) == 1 for changes in changed[1:])
    assert len({str(changes) for changes in changed}) == len(changed)


def test_all_else_is_as_the_run_has_it(run):
    p, stage = run
    own = p.model_copy(update={"ablations": ["own", "single"], "ablation_seeds": 2, "ppo_algorithm": "grpo"})
    mine, other, single, _ = ablation.cells(own, stage.need)
    assert (mine.label, other.label) == ("own-0", "own-1") and mine.params == own
    assert other.params == own.model_copy(update={"seed": 1})
    assert single.params == own.model_copy(update={"ppo_credit": "single"})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on which ablations can be made, with a stage that holds what the notebook's would."""
    folder = tmp_path_factory.mktemp("runs") / "r"
    p = tiny_runs.make_run(
        folder, tiny_runs.make_model("llama", tmp_path_factory.mktemp("llama")), ppo_steps=1, ppo_epochs=1,
        ablations=["own", "grpo"], ablation_seeds=1, evaluate_benchmarks=["mini-mbpp"], evaluate_max_problems=2,
        n_samples=2, evaluate_max_tokens=6,
    )  # fmt: skip
    (folder / "09_ablations").mkdir()
    for name in ("03_rewards", "04_sft"):
        (folder / name).mkdir(exist_ok=True)
        write_json(folder / name / "done.json", {"key": f"key of {name}", "files": {}, "needs": {}})

    def need(name):
        return needed(folder, name, by="09_ablations")

    def progress(total, label, done=0):
        return Progress(folder / "09_ablations", total, label, done)

    return p, SimpleNamespace(need=need, progress=progress)


def test_what_was_trained_and_evaluated_is_not_made_again(run):
    p, stage = run
    cells = ablation.cells(p, stage.need)
    assert [cell.label for cell in cells] == ["own-0", "grpo-0"]
    attempts = dict(ablation.make(cells, p, stage))
    assert list(attempts) == ["04_sft", "own-0", "grpo-0"]
    made = [cell.folder / "model" / "model.safetensors" for cell in cells]
    kept = [path for cell in cells for path in cell.folder.rglob("completions.jsonl")]
    assert len(kept) == 2
    times = [path.stat().st_mtime_ns for path in made + kept]
    more = p.model_copy(update={"ablations": ["grpo", "own"], "n_unbroken": 0})
    again = dict(ablation.make(ablation.cells(more, stage.need), more, stage))
    assert [path.stat().st_mtime_ns for path in made + kept] == times and list(again)[1] == "grpo-0"
    tasks = ablation.task_table(attempts, p)
    gained = ablation.gains(cells, tasks)
    assert list(gained["rate"]) == list(ablation.RATES.values()) * 3 and gained[["low", "high"]].notna().all(axis=None)
    pairs = list(dict.fromkeys(zip(gained["variant"], gained["than"], strict=True)))
    assert pairs == [("own", "04_sft"), ("grpo", "04_sft"), ("grpo", "own")]
    by = gained.set_index(["variant", "than", "rate"])["value"]
    for rate in (ablation.RATES["explain"], ablation.RATES["initial"]):
        less = by["grpo", "04_sft", rate] - by["own", "04_sft", rate]
        assert by["grpo", "own", rate] == pytest.approx(less)
    over = ablation.headline(cells, tasks)["rl_over_sft"]["pass@1"]
    assert (over["points"], over["n_seeds"]) == (round(by["own", "04_sft", ablation.RATES["explain"]], 2), 1)
    assert ablation.headline(cells[1:], tasks) == {}, "the run's own settings are not among them"
    table = ablation.table(gained, cells)
    assert list(table["variant"]) == ["own", "grpo"] and table["repaired"].notna().all()
    less = by["grpo", "own", ablation.RATES["explain"]]
    assert table["less own"][0] == "–" and table["less own"][1].startswith(f"{less:+.1f} [")
    assert len(plots.ablation(gained).axes) == 6
    assert len(plots.variants([ablation.log(cell) for cell in cells]).axes) == 3


def test_cells_of_a_seed_repair_the_same_programs_which_are_written_once(run):
    p, stage = run
    own = {"ppo_programs": "own", "reward_references": "task", "n_solutions": 2, "solution_max_tokens": 8}
    found = ablation.cells(p.model_copy(update=own), stage.need)
    made = ablation.make(found, p, stage)
    assert [next(made)[0], next(made)[0]] == ["04_sft", "own-0"]
    first, second = (cell.folder / own_programs.SOLUTIONS for cell in found)
    written = JsonLines(first, Solution).read()
    marked = [written[0].model_copy(update={"completion": "marked"}), *written[1:]]  # what sampling would not repeat
    first.unlink()
    JsonLines(first, Solution).append(marked)
    assert next(made)[0] == "grpo-0"
    assert JsonLines(second, Solution).read() == marked


def test_a_cell_is_filled_by_a_command_where_the_notebook_finds_it(run, capsys):
    p, stage = run
    given = [str(stage.need("04_sft").folder.parent / "params.yaml"), "--run", "r", "--set", "ppo_lr=0.002"]
    assert ablation.main([*given, "--cells", "grpo-1"]) == 2
    assert "--cells: grpo-1 is none of own-0, grpo-0" in capsys.readouterr().err
    assert ablation.main([*given, "--cells", "grpo-0"]) == 0
    mine = p.model_copy(update={"ppo_lr": 0.002})
    (cell,) = (cell for cell in ablation.cells(mine, stage.need) if cell.label == "grpo-0")
    made = cell.folder / "model" / "model.safetensors"
    time = made.stat().st_mtime_ns
    assert len(dict(ablation.make([cell], mine, stage))["grpo-0"]["mini-mbpp"]) == 4 and made.stat().st_mtime_ns == time


def test_cells_are_told_apart_by_what_they_follow_from(run):
    p, stage = run
    (first, *_) = ablation.cells(p, stage.need)
    for update in ({"ppo_lr": 1e-5}, {"seed": 1}, {"explanation_clip": True}, {"ppo_credit": "single"}):
        assert ablation.cells(p.model_copy(update=update), stage.need)[0].folder != first.folder
    for update in ({"ppo_save_every": 3}, {"n_samples": 5}, {"evaluate_temperature": 0.1}):
        assert ablation.cells(p.model_copy(update=update), stage.need)[0].folder == first.folder
    seeds = ablation.cells(p.model_copy(update={"ablation_seeds": 3}), stage.need)
    assert [cell.seed for cell in seeds] == [0, 1, 2] * 2 and len({cell.folder for cell in seeds}) == 6


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["papre"], "did you mean 'paper'"),
        (["own", "own"], "listed twice"),
        (["own", "ppo"], "'ppo' changes nothing, the run has ppo_algorithm = ppo already; 'own' is that"),
    ],
)
def test_variants_that_are_not_there_are_refused(run, names, message):
    p, stage = run
    with pytest.raises(ParameterError, match=message):
        ablation.cells(p.model_copy(update={"ablations": names}), stage.need)
