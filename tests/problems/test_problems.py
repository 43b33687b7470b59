"""Problems of every benchmark, from original files, from the hub and in our own format; and what can go wrong."""

import ast
import gzip
import json
import logging
import math
import subprocess
import sys
import textwrap
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledexlib import params
from ledexlib.problems import (
    ProblemError,
    benchmark_names,
    check_benchmark,
    check_solved_examples,
    converters,
    evalplus,
    load_problems,
    registry,
    selected_problems,
    solved_examples,
    worked_repairs,
)
from ledexlib.records import Assertion, Call, Check, InputOutput, Problem

FILES = {
    "humaneval": "humaneval/HumanEval.jsonl.gz",
    "humanevalplus": "humanevalplus/HumanEvalPlus.jsonl.gz",
    "mbpp": "mbpp/mbpp.jsonl",
    "mbppplus": "mbppplus/MbppPlus.jsonl.gz",
    "apps": "apps_sample",
    "code_contests": "codecontests_sample",
    "leetcode": "recorded/debugbench_leetcode.jsonl.gz",
}


@pytest.fixture(scope="module")
def loaded(shared_data):
    """Loads a benchmark of the shared data once; gives its problems by task id."""
    cache = {}

    def load(name):
        if name not in cache:
            cache[name] = {p.task_id: p for p in load_problems(name, path=shared_data / FILES[name])}
        return cache[name]

    return load


def check_passes(source, candidate):
    space = {}
    exec(source, space)
    try:
        space["check"](candidate)
    except AssertionError:
        return False
    return True


