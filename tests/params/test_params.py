"""The vocabulary of parameters: what is accepted, what is refused and how."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledexlib.params import layers as params
from ledexlib.params.layers import FIELDS, ParameterError
from ledexlib.params.vocabulary import Params


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
    assert params.check(values) == Params()
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
    assert params.check({"solution_temperature": repr(value)}).solution_temperature == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n_solution: 3", r"a\.yaml: 'n_solution' is not a parameter; did you mean 'n_solutions'\?"),
        ("zzz: 3", r"a\.yaml: 'zzz' is not a parameter; see ledexlib/vocabulary\.py for all"),
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


def test_a_notebook_gives_its_own_parameters():
    variables = {"seed": 3, "np": object(), "_": 1, "In": ["", "seed: int = 0", "x = 1"]}
    assert params.from_notebook(variables) == params.check({"seed": 3})
    with pytest.raises(ParameterError, match="notebook's parameters cell: 'seed' = 'x'"):
        params.from_notebook({"seed": "x"})
    injected = {"seed": 3, "sead": 4, "In": ["", "seed: int = 0", "# Parameters\nseed = 3\nsead = 4\n"]}
    with pytest.raises(ParameterError, match="'sead' is not a parameter; did you mean 'seed'"):
        params.from_notebook(injected)
