"""Reinforcement learning from the fine-tuned model's own wrong programs, with a tiny model that writes only such."""

import pytest
import tiny_runs

from ledexlib.params import ParameterError
from ledexlib.problems import load_problems
from ledexlib.repair.caches import CachedCompletion
from ledexlib.runs import JsonLines, write_records
from ledexlib.training import check_rl
from ledexlib.training.rl import build_prompts, copy_on_policy_programs, load_sources, train_policy
from ledexlib.training.rl.prompts import read_on_policy_programs

OWN = {"ppo_programs": "own", "reward_references": "task", "n_solutions": 3, "solution_max_tokens": 8,
       "prompts_per_batch": 1}  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_runs.make_model("llama", tmp_path_factory.mktemp("llama"))


@pytest.fixture
def made(model, tmp_path):
    """Makes a run in which reinforcement learns from on-policy programs; its parameters and the training's folder."""

    def make(**settings):
        p = tiny_runs.make_run(tmp_path / "r", model, **OWN | settings)
        return p, tmp_path / "r" / "05_ppo"

    return make


def test_the_prompts_show_new_programs_of_the_fine_tuned_model(made):
    p, folder = made()
    sources = load_sources(p, folder)
    drawn = JsonLines(folder / "on_policy" / "model_completions.jsonl", CachedCompletion).read()
    assert len(drawn) == 6, "three for each of two problems"
    assert {(s.model, s.sampling.temperature, s.sampling.max_tokens) for s in sources.wrong} == {("04_sft", 1.0, 8)}
    assert len(sources.wrong) == len({(s.task_id, s.code) for s in sources.wrong})  # the different ones
    assert {s.completion for s in sources.wrong} <= {sample.text for sample in drawn}
    assert all(s.verdict.feedback and not s.verdict.passed for s in sources.wrong)
    prompts = build_prompts(sources, p).used
    assert {prompt.solution_id for prompt in prompts} == {s.id for s in sources.wrong}
    assert {prompt.explain for prompt in prompts} == {False, True}  # the task's references give both


def test_writing_them_goes_on_where_it_was_killed_and_is_done_once(made):
    p, folder = made()
    load_sources(p, folder)
    completions, file = (folder / "on_policy" / name for name in ("model_completions.jsonl", "trajectories.jsonl"))
    whole, found = completions.read_bytes(), read_on_policy_programs(folder)
    file.unlink()
    completions.write_bytes(whole[: len(whole) * 2 // 3])
    load_sources(p, folder)
    assert completions.read_bytes() == whole and read_on_policy_programs(folder) == found
    marked = [found[0].model_copy(update={"solution": found[0].solution.model_copy(update={"completion": "marked"})})]
    write_records(file, marked)
    load_sources(p, folder)
    assert read_on_policy_programs(folder) == marked


def test_another_training_takes_them_over(made, tmp_path):
    p, folder = made()
    copy_on_policy_programs(folder, tmp_path / "other")  # nothing there yet
    assert not (tmp_path / "other").exists()
    load_sources(p, folder)
    copy_on_policy_programs(folder, tmp_path / "other")
    assert read_on_policy_programs(tmp_path / "other") == read_on_policy_programs(folder)


def test_with_references_of_the_same_program_the_teacher_explains_and_repairs_them(made, tmp_path):
    p, folder = made(reward_references="solution", n_solutions=2, n_refinements=4, ppo_max_length=900)
    problems = load_problems("mini-mbpp", "train")[:2]
    tiny_runs.write(tmp_path / "r" / "01_collect" / "problems.jsonl", problems)
    check_rl(p)
    sources = load_sources(p, folder)
    found = read_on_policy_programs(folder)
    assert {t.solution.task_id for t in found} == {problem.task_id for problem in problems}
    assert all(len(t.refinements) == 4 for t in found) and any(t.correct for t in found)
    right = [t for t in found if t.correct]
    for t in right:
        assert {r.code for r in sources.scorer.references(t.id)} == {r.code for r in t.correct}
    prompts = build_prompts(sources, p).used
    assert {p.solution_id for p in prompts} == {t.id for t in right}, "a program without a reference teaches nothing"


def test_it_trains_on_them(made):
    p, folder = made(ppo_steps=1)
    assert (train_policy(p, folder) / "config.json").exists()
    assert read_on_policy_programs(folder)


def test_what_cannot_work_is_refused_before_any_work(made):
    p, folder = made(reward_references="solution", teacher="mini-teacher", teacher_endpoints=["http://localhost:1/v1"])
    with pytest.raises(ParameterError, match="teacher = 'mini-teacher'"):
        check_rl(p)
    with pytest.raises(ParameterError, match=r"on_policy/trajectories\.jsonl: run the first cells of 05_ppo"):
        read_on_policy_programs(folder)
