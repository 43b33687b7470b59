"""What is kept of a model: samples are drawn once, a torn file is mended, other settings are refused."""

import shutil
from functools import partial

import pytest
from tiny_models import make_checkpoint

from ledexlib.runs.storage import ArtifactError
from ledexlib.runs.progress import Progress
from ledexlib.evaluation.cache import Candidate, EvaluationError, Kept, fingerprint, label_of, settings
from ledexlib.models.local.generator import TransformersGenerator
from ledexlib.records import Assertion, Problem
from ledexlib.params.vocabulary import Params

PROMPTS = ["def add(a", "for x in", "Task: Write", "return", "[BEGIN]"]
ASKED = [prompt for prompt in PROMPTS for _ in range(3)]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return make_checkpoint("llama", tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def kept(tmp_path, checkpoint):
    """Opens the model's folder; ``loads`` counts how often the model itself was needed."""

    def open_(**changed) -> Kept:
        p = Params(**{"evaluate_max_tokens": 8, "answers_per_batch": 6, "timeout": 5.0} | changed)

        def load():
            open_.loads += 1
            return TransformersGenerator(checkpoint)

        made_with = settings(Candidate("tiny", str(checkpoint), "chat"), p)
        return Kept(tmp_path / "kept", made_with, load, p, partial(Progress, tmp_path))

    open_.loads, open_.file = 0, tmp_path / "kept" / "completions.jsonl"
    return open_


def texts(kept, prompts=ASKED, who="one"):
    return [answered.text for answered in kept.completions.ask(prompts, who)]


def test_each_occurrence_of_a_prompt_gets_a_sample_of_its_own(kept):
    found = kept().completions.ask(ASKED, "one")
    assert len({answered.id for answered in found}) == len(ASKED) and len({a.text for a in found}) > len(PROMPTS)
    shuffled = kept().completions.ask(ASKED[::-1], "one")
    assert {answered.id for answered in shuffled} == {answered.id for answered in found} and kept.loads == 1


def test_samples_are_shared_whoever_asks_and_only_what_is_missing_is_drawn(kept):
    first = texts(kept())
    lines = kept.file.read_text().count("\n")
    both = texts(kept(), [*PROMPTS, *PROMPTS, "a new one"], "two")
    assert both[: len(PROMPTS)] == first[::3] and both[len(PROMPTS) : -1] == first[1::3]
    assert kept.file.read_text().count("\n") == lines + 1


@pytest.mark.parametrize("lines", [0, 1, 5, 6, 13])
def test_what_a_kill_left_becomes_what_an_undisturbed_call_leaves(kept, lines):
    texts(kept(), [PROMPTS[0]] * 2, "before")
    undisturbed = texts(kept())
    whole = kept.file.read_bytes()
    kept.file.write_bytes(b"".join(whole.splitlines(keepends=True)[: 2 + lines]) + b'{"id": "to')
    assert texts(kept()) == undisturbed
    assert sorted(kept.file.read_bytes().splitlines()) == sorted(whole.splitlines())


def test_a_folder_made_with_other_settings_is_refused(kept):
    texts(kept())
    with pytest.raises(EvaluationError, match=r"n_samples = 100, now 7; evaluate_temperature = 0\.8, now 0\.5"):
        kept(evaluate_temperature=0.5, n_samples=7)
    with pytest.raises(EvaluationError, match="seed = 0, now 1"):
        kept(seed=1)
    kept(workers=1)  # changes nothing that is kept


def test_a_broken_line_is_named(kept):
    texts(kept())
    kept.file.write_text("nonsense\n" + kept.file.read_text())
    with pytest.raises(ArtifactError, match=r"completions\.jsonl:1: not a Answered"):
        kept()


def test_verdicts_are_kept_by_program_and_tests(kept, tmp_path):
    def problem(result):
        tests = (Assertion(statement=f"assert f(1) == {result}"),)
        return Problem(task_id="t", prompt="", entry_point="f", tests=tests, reference="", benchmark="b", split="test")

    programs = [("t", "def f(x): return 1"), ("t", "def f(x): return 2"), ("t", "def f(x): return 1")]
    one = kept()
    assert [v.passed for v in one.verdicts([problem(1)], programs, "verdicts")] == [True, False, True]
    assert [v.passed for v in kept().verdicts([problem(2)], programs, None)] == [False, True, False]
    kept().verdicts([problem(1)], programs, "verdicts")
    assert (tmp_path / "kept" / "verdicts.jsonl").read_text().count("\n") == 4


def test_a_checkpoint_is_told_by_its_files(checkpoint, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(checkpoint, copy)
    assert fingerprint(str(copy)) == fingerprint(str(checkpoint)) != fingerprint("mini") != fingerprint("some/hub-name")
    (copy / "config.json").write_text((copy / "config.json").read_text() + " ")
    assert fingerprint(str(copy)) != fingerprint(str(checkpoint))


def test_labels_fit_into_file_names():
    assert label_of("outputs/mini-lora/04_sft/model") == "mini-lora_04_sft"
    assert label_of("Qwen/Qwen2.5-Coder-1.5B") == "Qwen_Qwen2.5-Coder-1.5B" and label_of("mini") == "mini"
