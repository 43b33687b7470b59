"""The runner, with real kernels: order, skipping, failures, kills, the report, the command line."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
from tiny_notebooks import COLLECT, DONE, DONE_SUM, PARAMETERS, SUM, Item, two_stages, write_notebook

from ledexlib.__main__ import main
from ledexlib.runs import EARLIER, JsonLines, read_json

COMMAND = [sys.executable, "-m", "ledexlib"]
Done = namedtuple("Done", "returncode stdout stderr")


def call(words: Sequence[str]) -> Done:
    """The command line with these words."""
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        return Done(main(words), out.getvalue(), err.getvalue())


class World:
    """Notebooks, a parameter file and a folder of runs, used through the command line."""

    def __init__(self, folder: Path) -> None:
        self.notebooks = two_stages(folder / "the notebooks")
        self.outputs = folder / "outputs"
        self.file = folder / "tiny.yaml"
        self.file.write_text("max_problems: 3\n")

    def words(self, *more: str, run: str = "r", files: Sequence[str] = ()) -> list[str]:
        start = ["run", str(self.file), *files, "--set", f"outputs={self.outputs}"]
        return [*start, "--run", run, "--notebooks", str(self.notebooks), *more]

    def run(self, *more: str, run: str = "r", files: Sequence[str] = ()) -> Done:
        """Run in this process, which saves the time of many imports."""
        return call(self.words(*more, run=run, files=files))

    def status(self, *more: str) -> Done:
        return call(["status", "--outputs", str(self.outputs), *more])

    def start(self, *more: str, run: str = "r") -> subprocess.Popen:
        """Start a run and return once 01_collect has appended its first records."""
        words = [*COMMAND, *self.words(*more, run=run)]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        items = self.outputs / run / "01_collect" / "items.jsonl"
        deadline = time.monotonic() + 300
        while not (items.exists() and items.stat().st_size > 100):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        return process

    def items(self, run: str = "r") -> list[Item]:
        return JsonLines(self.outputs / run / "01_collect" / "items.jsonl", Item, complete=True).read()


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_stages_are_made_in_order_then_skipped(world):
    first = world.run()
    assert first.returncode == 0, first.stdout + first.stderr
    assert re.findall(r"^\[\d/2\].*?: (?:running|done|up|failed)", first.stdout, re.MULTILINE) == [
        "[1/2] 01_collect: running", "[1/2] 01_collect: done", "[2/2] 02_sum: running", "[2/2] 02_sum: done"
    ]  # fmt: skip
    assert first.stderr == ""
    run = world.outputs / "r"
    assert read_json(run / "02_sum" / "metrics.json") == {"total": 21}
    assert (run / "01_collect" / "01_collect.ipynb").exists() and not list(run.glob("*.ipynb"))
    about = read_json(run / "run.json")
    assert about["parameters"]["max_problems"] == 3 and about["parameters"]["n_solutions"] == 20
    assert set(about["stages"]) == {"01_collect", "02_sum"} and "ledex run " in about["command"]
    assert "--run r" in about["command"] and f"outputs={world.outputs}" in about["command"]

    second = world.run()
    assert second.returncode == 0 and second.stdout.count("up to date") == 2
    third = world.run("--set", "seed=1", "--to", "collect")
    assert third.returncode == 0 and "[1/1] 01_collect: done" in third.stdout
    assert [item.value for item in world.items()] == [1, 8, 15]
    fourth = world.run("--set", "seed=1")
    assert "01_collect: up to date" in fourth.stdout and "02_sum: done" in fourth.stdout


def test_a_failed_cell_is_shown_and_the_run_goes_on_after_the_repair(world):
    write_notebook(world.notebooks, "01_collect", [COLLECT, "\n# divide\nratio = 1 / (p.seed - p.seed)", DONE])
    failed = world.run()
    assert failed.returncode == 1
    notebook = world.outputs / "r" / "01_collect" / "01_collect.failed.ipynb"
    for text in ("01_collect: failed after", "cell In [5]: # divide", "----> 2 ratio =", "ZeroDivisionError", notebook):
        assert str(text) in failed.stdout
    assert "\x1b" not in failed.stdout and "02_sum" not in failed.stdout
    page = (world.outputs / "r" / "report" / "01_collect.html").read_text()
    assert "ZeroDivisionError" in page and "This stage is not complete" in page
    assert "01_collect  failed" in world.status().stdout

    write_notebook(world.notebooks, "01_collect", [COLLECT, DONE])
    assert world.run().returncode == 0
    assert not notebook.exists() and "01_collect  done" in world.status().stdout


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([COLLECT], "wrote no done.json; its last cell must call stage.done(metrics)"),
        ([COLLECT, "import os\nos.kill(os.getpid(), 9)", DONE], "In [5]: import os\n  the kernel died"),
        ([COLLECT, "raise SystemExit('enough')", DONE], "SystemExit: enough"),
    ],
)
def test_a_notebook_that_papermill_calls_complete_has_failed_without_done_json(world, cells, message):
    write_notebook(world.notebooks, "01_collect", cells)
    failed = world.run()
    assert failed.returncode == 1 and message in failed.stdout, failed.stdout
    assert (world.outputs / "r" / "01_collect" / "01_collect.failed.ipynb").exists()


def test_kill_9_of_the_runner_loses_and_repeats_nothing(world):
    world.file.write_text("max_problems: 40\n")
    undisturbed = world.run(run="whole")
    assert undisturbed.returncode == 0
    for _ in range(2):
        process = world.start("--to", "01")
        process.kill()
        process.communicate()
    before = JsonLines(world.outputs / "r" / "01_collect" / "items.jsonl", Item).read()
    assert 0 < len(before) < 40
    resumed = world.run()
    assert resumed.returncode == 0, resumed.stdout
    assert world.items() == world.items("whole")
    output = (world.outputs / "r" / "01_collect" / "01_collect.ipynb").read_text()
    assert int(re.search(r"found (\d+)", output).group(1)) >= len(before)
    keys = [read_json(world.outputs / run / "02_sum" / "done.json")["key"] for run in ("r", "whole")]
    assert keys[0] == keys[1]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_a_run_that_can_go_on(world, signum):
    world.file.write_text("max_problems: 60\n")
    process = world.start("--to", "01")
    process.send_signal(signum)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 130 and "interrupted; the same command goes on" in out
    assert "01_collect  failed" not in world.status().stdout
    count = len(JsonLines(world.outputs / "r" / "01_collect" / "items.jsonl", Item))
    assert 0 < count < 60
    time.sleep(0.3)
    assert len(JsonLines(world.outputs / "r" / "01_collect" / "items.jsonl", Item)) == count, "the kernel lives on"


def test_two_runners_on_one_run_are_refused(world):
    world.file.write_text("max_problems: 60\n")
    process = world.start("--to", "01")
    second = world.run()
    assert second.returncode == 2 and f"is being made by process {process.pid}" in second.stderr
    assert "01_collect  running" in world.status().stdout
    process.kill()
    process.communicate()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--set", "n_solution=3"], "did you mean 'n_solutions'?"),
        (["--set", "n_solutions=3", "--set", "timeout=2"], "'n_solutions', 'timeout': set, but no stage of"),
        (["--set", "max_problems=many"], "--set max_problems=many: 'max_problems' = 'many'"),
        (["--from", "colect"], "no stage 'colect'; did you mean 'collect'?"),
        (["--from", "02", "--to", "01"], "--from 02_sum comes after --to 01_collect"),
        (["--from", "sum"], "02_sum needs 01_collect of run 'r': has not been run"),
        (["--fresh", "sums"], "no stage 'sums'; did you mean 'sum'?"),
        (["--run", "gallery"], "must be another name"),
        (["--run", "../r"], "'run' = '../r'"),
        (["--set", "n_solutions"], "--set n_solutions: expected key=value"),
    ],
)
def test_what_cannot_be_right_is_refused_before_anything_runs(world, more, message):
    refused = world.run(*more)
    assert refused.returncode == 2 and message in refused.stderr and refused.stdout == ""
    assert not list(world.outputs.glob("*/*_*"))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["missing.yaml"], "missing.yaml: no such parameter file (there is: "),
        (["broken.yaml"], "broken.yaml: not valid YAML"),
    ],
)
def test_a_parameter_file_that_cannot_be_read_is_named(world, files, message):
    folder = world.file.parent
    (folder / "broken.yaml").write_text("a: [1")
    words = [*COMMAND, *world.words(files=[str(folder / name) for name in files])]
    refused = subprocess.run(words, capture_output=True, text=True)
    assert refused.returncode == 2 and message in refused.stderr and refused.stdout == ""
    assert "Traceback" not in refused.stderr


def test_from_keeps_an_earlier_stage_but_not_other_parameters(world):
    assert world.run("--to", "01").returncode == 0
    refused = world.run("--from", "02", "--set", "seed=5")
    assert refused.returncode == 2 and "02_sum needs 01_collect of run 'r': seed = 0, now 5" in refused.stderr
    kept = world.run("--from", "02")
    assert kept.returncode == 0 and "[1/1] 02_sum: done" in kept.stdout


def test_a_changed_view_throws_nothing_away_and_is_named(world):
    assert world.run().returncode == 0
    write_notebook(world.notebooks, "01_collect", [COLLECT, "print('a view')", DONE])
    again = world.run()
    assert again.returncode == 0 and "02_sum: up to date" in again.stdout
    assert re.search(r"01_collect: made by other code \(changed since: .*01_collect\.ipynb\)", again.stdout)
    assert "made by other code" in world.status().stdout
    anew = world.run("--fresh", "01")
    assert anew.returncode == 0 and anew.stdout.count(": done in") == 2 and "made by other code" not in anew.stdout
    assert len(list((world.outputs / "r" / EARLIER).iterdir())) == 2


def test_a_parameter_changed_back_finds_what_was_made(world):
    assert world.run().returncode == 0
    other = world.run("--set", "seed=1")
    assert "01_collect: running (seed = 0, now 1)" in other.stdout and "02_sum: done" in other.stdout
    back = world.run()
    assert back.stdout.count("up to date") == 2 and "running" not in back.stdout
    assert [item.value for item in world.items()] == [0, 7, 14]


def test_a_dry_run_says_what_would_be_done_and_does_nothing(world):
    first = world.run("--dry-run")
    assert first.returncode == 0 and "[1/2] 01_collect: would run\n[2/2] 02_sum: would run\n" in first.stdout
    assert not world.outputs.exists()
    assert world.run().returncode == 0
    before = sorted(world.outputs.rglob("*"))
    assert world.run("--dry-run").stdout.count(": up to date") == 2
    other = world.run("--dry-run", "--set", "max_problems=4").stdout
    assert "01_collect: would run (max_problems = 3, now 4)" in other
    assert "02_sum: would run (max_problems = 3, now 4)" in other
    anew = world.run("--dry-run", "--fresh", "01").stdout
    assert "01_collect: would run (--fresh)" in anew and "02_sum: would run (needs another 01_collect)" in anew
    (world.outputs / "r" / "01_collect" / "items.jsonl").unlink()
    assert "01_collect: would run (items.jsonl is gone)" in world.run("--dry-run").stdout
    assert set(world.outputs.rglob("*")) == {*before} - {world.outputs / "r" / "01_collect" / "items.jsonl"}


def test_what_every_stage_is_given_is_looked_at_before_the_first_one_starts(tmp_path):
    """In the repository's own notebooks: a fault of the last stage is found before any work, and every one is named."""
    words = ["run", "params/smoke.yaml", "--run", "r", "--set", f"outputs={tmp_path}"]
    faults = [
        "evaluate_benchmarks=[mbpq]", "ablations=[izolated]", "benchmark=mini-mbp", "encoder=./nowhere",
        "model=./nowhere", "teacher=gpt", "teacher_endpoints=[http://127.0.0.1:9/v1]",
    ]  # fmt: skip
    refused = call([*words, *(word for fault in faults for word in ("--set", fault))])
    assert refused.returncode == 2 and not list(tmp_path.glob("r/0*"))
    for text in ("06_evaluate: ", "'mbpq'", "09_ablations: ", "'izolated'", "01_collect: ", "'mini-mbp'",
                 "03_rewards: encoder = './nowhere'"):  # fmt: skip
        assert text in refused.stderr, refused.stderr
    alone = call([*words, "--set", faults[-1], "--set", faults[-2]])
    assert "teacher_endpoints: no server answers at http://127.0.0.1:9/v1" in alone.stderr
    assert "model = './nowhere'" in call([*words, "--set", "model=./nowhere"]).stderr


