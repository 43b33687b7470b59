"""Reinforcement learning from the fine-tuned model's own wrong programs, with a tiny model that writes only such."""

import pytest
import tiny_runs

from ledexlib.training.rl import on_policy as own_programs
from ledexlib.training.rl import setup as ppo
from ledexlib.runs.storage import JsonLines
from ledexlib.params.layers import ParameterError
from ledexlib.problems.registry import load_problems
from ledexlib.records import Judged, Solution

OWN = {"ppo_programs": "own", "reward_references": "task", "n_solutions": 3, "solution_max_tokens": 8,
       "prompts_per_batch": 1}  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_runs.make_model("llama", tmp_path_factory.mktemp("llama"))


def files(folder):
    return [(folder / name).read_bytes() for name in own_programs.FILES if (folder / name).exists()]


def test_the_prompts_show_new_programs_of_the_fine_tuned_model(model, tmp_path):
    p = tiny_runs.make_run(tmp_path / "r", model, **OWN)
    folder = tmp_path / "r" / "05_ppo"
    ppo.check(p)
    ppo.prepare(p, folder)
    solutions = JsonLines(folder / own_programs.SOLUTIONS, Solution).read()
    assert [s.task_id for s in solutions] == ["one"] * 3 + ["two"] * 3
    assert {s.model for s in solutions} == {"04_sft"} and {s.sampling.temperature for s in solutions} == {1.0}
    found = ppo.sources(p, folder)
    different = {(s.task_id, s.code) for s in solutions}
    assert {(s.task_id, s.code) for s in found.wrong} == different  # what a model with random weights writes
    assert all(s.verdict.feedback and not s.verdict.passed for s in found.wrong)
    asks = ppo.make_asks(found, p).used
    assert {ask.solution_id for ask in asks} == {s.id for s in found.wrong}
    assert {ask.explain for ask in asks} == {False, True}  # the task's references give both something to compare with


def test_writing_them_goes_on_where_it_was_killed(model, tmp_path):
    p = tiny_runs.make_run(tmp_path / "r", model, **OWN)
    folder = tmp_path / "r" / "05_ppo"
    ppo.prepare(p, folder)
    whole = files(folder)
    path = folder / own_programs.SOLUTIONS
    path.write_bytes(whole[0][: len(whole[0]) * 2 // 3])
    verdicts = JsonLines(folder / own_programs.VERDICTS, Judged)
    kept = verdicts.read()[:1]
    verdicts.path.unlink()
    JsonLines(verdicts.path, Judged).append(kept)
    ppo.prepare(p, folder)
    assert path.read_bytes() == whole[0]
    assert {j.id for j in JsonLines(verdicts.path, Judged)} == {j.id for j in verdicts.read()}
    ppo.prepare(p, folder)
    assert path.read_bytes() == whole[0]


def test_it_trains_on_them(model, tmp_path):
    p = tiny_runs.make_run(tmp_path / "r", model, **OWN, ppo_steps=1)
    folder = tmp_path / "r" / "05_ppo"
    ppo.prepare(p, folder)
    assert (ppo.TRAINING.run(p, folder) / "config.json").exists()


def test_with_references_of_the_same_program_the_teacher_explains_and_repairs_them(model, tmp_path):
    settings = {**OWN, "reward_references": "solution", "n_solutions": 2, "n_refinements": 4, "ppo_max_length": 900}
    p = tiny_runs.make_run(tmp_path / "r", model, **settings)
    problems = load_problems("mini-mbpp", "train")[:2]
    tiny_runs.write(tmp_path / "r" / "01_collect" / "problems.jsonl", problems)
    folder = tmp_path / "r" / "05_ppo"
    ppo.check(p)
    ppo.prepare(p, folder)
    whole = files(folder)
    found = own_programs.read(folder)
    assert len(whole) == 4 and {t.solution.task_id for t in found} == {problem.task_id for problem in problems}
    assert all(len(t.refinements) == 4 for t in found) and any(t.correct for t in found)
    sources = ppo.sources(p, folder)
    right = [t for t in found if t.correct]
    for t in right:
        assert {r.code for r in sources.scorer.references(t.id)} == {r.code for r in t.correct}
    asks = ppo.make_asks(sources, p).used
    assert {ask.solution_id for ask in asks} == {t.id for t in right}, "a program without a reference teaches nothing"
    path = folder / own_programs.REFINEMENTS
    path.write_bytes(path.read_bytes()[:-40])
    ppo.prepare(p, folder)
    assert files(folder) == whole


def test_what_cannot_work_is_refused_before_any_work(model, tmp_path):
    p = tiny_runs.make_run(tmp_path / "r", model, **{**OWN, "reward_references": "solution", "teacher": "gpt"})
    with pytest.raises(ParameterError, match="the simulated teacher is 'mini-teacher'"):
        ppo.check(p)
    with pytest.raises(ParameterError, match=r"own_verdicts\.jsonl: run the first cells of 05_ppo"):
        ppo.sources(p, tmp_path / "r" / "05_ppo")
