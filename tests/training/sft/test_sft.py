"""Fine-tuning: the examples, what is learned of them, every architecture full and with LoRA, kills, two processes."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from tiny_models import make_checkpoint
from transformers import AutoModelForCausalLM, AutoTokenizer

from ledexlib import params
from ledexlib.__main__ import main
from ledexlib.models import refine_messages, solve_messages
from ledexlib.models.local import ChatTokenizer, TransformersGenerator, base_checkpoint
from ledexlib.models.local.checkpoints import MARKERS
from ledexlib.params import ParameterError, Params
from ledexlib.records import Assertion, Problem, Refinement, Sampling, Solution, Trajectory, Verdict
from ledexlib.runs import ArtifactError, JsonLines, StageError, lock
from ledexlib.training import TrainingError, check_sft, sft
from ledexlib.training.launch import LOCK, last_checkpoint, training_lock
from ledexlib.training.sft import SFTExample, SFTExamples
from ledexlib.training.sft import data as sft_data
from ledexlib.training.sft.data import KINDS
from ledexlib.training.sft.trainer import sft_trainer

PARAMS = params.ROOT / "params"
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
PASSED = Verdict(status="passed", n_passed=1, n_tests=1, feedback="", seconds=0.1)
FAILED = Verdict(status="failed", n_passed=0, n_tests=1, feedback="f(1) returned 0", seconds=0.1)


def problem(name: str) -> Problem:
    return Problem(
        task_id=name, prompt=f"Write {name}.", entry_point="f", tests=(Assertion(statement="assert f(1) == 1"),),
        reference="", benchmark="jsonl", split="train",
    )  # fmt: skip


def trajectory(name: str, task: str, code: str, *repairs: tuple[str | None, str, bool]) -> Trajectory:
    """A solution (right if there are no repairs) with refinements: explanation, code, whether it passes."""
    solution = Solution(
        id=name, task_id=task, code=code, completion=code, model="m", sampling=Sampling(),
        verdict=FAILED if repairs else PASSED,
    )  # fmt: skip
    refinements = tuple(
        Refinement(
            id=f"{name}.{i}", solution_id=name, task_id=task, explanation=explanation, code=repair, completion="",
            teacher="t", sampling=Sampling(index=i), verdict=PASSED if passes else FAILED,
        )
        for i, (explanation, repair, passes) in enumerate(repairs)
    )  # fmt: skip
    return Trajectory(id=name, solution=solution, refinements=refinements)


def world(tasks: int = 6) -> tuple[list[Trajectory], list[Problem]]:
    """Every problem with a right program, and a wrong one with two right repairs."""
    found = []
    for i in range(tasks):
        found.append(trajectory(f"r{i}", f"t{i}", f"f = {i}"))
        found.append(
            trajectory(f"w{i}", f"t{i}", f"g = {i}", (f"It is {i}.", f"h = {i}", True), ("No.", f"k = {i}", True))
        )
    return found, [problem(f"t{i}") for i in range(tasks)]


def tiny(**values) -> Params:
    """Parameters of a training of seconds."""
    small = {
        "sft_batch": 4, "sft_device_batch": 2, "sft_epochs": 1.0, "sft_lr": 1e-3, "sft_warmup_steps": 1,
        "sft_max_length": 400, "sft_held_out": 0.2, "sft_log_every": 1, "sft_eval_every": 4, "sft_save_every": 2,
        "lora_rank": 4,
    }  # fmt: skip
    return params.validate({**small, **values})


def examples(p: Params, tasks: int = 6) -> SFTExamples:
    chat = ChatTokenizer(base_checkpoint(p))
    return sft.build_examples(*world(tasks), chat.count, p)


def trainer_of(p: Params, folder: Path, tasks: int = 6):
    return sft_trainer(examples(p, tasks), p, folder, ChatTokenizer(base_checkpoint(p)))


# The examples


def test_examples_are_the_papers_conversations():
    """Written out by hand: kinds, turns and what is left out."""
    found = [
        trajectory("a", "t", "x = 1"),
        trajectory("b", "t", "x = 1"),  # the same program again
        trajectory("c", "t", "x = 2", ("Because.", "x = 3", True), ("Why.", "x = 9", False), (None, "x = 3", True)),
    ]
    task = {"role": "user", "content": "Write t."}
    wrong = {"role": "assistant", "content": "```python\nx = 2\n```"}
    refine = "The program is wrong. Answer with the corrected program."
    explain = "The program is wrong. Explain what is wrong with it, then answer with the corrected program."
    repair = "```python\nx = 3\n```"
    expected = [
        ("generation", "a", [task, {"role": "assistant", "content": "```python\nx = 1\n```"}]),
        ("refine", "c", [task, wrong, {"role": "user", "content": f"f(1) returned 0\n\n{refine}"},
                         {"role": "assistant", "content": repair}]),
        ("explain_refine", "c", [task, wrong, {"role": "user", "content": f"f(1) returned 0\n\n{explain}"},
                                 {"role": "assistant", "content": f"Because.\n\n{repair}"}]),
    ]  # fmt: skip
    made = sft_data.conversations(found, [problem("t")])
    assert [(e.kind, e.solution_id, list(e.messages)) for e in made] == expected


def test_a_solution_without_a_correct_refinement_teaches_nothing():
    assert sft_data.conversations([trajectory("a", "t", "x", ("No.", "y", False))], [problem("t")]) == []


def sample(name: str, kind: str = "refine", task: str = "t", solution: str = "s") -> SFTExample:
    return SFTExample(id=name, kind=kind, task_id=task, solution_id=solution, messages=(), tokens=1)


def test_the_cap_takes_from_every_solution_before_a_second_from_one():
    found = [sample(f"a{i}", solution="a") for i in range(5)] + [sample("b0", solution="b"), sample("c0", solution="c")]
    kept = [e.solution_id for e in sft_data.capped(found, 3, seed=0)]
    assert sorted(kept) == ["a", "b", "c"]
    assert Counter(e.solution_id for e in sft_data.capped(found, 5, seed=0)) == {"a": 3, "b": 1, "c": 1}
    assert sft_data.capped(found, None, seed=0) == found


@given(
    st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from("xyz"), st.sampled_from("abc")), max_size=40),
    st.integers(1, 5), st.integers(0, 3),
)  # fmt: skip
def test_the_cap_holds_for_each_kind_of_each_problem(drawn, cap, seed):
    found = [sample(str(i), kind, task, solution) for i, (kind, task, solution) in enumerate(drawn)]
    kept = sft_data.capped(found, cap, seed)
    before = Counter((e.task_id, e.kind) for e in found)
    assert Counter((e.task_id, e.kind) for e in kept) == {key: min(n, cap) for key, n in before.items()}
    assert kept == [e for e in found if e in kept]


def test_weights_are_how_often_an_epoch_shows_an_example():
    found = [sample(f"{kind}{i}", kind) for kind in KINDS for i in range(8)]
    weights = {"generation": 0.0, "refine": 1.0, "explain_refine": 2.25}
    chosen = sft_data.weighted(found, weights, seed=0)
    assert Counter((e.kind, e.copies) for e in chosen) == {
        ("refine", 1): 8, ("explain_refine", 2): 6, ("explain_refine", 3): 2,
    }  # fmt: skip


def test_whole_problems_are_held_out_and_never_trained_on():
    p = params.validate({"sft_held_out": 0.4, "sft_max_length": 10})
    train, held_out, too_long = sft.build_examples(*world(5), lambda _: 3, p)
    tasks = [{e.task_id for e in part} for part in (train, held_out)]
    assert len(tasks[0]) == 3 and len(tasks[1]) == 2 and not tasks[0] & tasks[1] and too_long == []
    assert sft_data.held_out_tasks(train, 0.01, seed=1) and not sft_data.held_out_tasks(train, 0.0, seed=1)


def test_generation_only_can_be_said():
    p = params.validate({"sft_refine": 0.0, "sft_explain_refine": 0.0})
    assert {e.kind for e in sft.build_examples(*world(), lambda _: 3, p).train} == {"generation"}


def test_what_is_too_long_is_left_out_whole_and_listed():
    p = params.validate({"sft_max_length": 5, "sft_held_out": 0.0})
    train, _, too_long = sft.build_examples(*world(), lambda messages: 2 * len(messages), p)
    assert {e.kind for e in train} == {"generation"} and all(e.tokens == 4 for e in train)
    assert len(too_long) == 24 and all(e.tokens == 8 for e in too_long)
    assert sft.example_table(SFTExamples(train, [], too_long))["too long"].tolist() == [0, 12, 12]
    with pytest.raises(ParameterError, match="sft_max_length"):
        sft.build_examples(*world(), lambda _: 6, p)


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 3)), min_size=1, max_size=20), st.integers(1, 6),
    st.sampled_from([0.5, 1.0, 2.0, 2.5]),
)  # fmt: skip
def test_the_order_shows_every_example_its_number_of_times(rows, batch, epochs):
    lengths, copies = [n for n, _ in rows], [n for _, n in rows]
    made = sft_data.training_order(lengths, copies, batch, epochs, seed=0)
    shown, total = Counter(made), sum(copies)
    assert len(made) == round(epochs * total)
    assert all(int(epochs) * n <= shown[i] <= (int(epochs) + (epochs % 1 > 0)) * n for i, n in enumerate(copies))
    for start in range(0, len(made), batch):  # inside a batch, the long ones first
        part = [lengths[i] for i in made[start : start + batch]]
        assert part == sorted(part, reverse=True)
    assert made == sft_data.training_order(lengths, copies, batch, epochs, seed=0)


def test_different_epochs_and_seeds_have_different_orders():
    lengths = [1] * 50
    first, second, other = (sft_data.training_order(lengths, lengths, 4, 2, seed)[part] for seed, part in (
        (0, slice(50)), (0, slice(50, None)), (1, slice(50))
    ))  # fmt: skip
    assert sorted(first) == sorted(second) == list(range(50)) and first != second and first != other


# What is learned


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """Tiny base checkpoints, made when they are asked for: without a chat template, or with one of their own."""
    made: dict[str, Path] = {}

    def base(kind: str) -> Path:
        if kind not in made:
            folder = tmp_path_factory.mktemp(kind)
            special = ("<|endoftext|>", "<|im_start|>", "<|im_end|>") if kind == "qwen2" else ("<|endoftext|>",)
            made[kind] = make_checkpoint(kind, folder, special, context=512, scale=1)
            if kind == "qwen2":
                tokenizer = AutoTokenizer.from_pretrained(folder)
                tokenizer.chat_template = CHATML
                tokenizer.save_pretrained(folder)
        return made[kind]

    return base


@pytest.mark.parametrize(("kind", "end"), [("llama", "<|end|>\n"), ("qwen2", "<|im_end|>\n")])
def test_labels_are_the_last_turn_and_nothing_else(bases, tmp_path, kind, end):
    """Read in the batches that the trainer feeds the model: what has a label is the answer with its end, all of it."""
    p = tiny(model=str(bases(kind)), sft_held_out=0.0)
    trainer, tokenizer = trainer_of(p, tmp_path), ChatTokenizer(p.model).tokenizer
    answers: Counter[str] = Counter()
    for batch in trainer.get_train_dataloader():
        for ids, labels, mask in zip(batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True):
            learned = labels != -100
            assert torch.equal(ids[learned], labels[learned]) and not learned[mask == 0].any()
            assert learned.int().diff().clamp(min=0).sum() == 1, "one stretch"
            answers[tokenizer.decode(ids[learned])] += 1
            read = tokenizer.decode(ids[~learned & (mask == 1)])
            assert read.endswith("assistant\n" if kind == "qwen2" else "<|assistant|>\n")
            assert ("g = " in read) == ("The program is wrong." in read), "the wrong program is read, never learned"
    assert answers == Counter(e.messages[-1]["content"] + end for e in examples(p).train)


def test_labels_equal_those_of_a_bare_trainer_on_the_same_conversations(bases, tmp_path):
    p = tiny(model=str(bases("llama")), sft_held_out=0.0)
    trainer = trainer_of(p, tmp_path)
    rows = trainer.train_dataset
    tokenizer = trainer.processing_class
    expected = set()
    for example in examples(p).train:
        asked, whole = (
            tokenizer.apply_chat_template(messages, add_generation_prompt=ask, return_dict=True)["input_ids"]
            for messages, ask in ((list(example.messages[:-1]), True), (list(example.messages), False))
        )
        assert len(whole) == example.tokens, "what was counted is what is trained on"
        expected.add((tuple(whole), tuple([-100] * len(asked) + whole[len(asked) :])))
    assert {(tuple(row["input_ids"]), tuple(row["labels"])) for row in rows} == expected


def test_micro_batches_add_up_to_the_same_step(bases, tmp_path):
    """The gradient of a batch does not depend on how it is divided, although answers differ in length."""
    ends = []
    for size in (1, 4):
        p = tiny(model=str(bases("llama")), sft_device_batch=size, sft_held_out=0.0)
        ends.append(load_file(sft.train_sft(examples(p), p, tmp_path / str(size)) / "model.safetensors"))
    assert all(torch.allclose(ends[0][name], ends[1][name], atol=2e-4) for name in ends[0])


# Training

ARCHITECTURES = {
    "starcoder-15b": "gpt_bigcode", "codellama-7b": "llama", "codellama-13b": "llama", "deepseek-coder-6.7b": "llama",
    "starcoder2-7b": "starcoder2", "qwen2.5-coder-1.5b": "qwen2", "qwen2.5-coder-7b": "qwen2",
}  # fmt: skip


def log_of(folder: Path, series: str) -> list[float]:
    log = sft.read_sft_log(folder)
    return log[log["series"] == series]["loss"].to_list()


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("kind", ["llama", "qwen2", "starcoder2", "gpt_bigcode"])
def test_every_architecture_learns_and_answers(bases, tmp_path, kind, method):
    """Each by its first parameter file, shrunk: the loss falls, the model is an ordinary folder that answers chats."""
    name = next(file for file, architecture in ARCHITECTURES.items() if architecture == kind)
    ours = params.read_yaml(PARAMS / f"{name}.yaml")
    rate = {"full": 5e-3, "lora": 3e-2}[method]  # random weights learn little by small adapters
    shrunk = tiny(model=str(bases(kind)), sft_epochs=3.0, sft_lr=rate, method=method).model_dump()
    p = params.validate({**ours, **shrunk, "gradient_checkpointing": ours["gradient_checkpointing"]})
    folder = sft.train_sft(examples(p, tasks=4), p, tmp_path)
    losses = log_of(tmp_path, "train")
    assert losses[-1] < 0.97 * losses[0]
    assert all(log_of(tmp_path, each)[-1] < log_of(tmp_path, each)[0] for each in KINDS)
    assert not (tmp_path / "checkpoints").exists() and not (folder / "adapter_config.json").exists()
    assert "base_model" in (folder / "README.md").read_text()
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert type(model) is type(AutoModelForCausalLM.from_pretrained(bases(kind)))
    generator = TransformersGenerator(folder)
    asks = [solve_messages(problem("t0")), refine_messages(problem("t0"), "g = 0", "f", True)]
    end = generator.tokenizer.convert_tokens_to_ids("<|im_end|>" if kind == "qwen2" else "<|end|>")
    assert end in generator._turn_ends and end in generator.model.generation_config.eos_token_id
    assert [len(row) for row in generator.generate(asks, 2, Sampling(max_tokens=8))] == [2, 2]


def test_the_merged_model_is_the_adapted_one(bases, tmp_path):
    """Merged LoRA weights give the held-out loss that training measured last, added tokens included."""
    p = tiny(model=str(bases("llama")), method="lora", sft_lr=1e-2)
    folder = sft.train_sft(examples(p), p, tmp_path)
    base, merged = (load_file(path / "model.safetensors") for path in (bases("llama"), folder))
    grown = merged["model.embed_tokens.weight"]
    assert len(grown) == len(base["model.embed_tokens.weight"]) + len(MARKERS) == len(ChatTokenizer(p.model).tokenizer)
    assert torch.equal(grown[: -len(MARKERS)], base["model.embed_tokens.weight"]), "old tokens stay"
    assert not torch.equal(merged["model.layers.0.mlp.up_proj.weight"], base["model.layers.0.mlp.up_proj.weight"])
    again = p.model_copy(update={"sft_model": str(folder), "method": "full"})
    measured = trainer_of(again, tmp_path).evaluate()
    for kind in KINDS:
        assert measured[f"eval_{kind}_loss"] == pytest.approx(log_of(tmp_path, kind)[-1], abs=2e-3)


def test_a_model_that_is_fine_tuned_answers_what_it_learned(tmp_path):
    """Trained on one problem's conversations until it knows them, it says what it learned, and stops."""
    p = tiny(model="mini", sft_epochs=24.0, sft_lr=2e-3, sft_held_out=0.0, sft_save_every=1000)
    learned = examples(p, tasks=1)
    generator, example = TransformersGenerator(sft.train_sft(learned, p, tmp_path)), learned.train[0]
    answer = generator.generate([list(example.messages[:-1])], 1, Sampling(temperature=0, max_tokens=60))[0][0]
    assert (answer.text, answer.finished) == (example.messages[-1]["content"], True)


