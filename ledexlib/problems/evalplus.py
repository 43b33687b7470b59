"""HumanEval+ and MBPP+ (Liu et al. 2023): calls whose expected results are what the reference returns.

EvalPlus gives inputs and a reference program; its harness runs the reference and compares. The rules below are those
of its version 0.3.1: which JSON lists are tuples or sets to MBPP's functions, which results are compared as sets or
only for being None, and which tasks have more than one right answer. Rows come in EvalPlus's own files
(``base_input``, ``plus_input``) or from the hub, where the inputs stand in the source of a test program.

Two departures, both towards leniency: floats inside any container are compared with the tolerance (EvalPlus: only
a float or a flat list or tuple of floats, unless the task sets ``atol``), and nan equals nan."""

import ast
import math
from collections.abc import Callable
from typing import Any

from ledexlib.problems.converters import Row, function_under_test, humaneval, literal
from ledexlib.problems.programs import unify_lines
from ledexlib.records import Call, Check, Problem, Test

FLOAT_TOLERANCE = 1e-6  # where the task sets none
# Inputs left out, by position: this one's result, 1.7 million tuples of 77 items, takes more memory than programs get.
LEFT_OUT = {"Mbpp/255": {88}}

COMPARISONS = {
    **dict.fromkeys((
        "similar_elements", "find_char_long", "common_in_nested_lists", "extract_singly", "larg_nnum",
        "intersection_array", "find_dissimilar", "Diff"), "set"),
    **dict.fromkeys(("check_str", "text_match_three", "text_starta_endb"), "same_none")}


def _tuples(lists: list) -> list[tuple]:
    return [tuple(item) for item in lists]


def _deep_tuple(value: Any) -> Any:
    return tuple(map(_deep_tuple, value)) if isinstance(value, list) else value


# How MBPP's functions take what JSON stores as lists and strings: a task's converters for its first arguments.
# One converter followed by ``...`` serves all arguments.
_SHAPES: tuple[tuple[tuple, tuple[int, ...]], ...] = (
    ((tuple, ...), (2, 116, 132, 143, 222, 261, 273, 394, 399, 421, 424, 429, 470, 560, 579, 596, 616, 630, 726, 740,
                    744, 809)),
    ((_tuples, ...), (63, 64, 70, 94, 120, 237, 272, 299, 400, 409, 417, 438, 473, 614, 780)),
    ((_tuples,), (75, 413, 444, 753)),
    ((lambda kept: kept, tuple), (106, 750)),
    ((lambda sets: [set(item) if isinstance(item, list) and item else {} for item in sets],), (115,)),
    ((float, complex), (124,)),
    ((tuple,), (250, 307, 405, 446, 617, 720, 763, 808)),
    ((complex,), (252,)),
    ((lambda lists: tuple(_tuples(lists)), ...), (259, 401, 445)),
    ((lambda items: tuple(tuple(item) if isinstance(item, list) else item for item in items),), (278,)),
    ((_deep_tuple, ...), (580, 615, 791)),
    ((lambda table: {key: tuple(row) for key, row in table.items()},), (722,)))
CONVERTERS = {f"Mbpp/{number}": converters for converters, numbers in _SHAPES for number in numbers}


def python_arguments(task_id: str, arguments: list) -> tuple:
    """The arguments of one call as the task's function takes them, from the list that JSON stores."""
    converters = CONVERTERS.get(task_id, ())
    if converters[-1:] == (...,):
        converters = converters[:1] * len(arguments)
    converted = (convert(argument) for convert, argument in zip(converters, arguments, strict=False))
    return (*converted, *arguments[len(converters) :])


def digit_distances(n1: int, n2: int) -> set[int]:
    """Right answers of ``digit_distance_nums``: the shorter number cuts the longer (the reference), or gains zeros."""
    a, b = str(n1), str(n2)
    width = max(len(a), len(b))
    pairings = zip(a, b, strict=False), zip(a.zfill(width), b.zfill(width), strict=True)
    return {sum(abs(int(x) - int(y)) for x, y in pairs) for pairs in pairings}


