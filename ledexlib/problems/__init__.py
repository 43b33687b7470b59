"""Programming problems: benchmarks and their files, decontamination, recorded attempts, verdicts on programs."""

from ledexlib.problems.files import ProblemError, read_rows
from ledexlib.problems.programs import defined_name, parse_python, unify_lines, verify_programs
from ledexlib.problems.public_tests import with_public_tests
from ledexlib.problems.recorded import read_recorded
from ledexlib.problems.registry import Benchmark, WorkedRepair, benchmark_names, check_benchmark, load_problems
from ledexlib.problems.registry import worked_repairs
from ledexlib.problems.selection import (
    Overlap, check_solved_examples, decontaminate, selected_problems, solved_examples)
