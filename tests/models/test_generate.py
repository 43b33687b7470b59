"""Sampling from models in process, on tiny checkpoints of the three architectures, and what names stand for."""

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from tiny_models import CONTEXT, make_checkpoint
from transformers import AutoModelForCausalLM, AutoTokenizer

from ledexlib import params
from ledexlib.models import (
    check_checkpoint,
    check_generator,
    checkpoint_path,
    load_generator,
    refine_messages,
    solve_messages,
    teacher_messages,
)
from ledexlib.models.local.decoding import left_padded
from ledexlib.models.local.generator import TransformersGenerator, _choose, _StopStrings
from ledexlib.params import ParameterError
from ledexlib.problems import load_problems
from ledexlib.records import Sampling

PROMPTS = ["def add(a, b):\n", "Task: Write a function that adds.\n[BEGIN]\n", "x", "for x in items:\n    total"]
GREEDY = Sampling(temperature=0.0, max_tokens=24)
WARM = Sampling(temperature=1.0, max_tokens=16, seed=7)


@pytest.fixture(scope="module", params=["llama", "qwen2", "gpt_bigcode"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def generator(checkpoint: Path) -> TransformersGenerator:
    return TransformersGenerator(checkpoint, device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint("llama", tmp_path_factory.mktemp("one"))


def plain_greedy(checkpoint: Path, prompt: str, max_tokens: int) -> list[int]:
    """What transformers' own generate continues the prompt with, alone and without padding."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
    out = model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=max_tokens, pad_token_id=0
    )
    return out[0, ids.shape[1] :].tolist()


def test_a_batch_continues_each_prompt_as_generate_does_alone(
    generator: TransformersGenerator, checkpoint: Path
) -> None:
    """Left padding, positions, the shared prompt cache and the removal of rows change nothing."""
    answers = generator.generate(PROMPTS, 3, GREEDY)
    for prompt, completions in zip(PROMPTS, answers, strict=True):
        ids = plain_greedy(checkpoint, prompt, GREEDY.max_tokens)
        expected = generator.tokenizer.decode(ids, skip_special_tokens=True).partition("[DONE]")[0]
        assert [completion.text for completion in completions] == [expected] * 3
        assert len(expected) > 5


def test_left_padding_leaves_the_distribution_exact(generator: TransformersGenerator) -> None:
    """The logits behind padding equal those without it, for rotary and for learned positions."""
    prompts = [generator._encode(prompt) for prompt in PROMPTS]
    ids, mask = left_padded(prompts, "cpu")
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    with torch.inference_mode():
        together = generator.model(ids, attention_mask=mask, position_ids=positions).logits[:, -1]
        alone = torch.stack([generator.model(torch.tensor([prompt])).logits[0, -1] for prompt in prompts])
    assert torch.allclose(together.log_softmax(-1), alone.log_softmax(-1), atol=2e-4)


def test_the_same_call_gives_the_same_samples(generator: TransformersGenerator) -> None:
    first = generator.generate(PROMPTS, 4, WARM)
    torch.rand(3)
    assert generator.generate(PROMPTS, 4, WARM) == first
    assert generator.generate(PROMPTS, 4, WARM.model_copy(update={"seed": 8})) != first
    texts = [completion.text for answer in first for completion in answer]
    assert len(first) == len(PROMPTS) and all(len(answer) == 4 for answer in first)
    assert len(set(texts)) > len(texts) // 2


def test_neighbours_in_the_batch_change_nothing(generator: TransformersGenerator) -> None:
    together = generator.generate(PROMPTS, 3, WARM)
    small = TransformersGenerator.__new__(TransformersGenerator)
    small.__dict__.update(generator.__dict__, max_batch_tokens=1)  # every row alone
    assert small.generate(PROMPTS, 3, WARM) == together
    assert [answer[:2] for answer in together] == generator.generate(PROMPTS, 2, WARM)


def test_the_global_random_state_is_left_alone(generator: TransformersGenerator) -> None:
    state = torch.get_rng_state()
    generator.generate(PROMPTS[:1], 2, WARM)
    assert torch.equal(state, torch.get_rng_state())


def test_a_completion_ends_at_its_stop_string(llama: Path) -> None:
    free = TransformersGenerator(llama, device="cpu", stop=()).generate(PROMPTS, 3, WARM)
    word = free[0][0].text[8:11]  # somewhere in a completion, not at a token's border by design
    stopped = TransformersGenerator(llama, device="cpu", stop=(word,)).generate(PROMPTS, 3, WARM)
    cut = 0
    for before, after in zip([c for a in free for c in a], [c for a in stopped for c in a], strict=True):
        assert after.text == before.text.partition(word)[0]
        assert after.finished == (word in before.text or before.finished)
        assert after.tokens < before.tokens or word not in before.text[: -len(word)]
        cut += word in before.text
    assert cut


def test_stop_strings_across_tokens(llama: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(llama)
    stop = _StopStrings(tokenizer, ("[DONE]", "é!"))
    for text, ended in [("x [DONE]", True), ("x [DONE", False), ("[DO NE]", False), ("aé!", True), ("aé", False)]:
        ids = [i for char in text for i in tokenizer(char)["input_ids"]]  # a token or more for each character
        assert stop.reached(ids) == ended, text
    assert stop.cut("aé!b[DONE]c") == "a" and stop.cut("abc") == "abc"


def test_end_tokens_end_and_lengths_do_not(llama: Path) -> None:
    generator = TransformersGenerator(llama, device="cpu")
    (long,) = generator.generate(["def"], 1, Sampling(temperature=0.0, max_tokens=5))
    assert (long[0].tokens, long[0].finished) == (5, False)
    token = generator.tokenizer(long[0].text)["input_ids"][0]
    generator._ends = {token}
    (short,) = generator.generate(["def"], 1, Sampling(temperature=0.0, max_tokens=5))
    assert short[0] == ("", 1, True)


def test_a_checkpoints_generation_config_changes_nothing_but_the_ends(llama: Path, tmp_path: Path) -> None:
    before = TransformersGenerator(llama, device="cpu").generate(PROMPTS, 3, WARM)
    folder = shutil.copytree(llama, tmp_path / "copy")
    settings = {"do_sample": True, "top_k": 1, "temperature": 0.01, "repetition_penalty": 9.0, "max_new_tokens": 2}
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [0, 5], **settings}))
    changed = TransformersGenerator(folder, device="cpu")
    assert changed._ends == {0, 5}
    changed._ends = {0}
    assert changed.generate(PROMPTS, 3, WARM) == before


def test_a_long_prompt_is_refused_and_a_long_completion_ends_with_the_context(
    generator: TransformersGenerator,
) -> None:
    long = "x = 1\n" * CONTEXT
    with pytest.raises(ValueError, match=rf"prompt 1 has \d+ tokens, but .* reads at most {CONTEXT}"):
        generator.generate(["x", long], 1, GREEDY)
    ids = generator.tokenizer(long)["input_ids"]
    near = generator.tokenizer.decode(ids[: CONTEXT - 4])
    room = CONTEXT - len(generator.tokenizer(near)["input_ids"])
    answers = generator.generate([near, "x"], 2, Sampling(temperature=1.0, max_tokens=200, seed=1))
    assert all(completion.tokens <= room for completion in answers[0])
    assert max(completion.tokens for completion in answers[1]) > room


def chat(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_a_model_without_a_template_is_asked_in_ours(llama: Path) -> None:
    generator = TransformersGenerator(llama, device="cpu")
    expected = "<|user|>\nadd\n<|end|>\n<|assistant|>\n"
    assert generator.tokenizer.decode(generator._encode(chat("add\n"))) == expected
    assert generator._turn_stop.strings == ("<|end|>",)  # no token of this tokenizer, so it is looked for in the text
    mixed = generator.generate([chat("add"), "def", chat("subtract")], 2, WARM)
    assert mixed[1] == generator.generate(["x", "def"], 2, WARM)[1]  # text and conversations are answered in order
    assert [len(answer) for answer in mixed] == [2, 2, 2]


def test_a_models_own_template_and_end_of_turn_are_used(tmp_path: Path) -> None:
    folder = make_checkpoint("llama", tmp_path, ("<|endoftext|>", "<|im_start|>", "<|im_end|>"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    tokenizer.save_pretrained(folder)
    generator = TransformersGenerator(folder, device="cpu")
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert generator._turn_ends == {0, end} and generator._ends == {0} and not generator._turn_stop.strings
    assert tokenizer.decode(generator._encode(chat("hi"))) == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"


# The choice of a token


def test_tokens_are_drawn_with_their_probabilities() -> None:
    probabilities = torch.tensor([0.5, 0.0, 0.3, 0.2])
    logits = (probabilities.log() * 2).expand(10_000, 4)  # at temperature 2 the probabilities come back
    noise = torch.rand(10_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    drawn, logps = _choose(logits, noise, Sampling(temperature=2.0))
    assert torch.allclose(logps.exp(), probabilities.double()[drawn])
    counts = Counter(drawn.tolist())
    assert counts[1] == 0
    assert all(abs(counts[i] / 10_000 - p) < 0.02 for i, p in enumerate(probabilities.tolist()))
    nucleus = Counter(_choose(logits, noise, Sampling(temperature=2.0, top_p=0.6))[0].tolist())
    assert set(nucleus) == {0, 2} and abs(nucleus[0] / 10_000 - 0.625) < 0.02  # 0.5 alone is less than 0.6


@pytest.mark.parametrize("noise", [0.0, 1.0 - 2**-53])
@pytest.mark.parametrize("top_p", [1.0, 0.7])
def test_the_ends_of_the_distribution_are_tokens(noise: float, top_p: float) -> None:
    logits = torch.tensor([[-torch.inf, 1.0, 1.0, -torch.inf]])
    chosen, logps = _choose(logits, torch.tensor([noise], dtype=torch.float64), Sampling(top_p=top_p))
    assert chosen.item() in (1, 2) and logps.exp().item() == pytest.approx(0.5)


# Who runs a model, and where it is


@pytest.mark.parametrize(
    ("values", "role", "message"),
    [
        ({"model": "mini-teacher"}, "model", "model = 'mini-teacher': this is a teacher, not a model"),
        ({"teacher_style": "few_shot"}, "teacher", "teacher_style = 'few_shot': the teacher 'mini-teacher' reads only"),
        ({"teacher_endpoints": ["http://localhost:1/v1"]}, "teacher", "teacher = 'mini-teacher'.*needs no endpoint"),
        ({"teacher": "m", "teacher_endpoints": ["localhost:8000"]}, "teacher", "'localhost:8000' is not a URL"),
        ({"model": "no/such/folder"}, "model", "model = 'no/such/folder': there is no folder .*no/such/folder"),
        ({"teacher": "./nowhere"}, "teacher", "teacher = './nowhere': there is no folder"),
        ({"model": "~/no-such-model"}, "model", f"there is no folder {Path.home()}/no-such-model"),
        ({"model": "tests"}, "model", "model = 'tests': no checkpoint, the folder .*tests has no config.json"),
    ],
)
def test_what_cannot_be_loaded_is_refused(values: dict, role: str, message: str) -> None:
    for refuses in (check_generator, load_generator):
        with pytest.raises(ParameterError, match=message):
            refuses(role, params.validate(values))


def test_names_that_may_be_right_are_not_refused() -> None:
    check_generator("model", params.validate({"model": "Qwen/Qwen2.5-Coder-1.5B"}))
    check_generator("teacher", params.validate({"teacher": "gpt-4o", "teacher_endpoints": ["https://here/v1"]}))
    check_generator("model", params.validate({"model": "org/a/b", "model_endpoints": ["http://localhost:1/v1"]}))


def test_a_stages_folder_is_answered_with_its_model(llama: Path, tmp_path: Path) -> None:
    shutil.copytree(llama, tmp_path / "04_sft" / "model")
    name = str(tmp_path / "04_sft")
    with pytest.raises(ParameterError, match=rf"sft_model = '{name}': this is a stage's folder.* '{name}/model'"):
        check_checkpoint(name, "sft_model")
    check_checkpoint(f"{name}/model", "sft_model")


def test_a_checkpoint_is_found_from_the_working_folder_home_and_the_repository(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(llama.parent)
    monkeypatch.setenv("HOME", str(llama.parent))
    assert checkpoint_path(llama.name) == checkpoint_path(f"~/{llama.name}") == str(llama)
    monkeypatch.chdir(tmp_path)
    assert checkpoint_path("ledexlib/mini/backbone") == checkpoint_path("mini")
    assert checkpoint_path("org/name") == "org/name"


def test_a_checkpoint_is_loaded_by_its_path(llama: Path) -> None:
    generator = load_generator("model", params.validate({"model": str(llama)}))
    assert generator.name == str(llama)
    assert len(generator.generate(["def"], 2, WARM)[0]) == 2


def test_a_checkpoint_that_does_not_load_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ParameterError, match=rf"model = '{tmp_path}': no checkpoint could be loaded from {tmp_path}"):
        load_generator("model", params.validate({"model": str(tmp_path)}))


def test_the_mini_world_is_the_default() -> None:
    """The packaged model answers text and conversations; the simulated teacher answers a teacher's request."""
    problem = load_problems("mini-mbpp", "train")[0]
    wrong, feedback = "def f(x):\n    return None", "it returned None"
    model = load_generator("model", params.validate({}))
    assert model.name == "mini"
    prompts = [f"Task: {problem.prompt}\n[BEGIN]\n", solve_messages(problem)]
    prompts.append(refine_messages(problem, wrong, feedback, explain=True))
    answers = model.generate(prompts, 3, WARM)
    assert [len(answer) for answer in answers] == [3, 3, 3]
    assert answers == model.generate(prompts, 3, WARM)
    teacher = load_generator("teacher", params.validate({}))
    assert len(teacher.generate([teacher_messages(problem, wrong, feedback)], 3, WARM)[0]) == 3


def test_the_doors_of_problems_and_models_import_nothing_heavy() -> None:
    heavy = ("torch", "transformers", "datasets", "openai", "ledexlib.mini")
    code = f"import sys; from ledexlib import models, problems; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