def write_lines(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


OWN = {
    "task_id": "own/1",
    "prompt": "Add two numbers.",
    "entry_point": "add",
    "tests": [
        {"kind": "assertion", "statement": "assert add(1, 2) == 3"},
        {"kind": "check", "source": "def check(candidate):\n    assert candidate(1, 2) == 3\n"},
        {"kind": "call", "arguments": "(1, 2)", "expected": "3"},
        {"kind": "io", "stdin": "1 2\n", "stdout": "3\n"},
    ],
    "reference": "def add(a, b):\n    return a + b\n",
    "benchmark": "own",
    "split": "train",
}


# The original files


@pytest.mark.parametrize(
    ("name", "splits", "kinds"),
    [
        ("humaneval", {"test": 164}, {"check": 164}),
        ("humanevalplus", {"test": 164}, {"call": 123365, "check": 1}),
        ("mbpp", {"prompt": 10, "test": 500, "validation": 90, "train": 374}, {"assertion": 2922}),
        ("mbppplus", {"test": 378}, {"call": 40762, "check": 2}),
        ("apps", {"train": 5}, {"io": 5, "call": 9}),
        ("code_contests", {"train": 20}, {"io": 2233}),
        ("leetcode", {"test": 95}, {"check": 95}),
    ],
)
def test_every_benchmark_loads_whole(loaded, name, splits, kinds):
    found = loaded(name).values()
    assert Counter(p.split for p in found) == splits
    assert Counter(t.kind for p in found for t in p.tests) == kinds
    assert {p.benchmark for p in found} == {name}


def test_mbpp_is_a_sentence_and_three_assertions(loaded):
    problem = loaded("mbpp")["mbpp/11"]
    assert problem.prompt.splitlines() == [
        "Write a python function to remove first and last occurrence of a given character from the string.",
        'assert remove_Occ("hello","l") == "heo"',
        'assert remove_Occ("abcda","a") == "bcd"',
        'assert remove_Occ("PHP","P") == "H"',
    ]
    assert problem.entry_point == "remove_Occ"
    assert problem.stub == problem.setup == ""
    assert [test.statement for test in problem.tests] == problem.prompt.splitlines()[1:]


def test_mbpp_has_unix_line_ends_and_names_a_defined_function(loaded):
    for problem in loaded("mbpp").values():
        assert "\r" not in problem.model_dump_json()
        assert f"def {problem.entry_point}" in problem.reference


def test_mbpp_setup_code_runs_after_the_program(loaded):
    problem = loaded("mbpp")["mbpp/367"]
    space = {}
    exec(problem.setup + "\n" + problem.reference, space)
    for test in problem.tests:  # they build trees of the program's own Node
        exec(test.statement, dict(space))
    assert "Node" not in problem.prompt


def test_mbpp_split_by_task_id(shared_data):
    train = load_problems("mbpp", "train", shared_data / FILES["mbpp"])
    assert [p.task_id for p in train] == [f"mbpp/{n}" for n in range(601, 975)]


def test_sanitized_mbpp_loads_under_the_same_name(shared_data):
    found = {p.task_id: p for p in load_problems("mbpp", path=shared_data / "mbpp/sanitized-mbpp.json")}
    assert len(found) == 427
    assert found["mbpp/82"].setup == "import math"


def test_humaneval_is_a_stub_to_complete(loaded):
    problem = loaded("humaneval")["HumanEval/0"]
    assert problem.prompt == problem.stub
    assert problem.reference.startswith(problem.stub)
    compile(problem.reference, "reference", "exec")


def test_humaneval_gives_helpers_of_the_prompt_to_whole_programs(loaded):
    with_setup = {task for task, problem in loaded("humaneval").items() if problem.setup}
    assert with_setup == {"HumanEval/10", "HumanEval/32", "HumanEval/38", "HumanEval/50"}
    problem = loaded("humaneval")["HumanEval/38"]
    whole = "def decode_cyclic(s):\n    return encode_cyclic(encode_cyclic(s))\n"
    space = {}
    exec(problem.setup + "\n" + whole + problem.tests[0].source, space)
    space["check"](space["decode_cyclic"])


def test_apps_calls_and_streams(loaded):
    found = loaded("apps")
    codewars = found["apps/train/4184"]
    assert codewars.entry_point == "is_prime"
    assert codewars.tests[0] == Call(arguments="(1,)", expected="False", comparison="json")
    assert codewars.prompt.endswith("def is_prime(n):")
    leetcode = found["apps/train/2404"]
    assert leetcode.entry_point == "Solution().findKthPositive"
    assert leetcode.tests[0].expected == "9"
    stream = found["apps/train/0001"]
    assert stream.entry_point is None
    assert stream.tests == (InputOutput(stdin="3\n2 2 3\n4 3 7\n10 1 9\n", stdout="1\n6\n-1\n", comparison="numbers"),)
    exec(stream.setup, {})


def test_code_contests_sample(loaded):
    problem = loaded("code_contests")["1000_A. Codehorses T-shirts"]
    assert problem.entry_point is None
    assert len(problem.tests) == 102


def test_leetcode_takes_a_repair_that_passes_as_reference(loaded, shared_data):
    with gzip.open(shared_data / FILES["leetcode"], "rt") as file:
        rows = [json.loads(line) for line in file]
    passing = {row["task_id"]: row["refinement"] for row in rows if row["refinement_passes"]}
    for task, problem in loaded("leetcode").items():
        assert bool(problem.reference) == (task in passing)
        assert problem.entry_point.startswith("Solution().")


# EvalPlus


# Where EvalPlus's inputs are of another type than MBPP's own assertions, by its own choice.
OTHER_TYPES = {"Mbpp/98", "Mbpp/104", "Mbpp/124", "Mbpp/140", "Mbpp/145", "Mbpp/252", "Mbpp/301", "Mbpp/596"}
OTHER_VALUES = {"Mbpp/87"}


def test_mbppplus_base_inputs_have_the_types_of_mbpps_assertions(loaded, shared_data):
    with gzip.open(shared_data / FILES["mbppplus"], "rt") as file:
        rows = [json.loads(line) for line in file]
    compared, different = 0, set()
    for row in rows:
        problem = loaded("mbppplus")[row["task_id"]]
        calls = [test.arguments for test in problem.tests[: len(row["base_input"])] if test.kind == "call"]
        for node in ast.walk(ast.parse(row["assertion"])):
            if not calls or not isinstance(node, ast.Call) or getattr(node.func, "id", "") != row["entry_point"]:
                continue
            compared += 1
            arguments = eval(ast.unparse(ast.Tuple(node.args, ast.Load())), {})
            if repr(arguments) not in calls:
                different.add(row["task_id"])
    assert compared > 1100
    assert different == OTHER_TYPES | OTHER_VALUES


def test_mbppplus_comparisons_and_tolerances(loaded):
    found = loaded("mbppplus")
    assert found["Mbpp/2"].tests[0] == Call(
        arguments="((3, 4, 5, 6), (5, 7, 4, 10))", comparison="set", tolerance=1e-6
    )
    by_comparison = Counter(p.tests[0].comparison for p in found.values() if p.tests[0].kind == "call")
    assert by_comparison == {"equal": 366, "set": 7, "same_none": 3}
    assert found["Mbpp/82"].tests[0].tolerance == 1e-4
    assert found["Mbpp/2"].prompt.splitlines() == [
        "Write a function to find the shared elements from the given two lists.",
        "assert set(similar_elements((3, 4, 5, 6),(5, 7, 4, 10))) == set((4, 5))",
    ]


def test_every_call_has_literal_arguments(loaded):
    numbers = {"inf": math.inf, "nan": math.nan}
    for name in ("humanevalplus", "mbppplus"):
        for problem in loaded(name).values():
            for test in (problem.tests[0], problem.tests[-1]):
                if test.kind == "call":
                    assert isinstance(eval(test.arguments, {"__builtins__": {}}, numbers), tuple)


def test_find_zero_accepts_any_root_and_nothing_else(loaded):
    (test,) = loaded("humanevalplus")["HumanEval/32"].tests
    assert test.source.count("assert ") > 300
    space = {}
    exec(loaded("humanevalplus")["HumanEval/32"].reference, space)
    assert check_passes(test.source, space["find_zero"])
    assert not check_passes(test.source, lambda xs: 1.0)


def test_both_readings_of_an_ambiguous_task_pass(loaded):
    (test,) = loaded("mbppplus")["Mbpp/558"].tests
    cut = lambda a, b: sum(abs(int(x) - int(y)) for x, y in zip(str(a), str(b), strict=False))  # noqa: E731
    filled = lambda a, b: cut(str(a).zfill(40), str(b).zfill(40))  # noqa: E731
    assert check_passes(test.source, cut)
    assert check_passes(test.source, filled)
    assert not check_passes(test.source, lambda a, b: abs(a - b))
    (test,) = loaded("mbppplus")["Mbpp/581"].tests
    assert check_passes(test.source, lambda b, s: 2 * b * s + b * b)
    assert check_passes(test.source, lambda b, h: round(b * b + 2 * b * math.hypot(b / 2, h)))
    assert not check_passes(test.source, lambda b, h: b * b)


def hub_program(inputs, entry_point, atol):
    """A test program as EvalPlus's release in the original benchmarks' format has it."""
    return (
        "import numpy as np\nfrom math import inf\n\ndef assertion(out, exp, atol):\n    assert out == exp\n\n"
        f"inputs = {inputs!r}\nresults = {[None] * len(inputs)!r}\n"
        "for i, (inp, exp) in enumerate(zip(inputs, results)):\n"
        f"    assertion({entry_point}(*inp), exp, {atol})\n"
    )


def test_the_hubs_mbppplus_rows_give_the_same_tests(loaded, shared_data):
    with gzip.open(shared_data / FILES["mbppplus"], "rt") as file:
        rows = {row["task_id"]: row for row in map(json.loads, file)}
    for task in ("Mbpp/2", "Mbpp/82", "Mbpp/137", "Mbpp/558", "Mbpp/793"):
        row, from_file = rows[task], loaded("mbppplus")[task]
        inputs = [*row["base_input"], *(row["plus_input"] or [])]
        converted = [list(evalplus.python_arguments(task, arguments)) for arguments in inputs]
        hub_row = {
            "task_id": int(task.split("/")[1]),
            "code": row["canonical_solution"],
            "prompt": from_file.prompt.splitlines()[0],
            "test_imports": [],
            "test_list": from_file.prompt.splitlines()[1:],
            "test": hub_program(converted, row["entry_point"], row["atol"]),
        }
        assert plain(evalplus.mbppplus(hub_row, "test")) == plain(from_file)


def plain(problem):
    """A problem with its calls' arguments without the blanks and commas that two writers of Python disagree on."""
    return problem.model_copy(
        update={
            "tests": tuple(
                t.model_copy(update={"arguments": ast.unparse(ast.parse(t.arguments))}) if t.kind == "call" else t
                for t in problem.tests
            )
        }
    )


def test_the_hubs_humanevalplus_rows_give_the_same_tests(loaded):
    from_file = loaded("humanevalplus")["HumanEval/4"]
    inputs = [list(ast.literal_eval(test.arguments)) for test in from_file.tests]
    before, after = hub_program(inputs, "candidate", 1e-6).split("inputs = ")
    program = before + "def check(candidate):\n" + textwrap.indent(f"inputs = {after}", "    ")
    row = {
        "task_id": "HumanEval/4",
        "prompt": from_file.prompt,
        "canonical_solution": from_file.reference.removeprefix(from_file.prompt),
        "entry_point": from_file.entry_point,
        "test": program,
    }
    assert plain(evalplus.humanevalplus(row, "test")) == plain(from_file)


# The hub, through `datasets` on a local repository of the hub's layout


@pytest.fixture
def local_hub(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")

    def publish(name, **splits):
        folder = tmp_path / "hub" / name
        for split, rows in splits.items():
            datasets.Dataset.from_list(rows).to_parquet(str(folder / "data" / f"{split}-00000-of-00001.parquet"))
        monkeypatch.setitem(registry.BENCHMARKS[name].hub, "path", str(folder))
        monkeypatch.delitem(registry.BENCHMARKS[name].hub, "name", raising=False)

    return publish


MBPP_ROW = {"text": "Add.", "code": "def add(a, b):\r\n    return a + b", "test_list": ["assert add(1, 2) == 3"] * 3,
            "test_setup_code": "", "challenge_test_list": []}  # fmt: skip


def test_hub_splits(local_hub):
    local_hub("mbpp", train=[{"task_id": 601, **MBPP_ROW}], test=[{"task_id": 11, **MBPP_ROW}])
    assert [p.task_id for p in load_problems("mbpp", "train")] == ["mbpp/601"]
    assert [p.task_id for p in load_problems("mbpp", "test")] == ["mbpp/11"]


def test_hub_code_contests(local_hub):
    tests = {"input": ["1\n"], "output": ["2\n"]}
    row = {
        "name": "1_A. Double",
        "description": "Double it.",
        "public_tests": tests,
        "private_tests": {"input": ["2\n"], "output": ["4\n"]},
        "generated_tests": tests,
        "solutions": {"language": [2, 1, 3], "solution": ["int main", "print input()", "print(2 * int(input()))"]},
    }
    local_hub("code_contests", valid=[row])
    (problem,) = load_problems("code_contests", "valid")
    assert [test.stdin for test in problem.tests] == ["1\n", "2\n", "1\n"]
    assert (problem.reference, problem.split) == ("print(2 * int(input()))", "valid")


def test_hub_out_of_reach_says_to_give_a_path(tmp_path, monkeypatch):
    monkeypatch.setitem(registry.BENCHMARKS["humaneval"].hub, "path", str(tmp_path / "nowhere"))
    with pytest.raises(ProblemError, match=r"humaneval: cannot load .*nowhere from the hub .* give the path"):
        load_problems("humaneval")


def test_apps_from_the_hubs_lines(tmp_path, caplog):
    cases = {"inputs": [["1 2", "3"], "4"], "outputs": [6, ["4", "5"]]}
    row = {"id": 7, "question": "Sum.", "solutions": '["print(6)"]', "input_output": json.dumps(cases),
           "difficulty": "interview", "url": "", "starter_code": ""}  # fmt: skip
    untested = {**row, "id": 8, "input_output": "", "solutions": ""}
    with caplog.at_level(logging.WARNING):
        (problem,) = load_problems("apps", path=write_lines(tmp_path / "test.jsonl", row, untested))
    assert problem.task_id == "apps/test/0007"
    assert [(test.stdin, test.stdout, test.comparison) for test in problem.tests] == [
        ("1 2\n3", "6", "numbers"), ("4", "4\n5", "numbers")]
    assert "apps/test/0008" in caplog.text


def test_apps_outputs_are_unwrapped_as_their_site_wrote_them():
    cases = {"fn_name": "f", "inputs": [[[1]], [{"1": "x"}]], "outputs": [[3], [{"2": "y"}]]}
    wrapped = converters.apps_calls(cases, "https://www.codewars.com/kata/1")
    assert [test.expected for test in wrapped] == ["3", "{2: 'y'}"]
    assert wrapped[1].arguments == "({1: 'x'},)"
    as_is = converters.apps_calls(cases, "https://leetcode.com/problems/x/")
    assert [test.expected for test in as_is] == ["[3]", "[{'2': 'y'}]"]


def test_a_row_with_an_integer_of_nine_thousand_digits(tmp_path):
    cases = '{"fn_name": "f", "inputs": [[-' + "7" * 9131 + ']], "outputs": [[1]]}'
    row = {"id": 1, "question": "Q", "solutions": '["def f(n): return 1"]', "input_output": cases, "url": ""}
    (problem,) = load_problems("apps", path=write_lines(tmp_path / "train.jsonl", row))
    (value,) = ast.literal_eval(problem.tests[0].arguments)
    assert value == -7 * (10**9131 - 1) // 9


# The project's own format


def test_own_format(tmp_path):
    path = write_lines(tmp_path / "p.jsonl", OWN, {**OWN, "task_id": "own/2", "split": "test"})
    first, second = load_problems("jsonl", path=path)
    assert [type(test) for test in first.tests] == [Assertion, Check, Call, InputOutput]
    assert load_problems("jsonl", "test", path) == [second]


a_problem = st.builds(Problem, task_id=st.uuids().map(str), tests=st.just((Assertion(statement="assert 1"),)))


@settings(max_examples=30, deadline=None)
@given(st.lists(a_problem, max_size=4))
def test_own_format_round_trip(tmp_path_factory, some):
    path = tmp_path_factory.mktemp("own") / "p.jsonl.gz"
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(problem.model_dump_json() + "\n" for problem in some)
    if some:
        assert load_problems("jsonl", path=path) == some


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": 3}, r"p\.jsonl:2: field 'prompt': input should be a valid string"),
        ({"promt": "typo"}, r"p\.jsonl:2: field 'promt': extra inputs"),
        ({"tests": [{"kind": "call"}]}, r"p\.jsonl:2: field 'tests\.0\.call\.arguments': field required"),
        ({}, r"p\.jsonl:2: task_id 'own/1' was already at .*p\.jsonl:1"),
    ],
)
def test_a_bad_line_names_file_line_and_field(tmp_path, change, message):
    path = write_lines(tmp_path / "p.jsonl", OWN, {**OWN, **change})
    with pytest.raises(ProblemError, match=message):
        load_problems("jsonl", path=path)


