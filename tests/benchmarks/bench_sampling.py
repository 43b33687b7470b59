"""Sampling with what prompts have in common read once, and without: ``python tests/benchmarks/bench_sampling.py``.

The mini world's backbone answers few-shot prompts (10 programs a problem, and repairs, which share the examples alone)
and one conversation a problem (8 answers each), in turns with and without. The ratio of processor times counts.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import torch

from ledexlib import params
from ledexlib.evaluation import EvaluatedModel, load_evaluation_sets
from ledexlib.evaluation.evaluate import EvaluationSet, repair_prompt, solution_prompt
from ledexlib.models import Prompt, checkpoint_path
from ledexlib.models.local import TransformersGenerator, decoding
from ledexlib.records import Sampling, Solution

SAMPLING = Sampling(temperature=0.8, top_p=1.0, max_tokens=256, seed=1)


def workloads(shown: EvaluationSet) -> dict[str, tuple[list[Prompt], int]]:
    """Prompts and the number of answers to each, of about 60 answers in all."""

    def repairs(n: int, way: str, style: str) -> list[Prompt]:
        about = {"id": "", "completion": "", "model": "", "sampling": SAMPLING, "feedback": "line 3: TypeError"}
        wrong = [Solution(task_id=problem.task_id, code=problem.reference, **about) for problem in shown.problems[:n]]
        return [repair_prompt(*pair, way, shown, style) for pair in zip(shown.problems, wrong, strict=False)]

    drafts = [solution_prompt(problem, shown, "few_shot") for problem in shown.problems[:6]]
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
    p = params.validate({"evaluate_benchmarks": ["mini-mbpp"]})
    (shown,) = load_evaluation_sets(p, [EvaluatedModel("base", "mini", "few_shot")])
    generator = TransformersGenerator(checkpoint_path("mini"))
    sharing = decoding.worth_sharing
    for name, (prompts, n) in workloads(shown).items():
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