# Interrupted, and spread

START = (  # as a notebook does
    "import sys, test_sft, torch; torch.set_num_threads(1); p = test_sft.params.load([sys.argv[1]]); "
    "test_sft.sft.train_sft(test_sft.examples(p), p, test_sft.params.resolve(p.outputs) / p.run / '04_sft')"
)
COMMAND = "import sys; from ledexlib.__main__ import main; sys.exit(main(['train', 'sft', sys.argv[1]]))"


def stage_of(p: Params) -> Path:
    return Path(p.outputs) / p.run / "04_sft"


def start(p: Params, code: str = START) -> subprocess.Popen:
    path = Path(p.outputs) / f"{p.run}.yaml"
    path.write_text(yaml.safe_dump(p.model_dump()))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", code, str(path)], env=environment, **pipes)


def kill_after_a_checkpoint(process: subprocess.Popen, folder: Path) -> None:
    deadline = time.monotonic() + 300
    while not list(folder.glob("checkpoints/checkpoint-*/trainer_state.json")) and time.monotonic() < deadline:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (folder / "model").exists()


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_killed_training_ends_with_the_weights_of_an_undisturbed_one(bases, tmp_path, method):
    """kill -9 after the first checkpoint; a half-written one is left behind, too. Goes on by the command line."""
    done = {}
    for run in ("whole", "killed"):
        p = tiny(model=str(bases("llama")), run=run, outputs=str(tmp_path), method=method, sft_epochs=4.0)
        folder = stage_of(p)
        process = start(p)
        if run == "killed":
            kill_after_a_checkpoint(process, folder)
            saved = folder / "checkpoints"
            (saved / "checkpoint-999").mkdir()
            (saved / "checkpoint-999" / "trainer_state.json").write_text('{"global_')
            with (folder / "log.jsonl").open("a") as lines:
                lines.write('{"id": "hal')
            process = start(p, COMMAND)
        errors = process.communicate(timeout=300)[1]
        assert process.returncode == 0, errors
        done[run] = load_file(folder / "model" / "model.safetensors")
        log = sft.read_sft_log(folder).drop(columns="tokens_per_second")
        done[run, "log"] = log.sort_values("id", ignore_index=True)
    assert all(torch.equal(done["whole"][name], done["killed"][name]) for name in done["whole"])
    assert done["whole", "log"].equals(done["killed", "log"])