# What can go wrong


@pytest.mark.parametrize(
    ("name", "split", "path", "message"),
    [
        ("humanevl", None, None, "'humanevl' is not a benchmark; did you mean 'humaneval'"),
        ("mbpp", "trian", None, "'trian' is not a split of mbpp; did you mean 'train'"),
        ("mini", "tset", None, "'tset' is not a split of mini; did you mean 'test'"),
        ("mini", "test", "here", "'mini' is generated"),
        ("jsonl", None, None, "'jsonl' is not on the hub"),
        ("mbpp", "test", "no/such.jsonl", r"no/such\.jsonl: no such file"),
    ],
)
def test_a_wrong_request_names_what_would_be_right(name, split, path, message):
    with pytest.raises(ProblemError, match=message):
        load_problems(name, split, path)
    with pytest.raises(ProblemError, match=message):
        check_benchmark(f"{name}={path}" if path else name, split)


def test_a_right_request_is_checked_without_loading(monkeypatch, tmp_path):
    for loads in ("rows_at", "_rows_of_hub"):
        monkeypatch.delattr(registry, loads)
    path = tmp_path / "broken.jsonl"
    path.write_text("{")
    for entry, split in (("mbpp", "train"), (f"mbpp={path}", "test"), (f"jsonl={path}", "any"), ("mini", "train")):
        check_benchmark(entry, split)


