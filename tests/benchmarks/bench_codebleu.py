"""CodeBLEU's speed: ``python tests/benchmarks/bench_codebleu.py [--problems 200] [--share 1.0]``.

For every problem 20 predictions are scored against 8 references, all different texts: programs as the mini world's
corpus has them, right and wrong. The package's ``calc_codebleu`` is called in a loop over the same pairs (over a share
of the problems, to save time), in the same process and in turns with ours; ours starts with an empty cache. Processor
seconds are compared, and the scores must be equal to 1e-9 (in a process with PYTHONHASHSEED=0: the package's data flow
depends on it). Then a scorer that has read its references scores batches of 64 rollouts with programs that it has not
met, without explanations (embeddings are another matter).
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import sys
import time
from collections.abc import Callable
from itertools import islice
from typing import Any

from codebleu import calc_codebleu

from ledexlib.mini.corpus import sloppy_program
from ledexlib.mini.problems import stream
from ledexlib.params import validate
from ledexlib.records import Refinement, Sampling, Solution, Trajectory, Verdict
from ledexlib.rewards import Encoder, Scorer, codebleu_parts, mean_codebleu
from ledexlib.rewards import codebleu as codebleu_module

STATUSES = (("passed", 1), ("failed", 0))


def programs(problems: int, each: int) -> list[list[str]]:
    """``each`` different programs for so many problems."""
    rng = random.Random(0)
    found: list[list[str]] = []
    for problem in islice(stream("train"), 4 * problems):
        drawn = list(dict.fromkeys(sloppy_program(problem, rng) for _ in range(6 * each)))
        if len(drawn) >= each and len(found) < problems:
            found.append(drawn[:each])
    return found


def processor(work: Callable[[], Any]) -> tuple[float, Any]:
    """Processor seconds, and the result."""
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


def theirs(predictions: list[str], references: list[str]) -> list[float]:
    """The package in a loop over pairs, averaged over references."""
    return [
        sum(calc_codebleu([[r]], [p], "python")["codebleu"] for r in references) / len(references) for p in predictions
    ]


def ours(predictions: list[str], references: list[str]) -> list[float]:
    """The same by the library."""
    return [mean_codebleu([codebleu_parts(p, r) for r in references]).codebleu for p in predictions]


def batches(split: list[tuple[list[str], list[str]]], size: int = 64) -> None:
    """Processor seconds for a batch of rollouts, the references being read already."""
    passed, failed = (Verdict(status=s, n_passed=n, n_tests=1, feedback="", seconds=0) for s, n in STATUSES)
    common = {"completion": "", "sampling": Sampling()}
    trajectories, rollouts = [], []
    for number, (predictions, references) in enumerate(split):
        name, task = f"wrong {number}", f"task {number}"
        repairs = tuple(
            Refinement(id=f"{name}/{i}", solution_id=name, task_id=task, code=code, explanation=None, teacher="t",
                       verdict=passed, **common)
            for i, code in enumerate(references)
        )  # fmt: skip
        solution = Solution(id=name, task_id=task, code="pass", model="m", verdict=failed, **common)
        trajectories.append(Trajectory(id=name, solution=solution, refinements=repairs))
        rollouts += [repairs[0].model_copy(update={"code": code, "verdict": failed}) for code in predictions]
    scorer = Scorer(trajectories, validate({}), Encoder("minilm"))
    codebleu_module.read.cache_clear()
    codebleu_module._structure.cache_clear()
    for _, references in split:
        ours(references[:1], references)
    random.Random(0).shuffle(rollouts)
    parts = [rollouts[i : i + size] for i in range(0, len(rollouts) - size + 1, size)]
    times = sorted(processor(lambda part=part: scorer.score(part))[0] for part in parts)
    print(f"a batch of {size} rollouts: {times[len(times) // 2]:.3f} s of processor (median; worst {times[-1]:.3f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("--predictions", type=int, default=20)
    parser.add_argument("--references", type=int, default=8)
    parser.add_argument("--share", type=float, default=1.0, help="of the problems that the package scores too")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    groups = programs(args.problems, args.predictions + args.references)
    split = [(group[: args.predictions], group[args.predictions :]) for group in groups]
    seconds, package_seconds, package_pairs, worst = 0.0, 0.0, 0, 0.0
    for number, (predictions, references) in enumerate(split):
        used, found = processor(lambda p=predictions, r=references: ours(p, r))
        seconds += used
        if number < args.share * len(split):
            used, package = processor(lambda p=predictions, r=references: theirs(p, r))
            package_seconds, package_pairs = package_seconds + used, package_pairs + len(predictions) * len(references)
            worst = max(worst, *(abs(a - b) for a, b in zip(found, package, strict=True)))
    pairs = len(split) * args.predictions * args.references
    again, _ = processor(lambda: [ours(p, r) for p, r in split])
    ours_each, package_each = seconds / pairs, package_seconds / package_pairs
    print(f"{len(split)} problems x {args.predictions} predictions x {args.references} references, all different texts")
    print(f"package: {1 / package_each:,.0f} pairs/s over {package_pairs:,} pairs")
    print(f"ours:    {1 / ours_each:,.0f} pairs/s over {pairs:,} pairs, {seconds:.1f} s")
    print(f"{package_each / ours_each:.1f} times as fast")
    print(f"again, with the programs in the cache: {pairs / again:,.0f} pairs/s")
    print(f"largest difference of a score: {worst:.1e}")
    if worst > 1e-9:
        raise SystemExit("the scores differ from the package's")
    batches(split)


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "PYTHONHASHSEED": "0"})
    main()
