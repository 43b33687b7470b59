"""Programs a second of the sandbox: ``python tests/benchmarks/bench_sandbox.py [--copies 10] [--workers 2]``.

The work is a small program with three assertions, and HumanEval's reference solutions with their base tests if the
benchmark's file is given or found beside the checkout. Beside the rate stand the processor time of a program in the
sandbox and of the same program executed bare, in one process without any protection: these mean something on a busy
machine too.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections import Counter
from pathlib import Path

from ledexlib.problems import load_problems
from ledexlib.records import Assertion, Check, Problem
from ledexlib.sandbox import run
from ledexlib.verify import job

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "humaneval"
SMALL = Problem(
    task_id="small", prompt="", entry_point="f", reference="def f(x): return x * x", benchmark="own", split="test",
    tests=tuple(Assertion(statement=f"assert f({n}) == {n * n}") for n in range(3)),
)  # fmt: skip


def bare(problems: list[Problem]) -> float:
    """Processor seconds to execute every reference with its tests once, in this process."""
    started = time.process_time()
    for problem in problems:
        namespace: dict = {}
        for part in (problem.setup, problem.reference, *(source(test, problem) for test in problem.tests)):
            exec(compile(part, "<part>", "exec"), namespace)
    return time.process_time() - started


def source(test: Assertion | Check, problem: Problem) -> str:
    return f"{test.source}\ncheck({problem.entry_point})" if isinstance(test, Check) else test.statement


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA, help="HumanEval's file or its folder")
    parser.add_argument("--copies", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    humaneval = load_problems("humaneval", path=args.data) if args.data.exists() else []
    works = (("small program", [SMALL], 100 * args.copies), ("HumanEval", humaneval, args.copies))
    for name, problems, copies in works:
        if not problems:
            print(f"{name}: no data at {args.data}")
            continue
        alone = min(bare(problems) for _ in range(3)) / len(problems)
        jobs = [job(problem, problem.reference, number) for problem in problems for number in range(copies)]
        started, used = time.perf_counter(), cpu()
        statuses = Counter(verdict.status for _, verdict in run(jobs, args.workers))
        seconds, used = time.perf_counter() - started, cpu() - used
        print(
            f"{name}: {len(jobs) / seconds:.0f} programs/s with {args.workers} workers, "
            f"{1000 * used / len(jobs):.2f} ms of processor each ({1000 * alone:.2f} ms of it bare), {dict(statuses)}"
        )


def cpu() -> float:
    """Processor seconds of this process and the ones it has waited for."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


if __name__ == "__main__":
    main()