def test_a_path_in_an_entry_starts_at_the_repository():
    with pytest.raises(ProblemError, match=f"{params.ROOT}/no/such.jsonl: no such file"):
        load_problems("mbpp=no/such.jsonl")


def test_a_file_of_another_benchmark(shared_data):
    with pytest.raises(ProblemError, match=r"HumanEval\.jsonl\.gz:1: not a row of mbpp: .*"):
        load_problems("mbpp", path=shared_data / FILES["humaneval"])


def test_a_split_that_the_file_lacks(tmp_path):
    path = write_lines(tmp_path / "some.jsonl", {"task_id": 11, **MBPP_ROW})
    with pytest.raises(ProblemError, match=r"no problem of split 'train' \(there is: test\)"):
        load_problems("mbpp", "train", path)


@pytest.mark.parametrize("kept", [0.3, 0.7, 0.999])
def test_a_truncated_gzip_names_its_line(shared_data, tmp_path, kept):
    whole = (shared_data / FILES["humaneval"]).read_bytes()
    path = tmp_path / "HumanEval.jsonl.gz"
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(ProblemError, match=r"HumanEval\.jsonl\.gz:\d+: "):
        load_problems("humaneval", path=path)


def test_truncated_lines_name_the_line(shared_data, tmp_path):
    lines = (shared_data / FILES["mbpp"]).read_text().splitlines(keepends=True)
    path = tmp_path / "mbpp.jsonl"
    path.write_text("".join(lines[:4]) + lines[4][:200])
    with pytest.raises(ProblemError, match=r"mbpp\.jsonl:5: not valid JSON: .*is the file cut off\?"):
        load_problems("mbpp", path=path)


