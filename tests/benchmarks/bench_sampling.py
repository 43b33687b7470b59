"""Sampling with what prompts have in common read once, and without: ``python tests/benchmarks/bench_sampling.py``.

The mini world's backbone answers few-shot prompts (10 programs a problem, and repairs, which share the examples alone)
and one conversation a problem (8 answers each), in turns with and without. The ratio of processor times counts.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import torch

from ledexlib.models.local import decoding
from ledexlib.evaluation import evaluate
from ledexlib.params import layers as params
from ledexlib.evaluation.evaluate import Benchmark
from ledexlib.models.local.generator import TransformersGenerator
from ledexlib.mini import BACKBONE
from ledexlib.models.prompts import Prompt
from ledexlib.records import Sampling

SAMPLING = Sampling(temperature=0.8, top_p=1.0, max_tokens=256, seed=1)


def workloads(benchmark: Benchmark) -> dict[str, tuple[list[Prompt], int]]:
    """Prompts and the number of answers to each, of about 60 answers in all."""

    def repairs(n: int, way: str, style: str) -> list[Prompt]:
        return [
            evaluate.repair_prompt(problem, problem.reference, "line 3: TypeError", way, benchmark, style)
            for problem in benchmark.problems[:n]
        ]

    drafts = [evaluate.solution_prompt(problem, benchmark, "few_shot") for problem in benchmark.problems[:6]]
    return {
        "few-shot programs": (drafts, 10),
        "few-shot repairs": (repairs(60, "refine", "few_shot"), 1),
        "answers to conversations": (repairs(8, "explain", "chat"), 8),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    (benchmark,) = evaluate.load_benchmarks(params.check({"evaluate_benchmarks": ["mini-mbpp"]}), ["few_shot"])
    generator = TransformersGenerator(BACKBONE)
    sharing = decoding.worth_sharing
    for name, (prompts, n) in workloads(benchmark).items():
        seconds: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(args.rounds):
            for shared, found in seconds.items():
                decoding.worth_sharing = sharing if shared else lambda model: False
                start = time.process_time()
                generator.generate(prompts, n, SAMPLING)
                found.append(time.process_time() - start)
        ratios = [plain / shared for plain, shared in zip(seconds[False], seconds[True], strict=True)]
        each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"{name:26}{median(seconds[False]):6.1f} s apart, {median(seconds[True]):6.1f} s shared: "
              f"{median(ratios):.2f} times as fast (median of {each})", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
