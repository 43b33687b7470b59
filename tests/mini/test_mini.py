"""The mini world: its size, its splits, its tests, its bugs and its teacher."""

import random
from collections import Counter
from itertools import combinations, islice

import pytest

from ledexlib.mini import SimulatedTeacher, corpus, diagnosis, problems, programs, teacher
from ledexlib.models import parse_answer, teacher_messages
from ledexlib.problems import load_problems, verify_programs
from ledexlib.records import Sampling

TESTED = ["mini-mbpp", "mini-humaneval", "mini-mbppplus", "mini-humanevalplus"]  # mini-mixed is for training alone



def test_the_world_is_large_enough():
    assert len(programs.OPERATIONS) >= 60
    assert len({op.takes for op in programs.OPERATIONS.values()}) == 6
    sequences = {(s, c) for s in problems.SPLITS for depth in (2, 3) for c in problems.compositions(s, depth)}
    assert len(sequences) >= 20_000
    made = [problems.make(c, random.Random(0)) for _, c in random.Random(0).sample(sorted(sequences), 300)]
    share = sum(problem is not None for problem in made) / 300
    assert share * len(sequences) >= 20_000, "enough of them must have examples that pin them down"


def test_every_operation_is_worded_coded_and_can_go_wrong():
    for op in programs.OPERATIONS.values():
        assert len(set(op.phrases)) >= 3 and op.slips, op.name
        for slip in op.slips:
            assert any(slip.find in code for code in op.styles.values()), (op.name, slip)
        assert any("{k}" in phrase for phrase in op.phrases) == bool(op.constants), op.name


def combinations_of(steps) -> set[tuple[str, ...]]:
    """Every combination of two or more of these operations."""
    names = sorted(step.operation.name for step in steps)
    return {c for size in range(2, len(names) + 1) for c in combinations(names, size)}


def test_no_combination_of_a_test_problem_occurs_in_any_training_text():
    held_out = {
        problems.combination(mini.steps)
        for benchmark in ("mini-mbpp", "mini-humaneval")
        for mini, _ in problems._loaded(benchmark, "test")
    }
    # Whatever the corpus draws comes from these compositions, and its texts' steps from nothing else.
    for split in ("pretrain", "prompt", "train", "validation"):
        for depth in (2, 3):
            for names in problems.compositions(split, depth):
                inside = {c for size in (2, 3) for c in combinations(sorted(names), size)}
                assert not inside & held_out, names


def test_the_texts_of_the_corpus_hold_no_test_problem():
    sentences = {p.prompt.split("\n")[0] for b in ("mini-mbpp",) for p in load_problems(b, "test")}
    drawn = list(islice(problems.stream("pretrain", "a test"), 300))
    assert all(problems.split_of(problems.combination(p.steps)) == "pretrain" for p in drawn)
    for document in islice(corpus.documents(1), 200):
        text = "".join(part for part, _ in document)
        assert not any(sentence in text for sentence in sentences)


@pytest.mark.parametrize("benchmark", TESTED)
def test_a_benchmark_has_the_papers_size_and_references_that_pass(benchmark):
    tasks = load_problems(benchmark, "test")
    assert 160 <= len(tasks) <= 300
    assert len({t.task_id for t in tasks}) == len(tasks)
    items = [(t.task_id, t, t.reference) for t in tasks[::4]]
    assert all(verdict.passed for _, verdict in verify_programs(items))
    calls = [sum(test.kind == "call" for test in t.tests) for t in tasks]
    assert min(calls) >= 30 if benchmark.endswith("plus") else max(calls) == 0


def test_plus_tests_fail_some_programs_that_pass_the_base_tests():
    """Take the bugs a problem's reference can have: some survive the three assertions and not the further tests."""
    rng, items = random.Random(0), []
    for (mini, base), plus in zip(
        problems._loaded("mini-mbpp", "test"), load_problems("mini-mbppplus", "test"), strict=True
    ):
        style = programs.PLAIN[4]
        for number, bug in enumerate(programs.bugs_of(mini.steps, style, rng)[:6]):
            code = programs.render(mini.steps, style, mini.name, mini.argument, (bug,))
            items += [((base.task_id, number, form), task, code) for form, task in (("base", base), ("plus", plus))]
        if len(items) > 600:
            break
    passed = {key: verdict.passed for key, verdict in verify_programs(items)}
    base_only = [key for key in passed if key[2] == "base" and passed[key] and not passed[(*key[:2], "plus")]]
    assert base_only
    assert not [key for key in passed if key[2] == "plus" and passed[key] and not passed[(*key[:2], "base")]]


def test_prompts_have_the_forms_of_mbpp_and_humaneval():
    task = load_problems("mini", "test")[0]
    assert len(task.prompt.split("\n")) == 4 and task.prompt.count(f"assert {task.entry_point}(") == 3
    stub = load_problems("mini-humaneval", "test")[0]
    assert stub.prompt == stub.stub and stub.prompt.count(">>>") == 2
    assert stub.reference.startswith(stub.stub)