def test_a_folder_with_several_files_asks_which(tmp_path):
    for name in ("a.jsonl", "b.jsonl"):
        write_lines(tmp_path / name, OWN)
    with pytest.raises(ProblemError, match=r"which file holds jsonl\? There is: a\.jsonl, b\.jsonl"):
        load_problems("jsonl", path=tmp_path)


def test_mini():
    assert load_problems("mini", "prompt") == load_problems("mini-mbpp", "prompt")
    every = load_problems("mini-humaneval")
    assert {p.split for p in every} == set(registry.find_benchmark("mini-humaneval").splits)
    assert [p for p in every if p.split == "prompt"] == load_problems("mini-humaneval", "prompt")


def test_registered_benchmarks_are_listed_before_they_are_imported():
    code = "import sys; from ledexlib.problems import *; print(benchmark_names(), 'ledexlib.mini' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "'mini-mbpp'" in said and "'humaneval'" in said and said.endswith("False\n")
    assert set(benchmark_names()) >= {"mini", "mini-humanevalplus", "mini-mixed", *registry.BENCHMARKS}


def test_worked_repairs_are_a_benchmarks_own():
    assert worked_repairs("mbpp") == worked_repairs("jsonl=somewhere") == ()
    first, *_ = worked_repairs("mini-humanevalplus")
    assert first.problem == load_problems("mini-humanevalplus", "prompt")[0] and first.wrong != first.code


