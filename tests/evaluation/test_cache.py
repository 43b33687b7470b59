"""The cache of a model under evaluation: samples are drawn once, other settings and a second process are refused."""

import shutil
from functools import partial

import pytest
from tiny_models import make_checkpoint

from ledexlib.evaluation import cache
from ledexlib.evaluation.cache import EvaluatedModel, EvaluationCache, EvaluationError, fingerprint, model_label
from ledexlib.params import Params
from ledexlib.runs import Progress, StageError

PROMPTS = ["def add(a", "for x in", "Task: Write", "return", "[BEGIN]"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return make_checkpoint("llama", tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def opened(tmp_path, checkpoint, monkeypatch):
    """Opens the model's folder; ``loads`` counts how often the model itself was needed."""
    load = cache.load_generator

    def counted(*args):
        open_.loads += 1
        return load(*args)

    def open_(**changed) -> EvaluationCache:
        p = Params(**{"evaluate_max_tokens": 8, "answers_per_batch": 6, "timeout": 5.0} | changed)
        model = EvaluatedModel("tiny", str(checkpoint), "chat")
        with cache.lock_folder(tmp_path / "cache", cache.cache_settings(model, p)):
            return EvaluationCache(tmp_path / "cache", model, p, partial(Progress, tmp_path))

    monkeypatch.setattr(cache, "load_generator", counted)
    open_.loads, open_.file = 0, tmp_path / "cache" / "completions.jsonl"
    return open_


def texts(opened: EvaluationCache, prompts=PROMPTS, n=3, step="one") -> list[str]:
    return [sample.text for sample in opened.completions(prompts, n, step)]


def test_a_prompt_gets_samples_of_its_own_and_the_model_is_loaded_once(opened):
    found = opened().completions(PROMPTS, 3, "one")
    assert len({sample.id for sample in found}) == 15 and len({sample.text for sample in found}) > len(PROMPTS)
    again = opened().completions([prompt for prompt in reversed(PROMPTS) for _ in range(3)], 1, "one")
    assert {sample.id for sample in again} == {sample.id for sample in found} and opened.loads == 1


def test_samples_are_shared_by_benchmarks_and_only_what_is_missing_is_drawn(opened):
    first = texts(opened())
    lines = opened.file.read_text().count("\n")
    both = texts(opened(), [*PROMPTS, *PROMPTS, "a new one"], 1, "two")
    assert both[: len(PROMPTS)] == first[::3] and both[len(PROMPTS) : -1] == first[1::3]
    assert opened.file.read_text().count("\n") == lines + 1


def test_a_folder_made_with_other_settings_is_refused(opened):
    texts(opened())
    with pytest.raises(EvaluationError, match=r"n_samples = 100, now 7; evaluate_temperature = 0\.8, now 0\.5"):
        opened(evaluate_temperature=0.5, n_samples=7)
    with pytest.raises(EvaluationError, match="seed = 0, now 1"):
        opened(seed=1)
    opened(workers=1)  # changes nothing that is kept


def test_one_process_at_a_time_uses_a_folder(tmp_path):
    with cache.lock_folder(tmp_path / "new", {}), pytest.raises(StageError, match="is being written by process"):
        cache.lock_folder(tmp_path / "new", {})
    cache.lock_folder(tmp_path / "new", {}).close()


def test_a_checkpoint_is_told_by_its_files(checkpoint, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(checkpoint, copy)
    assert fingerprint(str(copy)) == fingerprint(str(checkpoint)) != fingerprint("mini") != fingerprint("some/hub-name")
    (copy / "config.json").write_text((copy / "config.json").read_text() + " ")
    assert fingerprint(str(copy)) != fingerprint(str(checkpoint))


def test_labels_fit_into_file_names():
    assert model_label("outputs/mini-lora/04_sft/model") == "mini-lora_04_sft"
    assert model_label("Qwen/Qwen2.5-Coder-1.5B") == "Qwen_Qwen2.5-Coder-1.5B" and model_label("mini") == "mini"
