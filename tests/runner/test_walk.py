"""The real notebooks, run as a user runs them: undisturbed, killed and resumed, by plain papermill, with bad input."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ledexlib.params import ROOT

STAGES = sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
LINES = {
    "01_collect": ("problems.jsonl", "solutions.jsonl", "refinements.jsonl"),
    "02_verify": ("trajectories.jsonl",),
}


def command(outputs: Path, run: str, *more: str, files: tuple[str, ...] = ("params/smoke.yaml",)) -> list[str]:
    paths = [str(ROOT / file) for file in files]
    return [sys.executable, "-m", "ledexlib", "run", *paths, "--run", run, "--set", f"outputs={outputs}", *more]


def finished(*args, **options) -> subprocess.CompletedProcess:
    return subprocess.run(command(*args, **options), cwd=ROOT, capture_output=True, text=True, timeout=1800)


def without_seconds(value):
    """A record without the times in it, which differ from run to run."""
    if isinstance(value, dict):
        return {name: without_seconds(item) for name, item in value.items() if name != "seconds"}
    return [without_seconds(item) for item in value] if isinstance(value, list) else value


def records(run: Path) -> dict[str, list]:
    """All records of a run, by file, in order."""
    return {
        name: [without_seconds(json.loads(line)) for line in (run / stage / name).read_text().splitlines()]
        for stage, names in LINES.items()
        for name in names
    }


@pytest.fixture(scope="module")
def outputs(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("out puts")


@pytest.fixture(scope="module")
def undisturbed(outputs) -> Path:
    done = finished(outputs, "undisturbed")
    assert done.returncode == 0, done.stdout + done.stderr
    return outputs / "undisturbed"


def test_a_run_makes_every_stage_and_its_pages(undisturbed):
    for stage in STAGES:
        assert (undisturbed / stage / "done.json").exists()
        assert (undisturbed / "report" / f"{stage}.html").stat().st_size > 5_000
    page = (undisturbed / "report" / "02_verify.html").read_text()
    assert "Table 1" in page and "data:image/png" in page and "stage.need" not in page
    assert "simulation" in (undisturbed / "02_verify" / "README.md").read_text()
    assert (undisturbed / "04_sft" / "model" / "model.safetensors").exists()
    page = (undisturbed / "report" / "06_evaluate.html").read_text()
    assert "Table 2" in page and "paper: StarCoder-15B" in page and "feedback from the benchmark" in page
    headline = json.loads((undisturbed / "06_evaluate" / "metrics.json").read_text())
    assert headline["gains"]["sft_over_prompting"]["pass@1"]["n_problems"] == 6
    assert "params/smoke.yaml" in headline["command"] and headline["parameters"]["n_samples"] == 2


def test_what_was_collected_is_whole(undisturbed):
    found = records(undisturbed)
    assert len(found["problems.jsonl"]) == 4 and len(found["solutions.jsonl"]) == 12
    wrong = [t for t in found["trajectories.jsonl"] if t["solution"]["verdict"]["status"] != "passed"]
    assert wrong and all(len(t["refinements"]) == 2 for t in wrong)
    assert len(found["refinements.jsonl"]) == 2 * len(wrong)
    assert all(t["solution"]["verdict"]["feedback"] for t in wrong)


def test_the_same_command_again_does_nothing(undisturbed):
    before = (undisturbed / "02_verify" / "done.json").stat().st_mtime_ns
    again = finished(undisturbed.parent, "undisturbed")
    assert again.returncode == 0 and again.stdout.count("up to date") == len(STAGES)
    assert (undisturbed / "02_verify" / "done.json").stat().st_mtime_ns == before


@pytest.mark.parametrize("file", ["model_completions.jsonl", "teacher_completions.jsonl"])
def test_a_killed_run_ends_with_the_records_of_an_undisturbed_one(undisturbed, outputs, file):
    """kill -9 to the runner and its kernels as soon as the file appears, a torn last line, then the same command."""
    run, stage = f"killed-{file.split('_')[0]}", "01_collect"
    stages = ("--from", "01", "--to", "02")
    runner = subprocess.Popen(
        command(outputs, run, *stages), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    path, deadline = outputs / run / stage / file, time.monotonic() + 900
    while not path.exists() and runner.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    kernels = subprocess.run(["pgrep", "-P", str(runner.pid)], capture_output=True, text=True).stdout.split()
    for process in (runner.pid, *map(int, kernels)):
        os.kill(process, signal.SIGKILL)
    runner.wait()
    assert path.exists() and not (outputs / run / stage / "done.json").exists()
    with path.open("ab") as lines:
        lines.write(b'{"id": "half a li')
    resumed = finished(outputs, run, *stages)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert records(outputs / run) == records(undisturbed)


def test_plain_papermill_makes_the_same_records(undisturbed, outputs, tmp_path):
    out = tmp_path / "OUT.ipynb"
    done = subprocess.run(
        [sys.executable, "-m", "papermill", "notebooks/01_collect.ipynb", str(out), "-k", "python3",
         "-f", "params/smoke.yaml", "-p", "run", "plain", "-p", "outputs", str(outputs)],
        cwd=ROOT, check=True, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert "nknown parameter" not in done.stdout + done.stderr
    files = [outputs / run / "01_collect" / "solutions.jsonl" for run in ("plain", "undisturbed")]
    ours, theirs = ([without_seconds(json.loads(line)) for line in path.read_text().splitlines()] for path in files)
    assert ours == theirs


def test_a_typo_is_refused_before_anything_runs(outputs):
    refused = finished(outputs, "typo", "--set", "n_solution=3")
    assert refused.returncode == 2 and "did you mean 'n_solutions'?" in refused.stderr
    assert not (outputs / "typo").exists()


def test_every_cell_may_run_twice(undisturbed, outputs, tmp_path):
    """Each notebook with every code cell twice, the last one too, on a copy of the finished run."""
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    shutil.copytree(undisturbed, outputs / "twice", symlinks=True)
    for path in (tmp_path / "notebooks").glob("*.ipynb"):
        notebook = json.loads(path.read_text())
        cells = []
        for cell in notebook["cells"]:
            again = cell["cell_type"] == "code" and "parameters" not in cell["metadata"].get("tags", ())
            cells += [cell, {**cell, "id": f"{cell['id']}x"[-64:]}] if again else [cell]
        path.write_text(json.dumps({**notebook, "cells": cells}))
    for stage in STAGES:
        out = tmp_path / f"{stage}.ipynb"
        done = subprocess.run(
            [sys.executable, "-m", "papermill", str(tmp_path / "notebooks" / f"{stage}.ipynb"), str(out),
             "-k", "python3", "--cwd", str(tmp_path / "notebooks"), "-f", str(ROOT / "params/smoke.yaml"),
             "-p", "run", "twice", "-p", "outputs", str(outputs)], capture_output=True, text=True, timeout=900,
        )  # fmt: skip
        assert done.returncode == 0, f"{stage}: {done.stderr[-3000:]}"
    assert records(outputs / "twice") == records(undisturbed)


def test_a_missing_data_file_and_a_cut_off_one_are_named(outputs, tmp_path):
    mbpp = ("--set", "benchmark=mbpp", "--from", "01", "--to", "01")
    missing = finished(outputs, "missing", *mbpp, "--set", f"problems_path={tmp_path}/nowhere.jsonl")
    assert missing.returncode == 2 and "nowhere.jsonl" in missing.stderr
    assert not (outputs / "missing" / "01_collect").exists()
    cut = tmp_path / "cut.jsonl"
    cut.write_text('{"task_id": 601, "text": "Sum.", "code": "def f(a):\\n  retu')
    torn = finished(outputs, "torn", *mbpp, "--set", f"problems_path={cut}")
    assert torn.returncode == 1 and "cut.jsonl" in torn.stdout + torn.stderr


@pytest.fixture
def deaf_server():
    """The URL of a server that takes connections and hangs up."""
    listening = socket.create_server(("127.0.0.1", 0))

    def hang_up():
        try:
            while True:
                listening.accept()[0].close()
        except OSError:  # closed: the test is over
            pass

    threading.Thread(target=hang_up, daemon=True).start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
    listening.close()


def teacher_at(url: str) -> list[str]:
    """The words for a teacher behind this endpoint, for collection alone."""
    return ["--set", "teacher=somebody", "--set", f"teacher_endpoints=[{url}]", "--from", "01", "--to", "01"]


def test_a_teacher_that_is_not_there_is_said_before_any_work(outputs):
    refused = finished(outputs, "absent", *teacher_at("http://127.0.0.1:9/v1"))
    assert refused.returncode == 2 and "teacher_endpoints: no server answers at http://127.0.0.1:9/v1" in refused.stderr
    assert not (outputs / "absent" / "01_collect").exists()


def test_a_teacher_that_fails_is_one_clear_message_and_nothing_is_lost(outputs, deaf_server):
    down = finished(outputs, "down", *teacher_at(deaf_server))
    assert down.returncode == 1
    assert "EndpointError: model somebody: no answer after 6 tries" in down.stdout and deaf_server in down.stdout
    assert len((outputs / "down" / "01_collect" / "solutions.jsonl").read_text().splitlines()) == 12