def test_a_notebook_without_its_tag_is_refused(world):
    write_notebook(world.notebooks, "02_sum", [SUM, DONE_SUM], tags=())
    refused = world.run()
    assert refused.returncode == 2 and "02_sum.ipynb: no cells are tagged 'parameters'" in refused.stderr


def test_plain_papermill_makes_the_same_stage_without_a_warning(world, tmp_path):
    assert world.run("--to", "01").returncode == 0
    world.file.write_text(f"max_problems: 3\nrun: plain\noutputs: {world.outputs}\nworkers: 1\nproblems_path: null\n")
    words = [sys.executable, "-m", "papermill", str(world.notebooks / "01_collect.ipynb"), str(tmp_path / "out.ipynb")]
    words += ["-k", "python3", "--cwd", str(world.notebooks)]
    done = subprocess.run([*words, "-f", str(world.file)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "nknown parameter" not in done.stdout + done.stderr
    assert world.items("plain") == world.items()
    by_runner, plain = (read_json(world.outputs / r / "01_collect" / "done.json") for r in ("r", "plain"))
    assert by_runner["key"] == plain["key"]
    world.file.write_text("max_problems: 3\n")
    assert "01_collect: up to date" in world.run("--to", "01", run="plain").stdout

    listed = subprocess.run([*words, "-y", f"params: [{world.file}]", "-p", "run", "listed", "-p", "outputs",
                             str(world.outputs)], capture_output=True, text=True, timeout=120)  # fmt: skip
    assert listed.returncode == 0 and world.items("listed") == world.items(), listed.stderr

    typo = subprocess.run([*words, "-p", "max_problem", "3"], capture_output=True, text=True, timeout=120)
    assert typo.returncode == 1 and "'max_problem' is not a parameter; did you mean 'max_problems'?" in typo.stderr


def test_papermill_knows_every_parameter_of_our_notebooks_and_reads_others_as_ever():
    from papermill.inspection import inspect_notebook

    from ledexlib.params import FIELDS, NOTEBOOKS

    known = inspect_notebook(NOTEBOOKS / "00_tour.ipynb")
    assert {*FIELDS, "params"} == set(known) and known["n_solutions"]["default"] == "20"


def test_progress_is_shown_on_a_terminal(world):
    import pty
    import termios

    world.file.write_text("max_problems: 60\n")
    main, side = pty.openpty()
    termios.tcsetwinsize(side, (24, 100))
    process = subprocess.Popen([*COMMAND, *world.words("--to", "01")], stdout=side)
    os.close(side)
    shown = b""
    try:
        while chunk := os.read(main, 4096):
            shown += chunk
    except OSError:  # how Linux says that the other side of a pty is closed
        pass
    assert process.wait() == 0
    assert re.search(rb"\r\[1/1\] 01_collect: items.* \d+/60 .*[\d.]+ s, [\d.]+ s left", shown)


def test_status_lists_runs_and_names_them(world):
    assert world.run("--to", "01").returncode == 0
    assert re.search(r"^r: 1 of 1 stages done in .*\n  01_collect  done  .* s  records 3, share 0\.25$",
                     world.status().stdout, re.MULTILINE)  # fmt: skip
    unknown = world.status("--run", "x")
    assert unknown.returncode == 2 and "no run 'x' in" in unknown.stderr and "the runs are: r" in unknown.stderr


def test_the_command_line_without_a_command_prints_help():
    done = call([])
    assert done.returncode == 0 and "run the notebooks in order" in done.stdout


def test_the_kernel_is_this_interpreter(world, monkeypatch):
    """A kernel that the user installed as 'python3' for another interpreter is not used."""
    fake = world.outputs.parent / "jupyter" / "kernels" / "python3"
    fake.mkdir(parents=True)
    (fake / "kernel.json").write_text(json.dumps({"argv": ["/bin/false"], "display_name": "x", "language": "python"}))
    where = "import sys\nstage.path('python').write_text(sys.executable)"
    write_notebook(world.notebooks, "01_collect", [COLLECT, where, DONE], PARAMETERS)
    monkeypatch.setenv("JUPYTER_PATH", str(fake.parent.parent))
    done = world.run("--to", "01")
    assert done.returncode == 0, done.stdout
    assert (world.outputs / "r" / "01_collect" / "python").read_text() == sys.executable