def test_mixed_problems_have_both_forms_in_turn_and_references_that_pass():
    tasks = load_problems("mini-mixed", "train")
    assert {p.benchmark for p in tasks} == {"mini-mixed"} and len(tasks) == len({p.prompt for p in tasks}) == 1000
    assert [bool(p.stub) for p in tasks] == [False, True] * 500
    assert all(verdict.passed for _, verdict in verify_programs((t.task_id, t, t.reference) for t in tasks[::20]))


def test_every_style_of_every_operation_computes_the_same():
    for mini in islice(problems.stream("train", "styles"), 60):
        codes = {programs.render(mini.steps, style, mini.name, mini.argument) for style in programs.ALL_STYLES}
        assert len(codes) > 4
        assert all(diagnosis.feedback_of(code, mini) is None for code in codes), mini.reference


def test_all_kinds_of_bugs_occur_and_most_bugs_fail_the_examples():
    rng, kinds, failing, total = random.Random(0), Counter(), 0, 0
    for mini in islice(problems.stream("train", "bugs"), 120):
        style = rng.choice(programs.ALL_STYLES)
        for bug in programs.bugs_of(mini.steps, style, rng):
            code = programs.render(mini.steps, style, mini.name, mini.argument, (bug,))
            kinds[bug.kind] += 1
            failing += diagnosis.feedback_of(code, mini) is not None
            total += 1
    assert set(kinds) == set(programs.KINDS) and len(kinds) >= 12
    assert failing / total > 0.7


def test_a_single_bug_is_diagnosed_by_its_kind_and_the_nearest_correct_program_passes():
    rng, right, total = random.Random(0), 0, 0
    for mini in islice(problems.stream("train", "diagnosis"), 40):
        style = rng.choice(programs.ALL_STYLES)
        bug = rng.choice(programs.bugs_of(mini.steps, style, rng))
        code = programs.render(mini.steps, style, mini.name, mini.argument, (bug,))
        if diagnosis.feedback_of(code, mini) is None:
            continue
        found = diagnosis.diagnose(mini, code)
        assert diagnosis.feedback_of(found.correct, mini) is None
        right += found.kind == bug.kind
        total += 1
    assert right / total > 0.7


def test_there_are_words_for_every_kind_of_bug():
    assert set(diagnosis.WHAT) == set(programs.KINDS) | {"wrong_name"}
    assert all(len(set(said)) >= 2 for said in diagnosis.WHAT.values())


def wrong_programs(n: int):
    """Tasks with a sloppy program that fails, and what testing it said."""
    rng = random.Random(1)
    for mini, task in problems._loaded("mini-mbpp", "train"):
        code = corpus.sloppy_program(mini, rng)
        feedback = diagnosis.feedback_of(code, mini)
        if feedback is not None:
            yield mini, task, code, feedback
            n -= 1
        if not n:
            return


def test_the_teacher_is_right_about_as_often_as_the_papers():
    simulated = SimulatedTeacher(seed=0)
    right, refined, total = 0, 0, 0
    for mini, task, code, feedback in wrong_programs(250):
        request = teacher_messages(task, code, feedback)
        (answers,) = simulated.generate([request], 4, Sampling(temperature=0.8))
        good = [diagnosis.feedback_of(parse_answer(a.text, task).code, mini) is None for a in answers]
        right, refined, total = right + sum(good), refined + any(good), total + 1
    # 250 programs within reach or not: two standard errors of a share near 0.46 are 0.063.
    assert right / (4 * total) == pytest.approx(0.46, abs=0.07)
    assert refined / total == pytest.approx(0.46, abs=0.08)


def test_the_teacher_explains_varies_and_repeats_itself_exactly():
    simulated = SimulatedTeacher(seed=0)
    explanations = set()
    for _, task, code, feedback in wrong_programs(20):
        request = teacher_messages(task, code, feedback)
        first, again = (simulated.generate([request], 3, Sampling(seed=7)) for _ in range(2))
        assert first == again
        for answer in first[0]:
            read = parse_answer(answer.text, task)
            assert read.explanation and f"def {task.entry_point}" in read.code
            explanations.add(read.explanation)
    assert len(explanations) > 30
    assert simulated.generate([request], 1, Sampling(seed=8)) != simulated.generate([request], 1, Sampling(seed=9))


def test_the_teacher_knows_its_own_world_only():
    foreign = load_problems("mini", "train")[0].model_copy(update={"prompt": "Sort a list."})
    with pytest.raises(ValueError, match=r"mini world only.*Sort a list"):
        SimulatedTeacher().generate([teacher_messages(foreign, "x", "y")], 1, Sampling())


def test_a_dialogue_ends_with_what_is_learned():
    kinds = set()
    for mini in islice(problems.stream("pretrain", "dialogues"), 40):
        parts = teacher.dialogue(mini, random.Random(mini.sentence))
        assert parts[-1][1] and not any(learned for _, learned in parts[:-1])
        kinds.add(parts[0][0].startswith("<|user|>"))
    assert kinds == {True, False}
