"""Ablations: which trainings are made, what is made again, and the table's arithmetic."""

from types import SimpleNamespace

import numpy as np
import pytest
import tiny_runs

from ledexlib.__main__ import main
from ledexlib.evaluation import ablation_gains, ablation_log, ablation_metrics, ablation_table, check_ablations
from ledexlib.evaluation import ablations as ablation
from ledexlib.evaluation.ablations import COMPARED, EXPLAIN, contrast
from ledexlib.evaluation.evaluate import load_evaluation_sets
from ledexlib.evaluation.metrics import task_counts
from ledexlib.params import ParameterError
from ledexlib.problems import ProblemError
from ledexlib.records import Trajectory
from ledexlib.report import plots
from ledexlib.runs import JsonLines, Progress, lock, needed, write_json
from ledexlib.training.rl.prompts import ON_POLICY

PROGRAMS = f"{ON_POLICY}/trajectories.jsonl"


def test_a_contrast_by_hand():
    """Two seeds, two problems of four samples: 3 and 5 of 8 after, 2 of 8 before."""
    before = np.array([[1, 4], [1, 4]])
    after = np.array([[[1, 4], [2, 4]], [[2, 4], [3, 4]]])
    found = contrast(after, before)
    assert found.value == pytest.approx(50 - 25) and found.n == 2
    # The least: the first seed twice, the first problem twice; the most: the second seed and problem
    assert found.low == pytest.approx(0) and found.high == pytest.approx(50)
    assert contrast(after[:1], before).low == 0 and contrast(before[None], before).high == 0


def test_a_contrast_with_trainings_of_the_same_seeds_by_hand():
    """The second seed does better by one of eight than the first in both, which says nothing about the difference."""
    before = np.array([[[1, 4], [1, 4]], [[2, 4], [1, 4]]])
    after = before + np.array([[1, 0], [0, 0]])
    found = contrast(after, before)
    assert found.value == pytest.approx(100 / 8)
    assert (found.low, found.high) == (pytest.approx(0), pytest.approx(25))  # the second problem twice, the first twice
    assert contrast(before, before) == (0, 0, 0, 2)


def test_every_variant_changes_one_thing():
    changed = [changes for _, changes in ablation.VARIANTS.values()]
    assert changed[0] == {} and all(len(changes) == 1 for changes in changed[1:])
    assert len({str(changes) for changes in changed}) == len(changed)


def test_all_else_is_as_the_run_has_it(run):
    p, stage = run
    own = p.model_copy(update={"ablations": ["own", "single"], "ablation_seeds": 2, "ppo_algorithm": "grpo"})
    mine, other, single, _ = ablation.ablation_trainings(own, stage.need)
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

    return p, SimpleNamespace(params=p, need=need, progress=progress)


def run_all(stage, **changed):
    """The trainings of these parameters, and what comes of them."""
    p = stage.params.model_copy(update=changed)
    trainings = ablation.ablation_trainings(p, stage.need)
    here = SimpleNamespace(params=p, need=stage.need, progress=stage.progress)
    return trainings, ablation.run_ablations(trainings, load_evaluation_sets(p), here)


def test_what_was_trained_and_evaluated_is_not_made_again(run):
    p, stage = run
    trainings, found = run_all(stage)
    assert [training.label for training in trainings] == ["own-0", "grpo-0"]
    trajectories = dict(found)
    assert list(trajectories) == ["04_sft", "own-0", "grpo-0"]
    made = [training.folder / "model" / "model.safetensors" for training in trainings]
    cached = [path for training in trainings for path in training.folder.rglob("completions.jsonl")]
    assert len(cached) == 2
    times = [path.stat().st_mtime_ns for path in made + cached]
    again = dict(run_all(stage, ablations=["grpo", "own"], n_unbroken=0)[1])
    assert [path.stat().st_mtime_ns for path in made + cached] == times and list(again)[1] == "grpo-0"
    check_tables(trainings, task_counts(trajectories, load_evaluation_sets(p)))