def test_other_examples_are_trained_on_anew(bases, tmp_path):
    """A killed training of the same examples goes on; one of others starts anew, and what was there is set aside."""
    p = tiny(model=str(bases("llama")), run="r", outputs=str(tmp_path), sft_epochs=4.0, sft_log_every=100)
    folder, every = stage_of(p), examples(p)
    kill_after_a_checkpoint(start(p), folder)
    fewer = every._replace(train=every.train[::2])
    first = sft.train_sft(fewer, p, folder)
    assert JsonLines(folder / "examples.jsonl", SFTExample).read() == fewer.train
    steps = -(-4 * len(fewer.train) // p.sft_batch)
    log = sft.read_sft_log(folder)
    assert log["step"].min() == 0, "the log is that of this training alone"
    assert log[log["series"] == "train"]["step"].to_list() == [steps], "the last step is logged"
    assert len(list(tmp_path.glob("r/earlier/04_sft-examples-*/checkpoints"))) == 1
    before = (first / "model.safetensors").stat().st_mtime_ns
    assert sft.train_sft(fewer, p, folder) == first
    assert (first / "model.safetensors").stat().st_mtime_ns == before, "it was there"
    one = load_file(first / "model.safetensors")
    other = load_file(sft.train_sft(every, p, folder) / "model.safetensors")
    assert not all(torch.equal(one[name], other[name]) for name in one)
    (aside,) = tmp_path.glob("r/earlier/*/model")
    assert all(torch.equal(one[name], weight) for name, weight in load_file(aside / "model.safetensors").items())
    with pytest.raises(ArtifactError, match="again"):
        sft.train_sft(every._replace(train=[*every.train, every.train[0]]), p, folder)


def test_one_process_trains_in_a_folder(tmp_path, monkeypatch, capsys, bases):
    p = tiny(model=str(bases("llama")), run="r", outputs=str(tmp_path))
    folder = stage_of(p)
    folder.mkdir(parents=True)
    with lock(folder / LOCK):
        with pytest.raises(StageError, match=f"04_sft is being trained in by process {os.getpid()}"):
            sft.train_sft(examples(p), p, folder)
        (folder / "examples.jsonl").touch()
        (tmp_path / "p.yaml").write_text(yaml.safe_dump(p.model_dump()))
        assert main(["train", "sft", str(tmp_path / "p.yaml")]) == 2
        assert f"is being trained in by process {os.getpid()}" in capsys.readouterr().err
        monkeypatch.setenv("RANK", "1")
        with training_lock(folder):  # the first of the processes that train together holds it
            pass


def test_only_the_first_process_removes_half_checkpoints(tmp_path, monkeypatch):
    for step, state in ((2, '{"global_step": 2}'), (10, '{"global_step": 10}'), (12, "{")):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(state)
    monkeypatch.setenv("RANK", "1")
    assert last_checkpoint(tmp_path) is None and (tmp_path / "checkpoint-12").exists(), "it is told by the first"
    monkeypatch.setenv("RANK", "0")
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-10") and not (tmp_path / "checkpoint-12").exists()


def test_two_processes_take_the_steps_of_one(bases, tmp_path):
    """``accelerate launch``, as the notebook starts it, gives the weights of one process but for rounding."""
    ends = []
    for n in (1, 2):
        p = tiny(model=str(bases("llama")), run=f"run{n}", outputs=str(tmp_path), processes=n, sft_held_out=0.0)
        folder = stage_of(p)  # 20 examples: whole batches
        ends.append(load_file(sft.train_sft(examples(p, tasks=4), p, folder) / "model.safetensors"))
        assert sft.read_sft_log(folder)["step"].to_list() == [1, 2, 3, 4, 5]
    assert all(torch.allclose(ends[0][name], ends[1][name], atol=2e-4) for name in ends[0])


def test_a_training_that_fails_in_its_processes_is_reported(bases, tmp_path):
    p = tiny(model=str(bases("llama")), run="bad", outputs=str(tmp_path), processes=2, sft_max_length=513)
    with pytest.raises(TrainingError, match="set sft_max_length to 512"):
        sft.train_sft(examples(p), p, stage_of(p))


# Refusals


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"load_in_4bit": True}, "method"),
        ({"sft_generation": 0.0, "sft_refine": 0.0, "sft_explain_refine": 0.0}, "nothing to learn"),
        ({"sft_batch": 6, "sft_device_batch": 4}, "sft_batch = 6 is not a multiple"),
        ({"accelerate_config": "nowhere.yaml"}, "nowhere.yaml"),
    ],
)
def test_impossible_settings_are_refused_before_any_work(values, message):
    with pytest.raises(ParameterError, match=message):
        check_sft(params.validate(values))


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what is missing without a GPU")
def test_four_bits_without_a_gpu_are_refused():
    with pytest.raises(ParameterError, match="GPU"):
        check_sft(params.validate({"load_in_4bit": True, "method": "lora"}))


def test_a_length_that_the_model_cannot_read_is_refused(bases, tmp_path):
    p = tiny(model=str(bases("llama")), sft_max_length=513)
    with pytest.raises(ParameterError, match="set sft_max_length to 512"):
        trainer_of(p, tmp_path)


def test_a_missing_checkpoint_is_named():
    with pytest.raises(ParameterError, match="nowhere/at/all"):
        ChatTokenizer("nowhere/at/all")


def test_training_without_examples_says_what_to_run(tmp_path, capsys):
    file = tmp_path / "p.yaml"
    file.write_text(f"outputs: {tmp_path}\n")
    assert main(["train", "sft", str(file), "--run", "empty"]) == 2
    assert "notebooks/04_sft.ipynb" in capsys.readouterr().err
