"""04_sft trains on the list of examples that the notebook holds, killed and resumed too."""

import nbformat
import pytest
import torch
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError
from safetensors.torch import load_file
from tiny_models import make_checkpoint
from tiny_runs import problem, trajectory, write

from ledexlib.params import NOTEBOOKS
from ledexlib.runs import JsonLines, read_json, write_json
from ledexlib.training.sft import SFTExample, read_sft_log

EXAMPLES = "008791b6"  # the cell that makes the examples
FEWER = "data = data._replace(train=data.train[::3])"
KILL = """
import os, signal, threading, time
def kill():
    while not list(stage.folder.glob("checkpoints/checkpoint-*/trainer_state.json")):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)
threading.Thread(target=kill, daemon=True).start()
"""


def execute(outputs, model, run: str, inserted: dict[str, str]) -> nbformat.NotebookNode:
    """The notebook, with these cells behind those of these ids."""
    values = {
        "run": run, "outputs": str(outputs), "model": str(model), "sft_batch": 4, "sft_device_batch": 2, "sft_lr": 1e-3,
        "sft_epochs": 4.0, "sft_warmup_steps": 1, "sft_max_length": 400, "sft_held_out": 0.2, "sft_log_every": 100,
        "sft_save_every": 2,
    }  # fmt: skip
    notebook = nbformat.read(NOTEBOOKS / "04_sft.ipynb", as_version=4)
    cells = []
    for cell in notebook.cells:
        cells.append(cell)
        if "parameters" in cell.metadata.get("tags", []):
            lines = [f"{name} = {value!r}" for name, value in values.items()]
            cells.append(nbformat.v4.new_code_cell("\n".join(["# Parameters", *lines])))
        if cell.id in inserted:
            cells.append(nbformat.v4.new_code_cell(inserted[cell.id]))
    notebook.cells = cells
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(NOTEBOOKS)}}).execute()
    return notebook


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_checkpoint("llama", tmp_path_factory.mktemp("llama"), context=512, scale=1)


@pytest.fixture
def outputs(tmp_path):
    """Runs whose earlier stages are complete."""
    problems = [problem(name) for name in ("one", "two", "three", "four")]
    trajectories = [trajectory(problem.task_id, n) for problem in problems for n in range(2)]
    for run in ("whole", "killed"):
        write(tmp_path / run / "01_collect" / "problems.jsonl", problems)
        write(tmp_path / run / "02_verify" / "trajectories.jsonl", trajectories)
        for name in ("01_collect", "02_verify"):
            done = {"key": name, "parameters": {}, "needs": {}, "files": {}, "code": None}
            write_json(tmp_path / run / name / "done.json", done)
    return tmp_path


def test_the_training_is_that_of_the_list_in_the_notebook(outputs, model):
    folder = outputs / "whole" / "04_sft"
    execute(outputs, model, "whole", {})
    every, steps = JsonLines(folder / "examples.jsonl", SFTExample).read(), read_sft_log(folder)["step"].max()
    one = load_file(folder / "model" / "model.safetensors")
    execute(outputs, model, "whole", {EXAMPLES: FEWER})
    fewer = JsonLines(folder / "examples.jsonl", SFTExample).read()
    assert fewer == every[::3] and read_json(folder / "metrics.json")["examples"] == len(fewer)
    assert read_sft_log(folder)["step"].max() == len(fewer) < steps == len(every), "four epochs in batches of four"
    other = load_file(folder / "model" / "model.safetensors")
    assert not all(torch.equal(one[name], other[name]) for name in one)

    with pytest.raises(DeadKernelError):
        execute(outputs, model, "killed", {EXAMPLES: FEWER + KILL})
    folder = outputs / "killed" / "04_sft"
    assert not (folder / "model").exists() and list(folder.glob("checkpoints/checkpoint-*"))
    execute(outputs, model, "killed", {EXAMPLES: FEWER})
    resumed = load_file(folder / "model" / "model.safetensors")
    assert all(torch.equal(other[name], resumed[name]) for name in other), "it went on with the same examples"
    assert not (outputs / "killed" / "earlier").exists()