def check_tables(trainings, counts):
    gained = ablation_gains(trainings, counts)
    assert list(gained["rate"]) == list(COMPARED) * 3 and gained[["low", "high"]].notna().all(axis=None)
    pairs = list(dict.fromkeys(zip(gained["variant"], gained["than"], strict=True)))
    assert pairs == [("own", "04_sft"), ("grpo", "04_sft"), ("grpo", "own")]
    by = gained.set_index(["variant", "than", "rate"])["value"]
    for rate in (EXPLAIN, "initial pass@1"):
        assert by["grpo", "own", rate] == pytest.approx(by["grpo", "04_sft", rate] - by["own", "04_sft", rate])
    metrics = ablation_metrics(trainings, gained, counts)
    over = metrics["gains"]["rl_over_sft"]["pass@1"]
    assert metrics["own"] == over["points"] == round(by["own", "04_sft", EXPLAIN], 2) and over["n_seeds"] == 1
    assert ablation_metrics(trainings[1:], gained, counts)["gains"] == {}, "the run's own settings are not among them"
    table = ablation_table(gained, trainings)
    assert list(table["variant"]) == ["own", "grpo"] and table["repaired"].notna().all()
    less = by["grpo", "own", EXPLAIN]
    assert table["less own"][0] == "–" and table["less own"][1].startswith(f"{less:+.1f} [")
    assert len(plots.ablation(gained).axes) == 6
    assert len(plots.variants([ablation_log(training) for training in trainings]).axes) == 3


def test_trainings_of_a_seed_repair_the_same_programs_which_are_written_once(run):
    own = {"ppo_programs": "own", "reward_references": "task", "n_solutions": 2, "solution_max_tokens": 8}
    trainings, found = run_all(run[1], **own)
    assert [next(found)[0], next(found)[0]] == ["04_sft", "own-0"]
    first, second = (training.folder / PROGRAMS for training in trainings)
    written = JsonLines(first, Trajectory).read()
    solution = written[0].solution.model_copy(update={"completion": "marked"})  # what sampling would not repeat
    marked = [written[0].model_copy(update={"solution": solution}), *written[1:]]
    first.unlink()
    JsonLines(first, Trajectory).append(marked)
    assert next(found)[0] == "grpo-0"
    assert JsonLines(second, Trajectory).read() == marked


def test_a_training_is_made_by_a_command_where_the_notebook_finds_it(run, capsys):
    _, stage = run
    given = ["ablate", str(stage.need("04_sft").folder.parent / "params.yaml"), "--run", "r", "--set", "ppo_lr=0.002"]
    assert main([*given, "--trainings", "grpo-1"]) == 2
    assert "--trainings: grpo-1 is none of own-0, grpo-0" in capsys.readouterr().err
    trainings, _ = run_all(stage, ppo_lr=0.002)
    folder = trainings[1].folder
    folder.mkdir()
    with lock(folder / ".training.lock"):
        assert main([*given, "--trainings", "grpo-0"]) == 2
    assert "is being trained in" in capsys.readouterr().err and not (folder / "model").exists()
    assert main([*given, "--trainings", "grpo-0"]) == 0
    made = folder / "model" / "model.safetensors"
    time = made.stat().st_mtime_ns
    found = dict(run_all(stage, ppo_lr=0.002, ablations=["grpo"])[1])
    assert len(found["grpo-0"]["mini-mbpp"]) == 4 and made.stat().st_mtime_ns == time


def test_trainings_are_told_apart_by_what_they_follow_from(run):
    p, stage = run

    def trainings(**changed):
        return ablation.ablation_trainings(p.model_copy(update=changed), stage.need)

    first = trainings()[0]
    for update in ({"ppo_lr": 1e-5}, {"seed": 1}, {"explanation_clip": True}, {"ppo_credit": "single"}):
        assert trainings(**update)[0].folder != first.folder
    for update in ({"ppo_save_every": 3}, {"n_samples": 5}, {"evaluate_temperature": 0.1}):
        assert trainings(**update)[0].folder == first.folder
    seeds = trainings(ablation_seeds=3)
    assert [training.seed for training in seeds] == [0, 1, 2] * 2
    assert len({training.folder for training in seeds}) == 6


def test_nothing_asked_for_is_nothing_done(run):
    trainings, found = run_all(run[1], ablations=[])
    gained = ablation_gains(trainings, task_counts(dict(found), []))
    assert trainings == [] and gained.empty
    assert ablation_metrics(trainings, gained, task_counts({}, [])) == {"trainings": 0, "gains": {}}


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"ablations": ["papre"]}, ParameterError, "did you mean 'paper'"),
        ({"ablations": ["own", "own"]}, ParameterError, "listed twice"),
        ({"ablations": ["own", "ppo"]}, ParameterError,
         "'ppo' changes nothing, the run has ppo_algorithm = ppo already; 'own' is that"),
        ({"ppo_rounds": 2, "ablations": ["own", "isolated"]}, ParameterError, "isolated would hide"),
        ({"evaluate_benchmarks": ["mini-mbp"]}, ProblemError, "did you mean 'mini-mbpp'"),
    ],
)  # fmt: skip
def test_ablations_that_cannot_be_are_refused_before_any_work(run, values, error, message):
    with pytest.raises(error, match=message):
        check_ablations(run[0].model_copy(update=values))
