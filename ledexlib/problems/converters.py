"""From a benchmark's own row to a ``Problem``, one function for each benchmark.

Every function takes a row as its file or the hub has it and the split that its place implies, raises KeyError for a
missing field and ValueError for an impossible value, and runs nothing. What each benchmark leaves to its harness:

- HumanEval's tests call helper functions that stand in the prompt (tasks 32, 38 and 50). They are the problem's
  ``setup`` too, so that a whole program that defines only the function asked for can be tested.
- MBPP's ``test_setup_code`` (tasks 367 and 927) builds objects of the program's own classes: it runs after the
  program, at the head of each assertion. Half of MBPP has Windows line ends, which count as tokens to a model.
- APPS runs programs after a header of imports, wraps Codewars answers in a list of one, and JSON has made its
  integer keys strings and its tuples lists."""

import json
import re
from collections.abc import Mapping
from typing import Any

from ledexlib.problems.programs import unify_lines
from ledexlib.records import Assertion, Call, Check, InputOutput, Problem

Row = Mapping[str, Any]

# The names APPS lets programs use without importing them (numpy is left out: almost nothing uses it).
APPS_HEADER = """\
import collections, copy, fractions, functools, heapq, itertools, math, operator, random, re, string, sys, time
from bisect import bisect, bisect_left, bisect_right, insort
from collections import ChainMap, Counter, OrderedDict, defaultdict, deque
from functools import lru_cache, reduce
from heapq import *
from itertools import accumulate, combinations, permutations, product
from math import ceil, cos, exp, fabs, floor, gcd, log, log2, sin, sqrt, tan
from typing import *
"""

MBPP_SPLITS = {"prompt": range(1, 11), "test": range(11, 511), "validation": range(511, 601), "train": range(601, 975)}
PYTHON3 = 3  # CodeContests' number for the language


def literal(value: Any) -> str:
    """Python source for plain data. An integer too long for Python's decimal limit is written in hexadecimal."""
    try:
        return repr(value)
    except ValueError:
        if isinstance(value, int):
            return hex(value)
        if isinstance(value, dict):
            return "{" + ", ".join(f"{literal(k)}: {literal(v)}" for k, v in value.items()) + "}"
        inner = ", ".join(map(literal, value))
        return f"[{inner}]" if isinstance(value, list) else f"({inner},)"


def humaneval(row: Row, split: str) -> Problem:
    """HumanEval (Chen et al. 2021): a signature and docstring to complete, tested by ``check(candidate)``."""
    prompt, entry_point = row["prompt"], row["entry_point"]
    before, found, _ = prompt.partition(f"def {entry_point}(")
    if not found:
        raise ValueError(f"the prompt does not define {entry_point!r}")
    return Problem(
        task_id=row["task_id"], prompt=prompt, entry_point=entry_point, tests=(Check(source=row["test"]),),
        reference=prompt + row["canonical_solution"], benchmark="humaneval", split="test", stub=prompt,
        setup=before if re.search(r"^def ", before, re.M) else "",  # its helper functions
    )  # fmt: skip


def function_under_test(code: str, assertion: str) -> str:
    """The first function called in the assertion that the reference defines."""
    called = re.findall(r"(\w+)\s*\(", assertion)
    defined = [name for name in called if re.search(rf"^\s*(def|class)\s+{name}\b", code, re.M)]
    if not defined:
        raise ValueError(f"the reference defines no function that {assertion!r} calls")
    return defined[0]


def mbpp(row: Row, split: str) -> Problem:
    """MBPP (Austin et al. 2021), full or sanitized: a sentence and, below it, the assertions that test the program."""
    number = int(row["task_id"])
    found = [name for name, numbers in MBPP_SPLITS.items() if number in numbers]
    if not found:
        raise ValueError(f"task_id {number} is not a task of MBPP (1 to 974)")
    code, assertions = unify_lines(row["code"]), [unify_lines(test).strip() for test in row["test_list"]]
    after_program = unify_lines(row.get("test_setup_code") or "")
    sentence = row["text"] if "text" in row else row["prompt"]  # full | sanitized
    return Problem(
        task_id=f"mbpp/{number}", prompt="\n".join([sentence.strip(), *assertions]),
        entry_point=function_under_test(code, assertions[0]),
        tests=tuple(Assertion(statement=f"{after_program}\n{test}".lstrip()) for test in assertions), reference=code,
        benchmark="mbpp", split=found[0], setup="\n".join(row.get("test_imports") or []))