def pyramid_surfaces(base: float, height: float) -> set[float]:
    """Right answers of ``surface_Area``: the second number is the slant height (the reference), or the height."""
    slant = math.sqrt((base / 2) ** 2 + height**2)
    return {2 * base * height + base**2, round(base**2 + 2 * base * slant)}


ANSWERS: dict[str, Callable[..., set]] = {"digit_distance_nums": digit_distances, "surface_Area": pyramid_surfaces}

POLYNOMIAL = (
    "def polynomial(coefficients, x):\n"
    "    return sum(coefficient * x**power for power, coefficient in enumerate(coefficients))\n\n\n")


def special_check(entry_point: str, calls: list[str], atol: float) -> Check | None:
    """The test of a task that has several right answers; None if the task has one."""
    arguments = [text[1:-1].rstrip(", ") for text in calls]
    if entry_point == "find_zero":  # any root will do
        asserts = [f"assert abs(polynomial({xs}, candidate({xs}))) <= {atol!r}" for xs in arguments]
    elif entry_point in ANSWERS:
        answers = [sorted(ANSWERS[entry_point](*ast.literal_eval(text))) for text in calls]
        asserts = [f"assert candidate({text}) in {right!r}" for text, right in zip(arguments, answers, strict=True)]
    else:
        return None
    prelude = POLYNOMIAL if entry_point == "find_zero" else ""
    return Check(source=prelude + "def check(candidate):\n" + "".join(f"    {line}\n" for line in asserts))


def tests_in_program(source: str) -> tuple[list[str], float]:
    """The arguments of each call and the absolute tolerance in a test program of the hub's version."""
    calls, atol = None, 0.0
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Assign(targets=[ast.Name(id="inputs")], value=ast.List(elts=rows)):
                calls = [f"({''.join(f'{ast.unparse(argument)}, ' for argument in row.elts)})" for row in rows]
            case ast.Call(func=ast.Name(id="assertion"), args=[_, _, ast.Constant(value=atol)]):
                pass
    if calls is None:
        raise ValueError("the test program has no list of inputs")
    return calls, atol


def plus_tests(row: Row, task_id: str, entry_point: str) -> tuple[Test, ...]:
    """Base and plus inputs as calls, or one check where several answers are right."""
    if "base_input" in row:
        inputs = [*row["base_input"], *(row["plus_input"] or [])]  # a task without plus inputs has {} there
        calls = [literal(python_arguments(task_id, arguments)) for arguments in inputs]
        atol = float(row["atol"])
    else:
        calls, atol = tests_in_program(row["test"])
    calls = [call for position, call in enumerate(calls) if position not in LEFT_OUT.get(task_id, ())]
    special = special_check(entry_point, calls, atol or 1e-4)
    if special:
        return (special,)
    comparison = COMPARISONS.get(entry_point, "equal")
    return tuple(Call(arguments=text, tolerance=atol or FLOAT_TOLERANCE, comparison=comparison) for text in calls)


def humanevalplus(row: Row, split: str) -> Problem:
    """HumanEval+: HumanEval's prompts, corrected references, about 80 times as many tests."""
    tests = plus_tests(row, row["task_id"], row["entry_point"])
    return humaneval({**row, "test": ""}, split).model_copy(update={"benchmark": "humanevalplus", "tests": tests})


def mbppplus(row: Row, split: str) -> Problem:
    """MBPP+: 378 of MBPP's tasks, with corrected references and about 35 times as many tests.

    The prompt is EvalPlus's: the sentence and one assertion."""
    if "canonical_solution" in row:
        task_id, entry_point, code = row["task_id"], row["entry_point"], row["canonical_solution"]
        prompt = unify_lines(row["prompt"]).strip().strip('"').strip()
    else:
        task_id, code = f"Mbpp/{row['task_id']}", row["code"]
        entry_point = function_under_test(code, row["test_list"][0])
        prompt = f"{row['prompt'].strip()}\n{row['test_list'][0].strip()}"
    return Problem(
        task_id=task_id, prompt=prompt, entry_point=entry_point, tests=plus_tests(row, task_id, entry_point),
        reference=unify_lines(code).strip("\n"), benchmark="mbppplus", split="test")
