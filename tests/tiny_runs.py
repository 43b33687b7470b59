"""A run's earlier stages in miniature, for tests of what reads them: problems, verified trajectories, a tiny model."""

import json
from pathlib import Path

from tiny_models import make_checkpoint
from transformers import AutoModelForCausalLM, AutoTokenizer

from ledexlib.models import CHAT_TEMPLATE
from ledexlib.params import Params, validate
from ledexlib.records import Assertion, Problem, Refinement, Sampling, Solution, Trajectory, Verdict

END = "<|end|>"
SETTINGS = {
    "encoder": "minilm", "timeout": 5, "ppo_steps": 3, "ppo_batch": 8, "ppo_generations": 2, "ppo_max_tokens": 12,
    "ppo_max_length": 400, "ppo_device_batch": 4, "ppo_lr": 1e-3, "ppo_save_every": 1, "lora_rank": 4,
}  # fmt: skip


def problem(name: str) -> Problem:
    return Problem(
        task_id=name, prompt=f"Double {name}.", entry_point="f", reference="def f(x):\n    return 2 * x",
        tests=tuple(Assertion(statement=f"assert f({n}) == {2 * n}") for n in (1, 2)), benchmark="b", split="train",
    )  # fmt: skip


def trajectory(task: str, n: int) -> Trajectory:
    wrong = Verdict(status="failed", n_passed=0, n_tests=2, feedback=f"assert f(1) == 2 failed: {n}", seconds=0.1)
    right = Verdict(status="passed", n_passed=2, n_tests=2, feedback="", seconds=0.1)
    solution = Solution(
        id=f"{task}-{n}", task_id=task, code=f"def f(x):\n    return x + {n + 2}", completion="", model="m",
        sampling=Sampling(), verdict=wrong,
    )  # fmt: skip
    repairs = tuple(
        Refinement(
            id=f"{task}-{n}-{k}", solution_id=solution.id, task_id=task, explanation=f"It adds {n + 2}, {k}.",
            code=f"def f(x):\n    return x * 2  # {k}", completion="", teacher="t", sampling=Sampling(index=k),
            verdict=right,
        )
        for k in range(2)
    )  # fmt: skip
    return Trajectory(id=solution.id, solution=solution, refinements=repairs)


def make_model(kind: str, folder: Path, scale: float = 1) -> Path:
    """A tiny model that reads conversations, as fine-tuning leaves it."""
    specials = ("<|endoftext|>", END, "<|system|>", "<|user|>", "<|assistant|>")
    make_checkpoint(kind, folder, specials, context=1024, scale=scale)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template, tokenizer.eos_token = CHAT_TEMPLATE, END
    tokenizer.save_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.generation_config.eos_token_id = [tokenizer.convert_tokens_to_ids(END)]
    model.save_pretrained(folder)
    return folder


def write(path: Path, records) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(record.model_dump_json() + "\n" for record in records))


def make_run(folder: Path, model: Path, **values) -> Params:
    """A run in this folder with all that reinforcement learning reads; its parameters."""
    p = validate({"run": folder.name, "outputs": str(folder.parent), **SETTINGS, **values})
    problems = [problem(name) for name in ("one", "two")]
    write(folder / "01_collect" / "problems.jsonl", problems)
    write(folder / "02_verify" / "trajectories.jsonl", [trajectory(x.task_id, n) for x in problems for n in range(3)])
    (folder / "04_sft").mkdir(exist_ok=True)
    (folder / "04_sft" / "model").symlink_to(model)
    (folder / "05_ppo").mkdir()
    (folder / "params.yaml").write_text(json.dumps(p.model_dump()))
    return p