def as_text(value: Any) -> str:
    """An APPS input or output as a stream: lists are lines, and some outputs are numbers."""
    return "\n".join(as_text(item) for item in value) if isinstance(value, list) else str(value)


def integer_keys(value: Any) -> Any:
    """A dictionary whose keys JSON made strings, with its integer keys again; other values as they are."""
    if isinstance(value, dict) and value and all(re.fullmatch(r"-?\d+", key) for key in value):
        return {int(key): item for key, item in value.items()}
    return value


def apps_calls(cases: Row, url: str) -> tuple[Call, ...]:
    """The tests of a call-based APPS problem.

    Codewars outputs stand in a list of one, LeetCode's do not; without a URL, lists of one everywhere decide."""
    outputs = cases["outputs"]
    in_lists = all(isinstance(output, list) and len(output) == 1 for output in outputs)
    if in_lists and "leetcode.com" not in url:
        outputs = [output[0] for output in outputs]
    calls = zip(cases["inputs"], outputs, strict=True)
    sources = ((literal(tuple(map(integer_keys, inputs))), literal(integer_keys(output))) for inputs, output in calls)
    return tuple(Call(arguments=inputs, expected=output, comparison="json") for inputs, output in sources)


def loads(text: str | Any) -> Any:
    """The value in a JSON text; a value that is no text (a row of the original files) is returned as it is."""
    return json.loads(text, parse_int=integer) if isinstance(text, str) else text


def integer(digits: str) -> int:
    """The integer with these digits, also beyond Python's limit for decimal text (APPS has one of 9,131 digits)."""
    if len(digits) <= 500:
        return int(digits)
    magnitude, value = digits.lstrip("-"), 0
    for start in range(0, len(magnitude), 500):
        piece = magnitude[start : start + 500]
        value = value * 10 ** len(piece) + int(piece)
    return -value if digits.startswith("-") else value


def apps(row: Row, split: str) -> Problem:
    """APPS (Hendrycks et al. 2021): a statement; a program for stdin, or a function or LeetCode class to call."""
    cases, solutions = loads(row["input_output"] or "{}"), loads(row["solutions"] or "[]")
    number = int(row["problem_id"] if "problem_id" in row else row["id"])
    starter = row.get("starter_code") or ""
    name = cases.get("fn_name")
    if name is None:
        pairs = zip(cases.get("inputs", ()), cases.get("outputs", ()), strict=True)
        tests: tuple = tuple(InputOutput(stdin=as_text(i), stdout=as_text(o), comparison="numbers") for i, o in pairs)
    else:
        tests = apps_calls(cases, row.get("url") or "")
        in_class = "class Solution" in (starter or "".join(solutions[:1]))
        name = f"Solution().{name}" if in_class else name
    return Problem(
        task_id=f"apps/{split}/{number:04d}", prompt=f"{row['question'].strip()}\n\n{starter.rstrip()}".rstrip(),
        entry_point=name, tests=tests, reference=solutions[0] if solutions else "", benchmark="apps", split=split,
        setup=APPS_HEADER)


def code_contests(row: Row, split: str) -> Problem:
    """CodeContests (Li et al. 2022), from the hub or as rows of ``content``, ``labels`` and ``test``.

    The tests are the public, private and generated ones, in this order; the reference is the first Python 3 solution,
    or empty where there is none (the rows with ``content`` have none)."""
    if "content" in row:
        tests = [(case["input"]["stdin"], case["output"]["stdout"]) for case in loads(row["test"])]
        name, statement, reference = loads(row["labels"])["name"], row["content"], ""
    else:
        kinds = [row[kind] for kind in ("public_tests", "private_tests", "generated_tests")]
        tests = [pair for kind in kinds for pair in zip(kind["input"], kind["output"], strict=True)]
        name, statement, solutions = row["name"], row["description"], row["solutions"]
        pairs = zip(solutions["language"], solutions["solution"], strict=True)
        reference = next((code for language, code in pairs if language == PYTHON3), "")
    return Problem(
        task_id=name, prompt=statement.strip(), entry_point=None, reference=reference, benchmark="code_contests",
        tests=tuple(InputOutput(stdin=i, stdout=o, comparison="numbers_any_case") for i, o in tests), split=split)


def leetcode(row: Row, split: str) -> Problem:
    """A LeetCode problem of a row of recorded bugs; the reference is the accepted repair, if it passes."""
    return Problem(
        task_id=row["task_id"], prompt=row["prompt"].strip(), entry_point=row["entry_point"],
        tests=(Check(source=row["test"]),), reference=row["refinement"] if row["refinement_passes"] else "",
        benchmark="leetcode", split="test", setup=row["setup"])
