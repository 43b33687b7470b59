"""The vocabulary of parameters: what is accepted, what is refused and how."""

import parameter_reference as reference
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledexlib import params
from ledexlib.params import FIELDS, GROUPS, ROOT, ParameterError, Params, from_notebook


@pytest.fixture
def files(tmp_path):
    """Write parameter files: ``files(a="seed: 1", b=…)`` gives their paths."""

    def write(**texts):
        paths = []
        for name, text in texts.items():
            paths.append(tmp_path / f"{name}.yaml")
            paths[-1].write_text(text)
        return paths

    return write


def test_the_defaults_are_valid_and_documented():
    values = {name: field.default for name, field in FIELDS.items()}
    assert params.validate(values) == Params()
    assert all(field.description for field in FIELDS.values())


def test_files_layer_from_left_to_right_and_overrides_come_last(files):
    layers = files(a="seed: 1\ntimeout: 2.5\nn_solutions: 3", b="seed: 2\nrecorded: [x.jsonl]", c="")
    p = params.load(layers, ["timeout=7", "problems_path=null"])
    assert (p.seed, p.timeout, p.n_solutions, p.recorded, p.problems_path) == (2, 7.0, 3, ["x.jsonl"], None)
    assert p.model_fields_set == {"seed", "timeout", "n_solutions", "recorded", "problems_path"}


@pytest.mark.parametrize("text", ["1e-5", "1E-5", "1.0e-5", "0.00001", "'1e-5'"])
def test_a_number_may_be_written_as_people_write_it(files, text):
    assert params.load(files(a=f"solution_temperature: {text}")).solution_temperature == 1e-5
    assert params.load([], [f"solution_temperature={text}"]).solution_temperature == 1e-5


@given(st.floats(0, 1e300))
def test_every_real_number_survives_its_text(value):
    assert params.validate({"solution_temperature": repr(value)}).solution_temperature == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n_solution: 3", r"a\.yaml: 'n_solution' is not a parameter; did you mean 'n_solutions'\?"),
        ("zzz: 3", r"a\.yaml: 'zzz' is not a parameter; params/README\.md lists all"),
        ("seed: abc", r"a\.yaml: 'seed' = 'abc': .*integer.*\(seed of every random choice\)"),
        ("seed: 1.5", r"a\.yaml: 'seed' = 1\.5: .*integer"),
        ("seed: true", r"a\.yaml: 'seed' = True: .*integer"),
        ("seed: -1", r"a\.yaml: 'seed' = -1: .*greater than or equal to 0"),
        ("top_p: 1.5", r"a\.yaml: 'top_p' = 1\.5: .*less than or equal to 1"),
        ("timeout: soon", r"a\.yaml: 'timeout' = 'soon': .*number"),
        ("model: 7", r"a\.yaml: 'model' = 7: .*string"),
        ("recorded: x.jsonl", r"a\.yaml: 'recorded' = 'x\.jsonl': .*list"),
        ("teacher_style: talk", r"a\.yaml: 'teacher_style' = 'talk': .*'chat' or 'few_shot'"),
        ("run: ../x", r"a\.yaml: 'run' = '\.\./x'"),
        ("seed: null", r"a\.yaml: 'seed' = None: .*integer"),
        ("- seed", r"a\.yaml: expected lines of 'name: value', got a list"),
        ("seed: [", r"a\.yaml: not valid YAML"),
        ("teacher:\n  style: chat", r"a\.yaml: 'teacher' = \{'style': 'chat'\}: .*string"),
    ],
)
def test_bad_values_are_refused_with_file_and_key(files, text, message):
    with pytest.raises(ParameterError, match=message):
        params.load(files(a=text))


def test_every_fault_is_named_with_the_file_that_won(files):
    with pytest.raises(ParameterError) as caught:
        params.load(files(a="seed: -1\ntop_p: 2", b="seed: -2"), ["nn=1"])
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    for start in ("b.yaml: 'seed' = -2", "a.yaml: 'top_p' = 2", "--set nn=1: 'nn' is not a parameter"):
        assert any(start in line for line in lines)


