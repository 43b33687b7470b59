"""Programming problems: benchmarks and their files, decontamination, recorded attempts, verdicts on programs."""

from ledexlib.problems.decontamination import Overlap, decontaminate
from ledexlib.problems.files import ProblemError, read_rows
from ledexlib.problems.public_tests import with_public_tests
from ledexlib.problems.recorded import read_recorded
from ledexlib.problems.registry import (
    Benchmark,
    WorkedRepair,
    benchmark_names,
    check_benchmark,
    load_problems,
    worked_repairs,
)
from ledexlib.problems.selection import check_solved_examples, selected_problems, solved_examples
from ledexlib.problems.syntax import defined_name, parse_python
from ledexlib.problems.verdicts import sandbox_job, verify_programs

__all__ = [
    "Benchmark", "Overlap", "ProblemError", "WorkedRepair", "benchmark_names", "check_benchmark",
    "check_solved_examples", "decontaminate", "defined_name", "load_problems", "parse_python", "read_recorded",
    "read_rows", "sandbox_job", "selected_problems", "solved_examples", "verify_programs", "with_public_tests",
    "worked_repairs",
]  # fmt: skip
