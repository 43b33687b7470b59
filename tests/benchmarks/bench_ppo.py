"""An update of PPO with two rewards beside trl's own GRPO update, on the same answers, verification apart.

    python tests/benchmarks/bench_ppo.py [--run FOLDER] [--answers 16] [--updates 2] [--repeats 3]
    python tests/benchmarks/bench_ppo.py --parts --shape llama-7b --method lora     # on a GPU

Answers are sampled once and then served to both trainers, with the same KL reference, passes and micro-batches;
programs are verified and explanations embedded before the clock runs. Trainings alternate; the processor's seconds of
an update are compared (on a GPU the clock's). Without a run, a model of the shape with random weights repairs toy
programs. With ``--parts`` ours alone is timed, sampling and verification too: its parts, tokens a second, peak memory.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import ClassVar

import datasets
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PrinterCallback
from trl import GRPOTrainer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import tiny_runs

from ledexlib.models import checkpoint_path
from ledexlib.params import validate
from ledexlib.runs import run_folder
from ledexlib.training.rl import build_prompts, load_sources, policy, read_rl_log
from ledexlib.training.rl.scoring import RolloutScorer
from ledexlib.training.rl.trainer import RepairTrainer

SHAPES = {  # of a Llama with random weights
    "mini": LlamaConfig(
        vocab_size=1536, hidden_size=192, intermediate_size=512, num_hidden_layers=4, num_attention_heads=6,
        tie_word_embeddings=True,
    ),
    "llama-7b": LlamaConfig(
        vocab_size=32016, hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32,
        max_position_embeddings=16384,
    ),
}  # fmt: skip
TOKENS = 192  # an answer, of random weights or not


class Served:
    """Takes the place of sampling: the same answers to the same prompts, for every trainer."""

    answers: ClassVar[dict[tuple[int, ...], list[list[int]]]] = {}

    def _generate_single_turn(self, prompt_ids, *rest, **more):
        given, found = {}, []
        for ids in prompt_ids:
            number = given[tuple(ids)] = given.get(tuple(ids), -1) + 1
            kept = self.answers.setdefault(tuple(ids), [])
            if len(kept) <= number:
                kept += super()._generate_single_turn([ids], *rest, **more)[0]
            found.append(kept[number])
        return found, None


class Ours(Served, RepairTrainer):
    pass


class Theirs(Served, GRPOTrainer):
    pass


def parts(p, folder, sources):
    """What both trainers are made of."""
    model = AutoModelForCausalLM.from_pretrained(sources.model, dtype=torch.float32)
    return model, policy._config(p, folder), policy._dataset(build_prompts(sources, p), p)


def ours(p, folder, sources, scorer):
    model, config, rows = parts(p, folder, sources)
    return Ours(model, p, scorer, config, rows, processing_class=sources.tokenizer)


def theirs(p, folder, sources, scorer):
    model, config, rows = parts(p, folder, sources)
    rewards = lambda completions, **_: [float(len(c[0]["content"]) % 7) for c in completions]  # noqa: E731
    return Theirs(model, rewards, config, rows, processing_class=sources.tokenizer)


def seconds(make, p, sources, scorer):
    """Seconds of an update."""
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    with tempfile.TemporaryDirectory() as folder:
        trainer = make(p, Path(folder), sources, scorer)
        trainer.args.save_strategy = "no"
        trainer.remove_callback(PrinterCallback)
        began = clock()
        trainer.train()
        return (clock() - began) / p.ppo_steps


def compare(p, repeats):
    """Ours and trl's, in turns."""
    sources = load_sources(p, run_folder(p) / "05_ppo")
    scorer = RolloutScorer(sources.scorer, sources.problems, sources.decode, p)
    seconds(ours, p, sources, scorer)  # samples, verifies and embeds everything
    taken = {ours: [], theirs: []}
    for _ in range(repeats):
        for make, times in taken.items():
            times.append(seconds(make, p, sources, scorer))
            print(f"{make.__name__}: {times[-1]:.2f} s an update", flush=True)
    middle = [median(times) for times in taken.values()]
    ratios = sorted(a / b for a, b in zip(*taken.values(), strict=True))
    print(f"ours {middle[0]:.2f} s, trl's GRPO {middle[1]:.2f} s: {median(ratios):.2f} times "
          f"({ratios[0]:.2f} to {ratios[-1]:.2f})")  # fmt: skip


def time_parts(p, folder):
    """Where the time of ours goes, sampling included, after a first update."""
    sources = load_sources(p, folder)
    trainer = policy.rl_trainer(p, folder, sources, build_prompts(sources, p))
    trainer.args.save_strategy = "no"
    trainer.train()
    log = read_rl_log(folder)[1:]
    for name in (name for name in log if name.startswith("seconds/")):
        print(f"{name.removeprefix('seconds/')}: {log[name].mean():.2f} s an update")
    whole = sum(log[f"seconds/{name}"].mean() for name in ("rollouts", "forward", "backward"))
    rate = log["tokens seen"].diff().mean() / whole
    print(f"{whole:.2f} s an update, {rate:,.0f} tokens a second of prompts and answers")
    if torch.cuda.is_available():
        print(f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB at most, {torch.cuda.get_device_name()}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, help="the folder of a run with 01_collect, 02_verify and 04_sft")
    parser.add_argument("--shape", choices=SHAPES, default="mini")
    parser.add_argument("--parts", action="store_true", help="time ours alone, part by part")
    parser.add_argument("--method", choices=("full", "lora"), default="full")
    parser.add_argument("--answers", type=int, default=16)
    parser.add_argument("--updates", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    datasets.disable_progress_bars()
    values = {
        "encoder": "minilm", "reward_references": "task", "timeout": 5, "ppo_batch": arguments.answers,
        "ppo_device_batch": 8, "ppo_max_tokens": TOKENS, "ppo_max_length": 640, "ppo_lr": 1e-6, "ppo_epochs": 2,
        "ppo_generations": 4, "method": arguments.method,
        "ppo_steps": arguments.updates + 2 * arguments.parts,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        if arguments.run:
            run = arguments.run.resolve()
            p = validate({"run": run.name, "outputs": str(run.parent), **values})
        else:
            torch.manual_seed(0)
            model = Path(folder) / "model"
            LlamaForCausalLM(SHAPES[arguments.shape]).to(torch.bfloat16).save_pretrained(model)
            tokenizer = AutoTokenizer.from_pretrained(checkpoint_path("mini"))
            tokenizer.chat_template = tiny_runs.CHAT_TEMPLATE
            tokenizer.save_pretrained(model)
            p = tiny_runs.make_run(Path(folder) / "run", model, **values)
        if arguments.parts:
            time_parts(p, Path(folder))
        else:
            compare(p, arguments.repeats)


if __name__ == "__main__":
    main()