def test_a_missing_file_is_named_with_its_neighbours(files, tmp_path):
    files(demo="seed: 1")
    with pytest.raises(ParameterError, match=r"dem\.yaml: no such parameter file \(there is: .*demo\.yaml\)"):
        params.load([tmp_path / "dem.yaml"])


@pytest.mark.parametrize("name", ["2024-05-01", "007", "1e-5", "true", "a.b-c_d"])
def test_a_runs_name_is_text(files, name):
    assert params.load(files(a=f"run: {name}")).run == name
    assert params.load([], [f"run={name}"]).run == name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gallery", "must be another name: gallery and embeddings are folders"),
        ("embeddings", "must be another name"),
        ("a b", "must be letters, digits, '_', '-' and '.', the first of them a letter or a digit"),
        ("-x", "must be letters"),
    ],
)
def test_a_name_that_cannot_be_is_refused_in_words(name, message):
    with pytest.raises(ParameterError, match=message):
        params.load([], [f"run={name}"])


def test_a_folder_as_a_parameter_file_is_named(tmp_path):
    with pytest.raises(ParameterError, match="is a folder; name the parameter file in it"):
        params.load([tmp_path])


def test_groups_hold_every_parameter_once():
    names = [name for group in GROUPS.values() for name in group]
    assert names == list(FIELDS)


def test_the_reference_is_current():
    """`make reference` brings it up to date."""
    text = reference.PATH.read_text(encoding="utf-8")
    assert text == reference.page(text)


# Notebooks

CELL = """\
run: str = "scratch"  # name
outputs: str = "outputs"  # where
params: list[str] = []  # files
n_solutions: int = 20"""


def notebook(*cells):
    """What a notebook that ran these cells states."""
    return from_notebook({"In": ["", *cells], "model": "a loop variable"})


def test_a_notebook_states_what_differs_from_the_defaults():
    assert notebook(CELL).values == {}
    stated = notebook(CELL.replace("20", "5"))
    assert stated.values == {"n_solutions": 5} and stated.sources == {"n_solutions": "this notebook's parameters cell"}


def test_files_hold_where_the_cell_says_nothing_and_injected_values_win(files):
    (file,) = files(a="n_solutions: 4\nseed: 7\ntop_p: 0.9")
    cell = CELL.replace("[]", repr([str(file)]))
    assert notebook(cell).values == {"n_solutions": 4, "seed": 7, "top_p": 0.9}
    assert notebook(cell.replace("20", "5")).values["n_solutions"] == 5
    stated = notebook(cell, "# Parameters\nn_solutions = 20\nseed = 1\n")
    assert stated.values == {"n_solutions": 20, "seed": 1, "top_p": 0.9}
    assert stated.sources == {"n_solutions": "injected", "seed": "injected", "top_p": str(file)}


def test_the_cell_that_ran_last_counts_and_no_variable():
    stated = notebook(CELL.replace("20", "5"), "for n_solutions in range(3): pass", CELL.replace("20", "6"))
    assert stated.values == {"n_solutions": 6}


def test_papermills_list_of_files_replaces_the_cells(files):
    (file,) = files(a="seed: 3")
    assert notebook(CELL, f"# Parameters\nparams = [{str(file)!r}]\n").values == {"seed": 3}


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ((CELL, "# Parameters\nsead = 4\n"), "injected: 'sead' is not a parameter; did you mean 'seed'"),
        ((CELL + '\nseed: int = "x"',), "this notebook's parameters cell: 'seed' = 'x'"),
        ((CELL + "\nseed: int = 1 + n",), "line 5: the value is not a literal"),
        ((CELL + "\nprint(1)",), "line 5: expected 'name: type = literal"),
        ((CELL.replace("[]", '["nothing.yaml"]'),), "nothing.yaml: no such parameter file"),
    ],
)
def test_what_a_notebook_cannot_state_is_refused(cells, message):
    with pytest.raises(ParameterError, match=message):
        params.validate(*notebook(*cells))


def test_a_script_without_cells_gives_its_variables():
    assert from_notebook({"seed": 3, "np": object()}).values == {"seed": 3}


def test_every_parameter_file_of_the_repository_is_valid():
    for path in sorted((ROOT / "params").glob("*.yaml")):
        assert isinstance(params.load([path]), Params)