# What the parameters name


def test_a_run_collects_from_what_its_parameters_name(tmp_path):
    path = write_lines(tmp_path / "p.jsonl", *({**OWN, "task_id": f"own/{n}"} for n in range(5)))
    p = params.validate({"benchmark": "jsonl", "problems_path": str(path), "max_problems": 3})
    assert [problem.task_id for problem in selected_problems(p)[0]] == ["own/0", "own/1", "own/2"]
    p = p.model_copy(update={"decontaminate_against": [f"jsonl={path}"]})
    problems, dropped = selected_problems(p)
    assert not problems and len(dropped) == 5


def test_solved_examples_come_from_the_prompt_split(tmp_path):
    p = params.validate({"n_shots": 2})
    assert solved_examples(p) == load_problems("mini-mbpp", "prompt")[:2]
    assert solved_examples(p, "mini-humaneval") == load_problems("mini-humaneval", "prompt")[:2]
    path = write_lines(tmp_path / "p.jsonl", {**OWN, "split": "prompt"})
    p = params.validate({"shots_benchmark": f"jsonl={path}"})
    assert [problem.task_id for problem in solved_examples(p, "humaneval")] == ["own/1"]


def test_a_benchmark_without_solved_examples_says_what_to_set():
    for check in (check_solved_examples, solved_examples):
        with pytest.raises(ProblemError, match=r"'prompt' is not a split of humaneval.*\n.*set shots_benchmark"):
            check(params.validate({}), "humaneval")


# Laws


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=8,
)


@settings(deadline=None)  # a busy machine is no failure
@given(values)
def test_literals_read_back(value):
    assert ast.literal_eval(converters.literal(value)) == value
    huge = [value, (10**5000, {1: -(10**5000)})]
    assert ast.literal_eval(converters.literal(huge)) == huge


@settings(deadline=None)
@given(st.integers(min_value=-(10**700), max_value=10**700))
def test_integers_of_any_length(value):
    assert converters.integer(str(value)) == value
