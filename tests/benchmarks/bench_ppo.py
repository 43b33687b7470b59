"""An update of PPO with two rewards beside trl's own GRPO update, on the same answers, verification apart.

    python tests/benchmarks/bench_ppo.py RUN [--answers 32] [--updates 3] [--repeats 3]

RUN is the folder of a run with the stages 01_collect, 02_verify and 04_sft. Answers are sampled once and then served to
both trainers, with the same KL reference, passes and micro-batches; programs are verified and explanations embedded
before the clock runs. Trainings alternate; the processor's seconds of an update are compared.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import ClassVar

import datasets
import torch
from transformers import AutoModelForCausalLM
from trl import GRPOTrainer

from ledexlib import params, ppo


class Served:
    """Takes the place of sampling: the same answers to the same prompts, for every trainer."""

    answers: ClassVar[dict[tuple[int, ...], list[list[int]]]] = {}

    def _generate_single_turn(self, prompt_ids, *rest, **more):
        given = {}
        found = []
        for ids in prompt_ids:
            number = given[tuple(ids)] = given.get(tuple(ids), -1) + 1
            kept = self.answers.setdefault(tuple(ids), [])
            if len(kept) <= number:
                kept += super()._generate_single_turn([ids], *rest, **more)[0]
            found.append(kept[number])
        return found, None


class Ours(Served, ppo.RepairTrainer):
    pass


class Theirs(Served, GRPOTrainer):
    pass


def ours(p, folder, found, judge):
    model = AutoModelForCausalLM.from_pretrained(found.model, dtype=torch.float32)
    rows = ppo.dataset(ppo.make_asks(found, p).used, p)
    return Ours(model, p, ppo._config(p, folder), rows, found.tokenizer, judge)


def theirs(p, folder, found, judge):
    model = AutoModelForCausalLM.from_pretrained(found.model, dtype=torch.float32)
    rows = ppo.dataset(ppo.make_asks(found, p).used, p)
    rewards = lambda completions, **_: [float(len(c[0]["content"]) % 7) for c in completions]  # noqa: E731
    return Theirs(model, rewards, ppo._config(p, folder), rows, processing_class=found.tokenizer)


def seconds(make, p, found, judge):
    """Processor seconds of an update."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = make(p, Path(folder), found, judge)
        trainer.args.save_strategy = "no"
        began = time.process_time()
        trainer.train()
        return (time.process_time() - began) / p.ppo_steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--answers", type=int, default=32)
    parser.add_argument("--updates", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    datasets.disable_progress_bars()
    p = params.check({
        "run": arguments.run.name, "outputs": str(arguments.run.resolve().parent), "encoder": "minilm",
        "reward_references": "task", "timeout": 5, "ppo_steps": arguments.updates, "ppo_batch": arguments.answers,
        "ppo_device_batch": 8, "ppo_max_tokens": 192, "ppo_max_length": 640, "ppo_lr": 1e-6, "ppo_epochs": 2,
    })  # fmt: skip
    found = ppo.sources(p)
    judge = ppo.Judge(found.scorer, found.problems, found.decode, p)
    seconds(ours, p, found, judge)  # samples, verifies and embeds everything
    taken = {ours: [], theirs: []}
    for _ in range(arguments.repeats):
        for make, times in taken.items():
            times.append(seconds(make, p, found, judge))
            print(f"{make.__name__}: {times[-1]:.2f} s an update", flush=True)
    middle = [statistics.median(times) for times in taken.values()]
    print(f"ours {middle[0]:.2f} s, trl's GRPO {middle[1]:.2f} s: {middle[0] / middle[1]:.2f} times")


if __name__ == "__main__":
    main()
