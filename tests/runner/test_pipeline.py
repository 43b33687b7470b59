"""The runner, with real kernels: order, skipping, failures, kills, the report, the command line."""

import html.parser
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

import nbformat
import pytest
from tiny_notebooks import COLLECT, DONE, DONE_SUM, PARAMETERS, SUM, Item, two_stages, write_notebook

from ledexlib.runs import storage as artifacts
from ledexlib.report import pages as report
from ledexlib.runs import stage as runs
from ledexlib.__main__ import main
from ledexlib.runs.storage import JsonLines

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
    assert artifacts.read_json(run / "02_sum" / "metrics.json") == {"total": 21}
    assert (run / "01_collect" / "01_collect.ipynb").exists() and not list(run.glob("*.ipynb"))
    about = artifacts.read_json(run / "run.json")
    assert about["parameters"]["max_problems"] == 3 and about["parameters"]["n_solutions"] == 20
    assert set(about["stages"]) == {"01_collect", "02_sum"} and "--run r" in about["command"]

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
    assert not notebook.exists() and "failed" not in world.status().stdout


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
    keys = [artifacts.read_json(world.outputs / run / "02_sum" / "done.json")["key"] for run in ("r", "whole")]
    assert keys[0] == keys[1]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_a_run_that_can_go_on(world, signum):
    world.file.write_text("max_problems: 60\n")
    process = world.start("--to", "01")
    process.send_signal(signum)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 130 and "interrupted; the same command goes on" in out
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
        (["--set", "n_solutions=3", "--set", "timeout=2"], "'n_solutions', 'timeout': set, but no notebook in"),
        (["--set", "max_problems=many"], "--set max_problems=many: 'max_problems' = 'many'"),
        (["--from", "colect"], "no stage 'colect'; did you mean 'collect'?"),
        (["--from", "02", "--to", "01"], "--from 02_sum comes after --to 01_collect"),
        (["--from", "sum"], "02_sum needs 01_collect, which has not been run in run 'r'"),
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
    assert refused.returncode == 2 and "made with seed = 0, now 5" in refused.stderr
    write_notebook(world.notebooks, "01_collect", [COLLECT, "print('a new line')", DONE])
    kept = world.run("--from", "02")
    assert kept.returncode == 0 and "01_collect: its notebook changed since the stage was made" in kept.stdout
    assert "[1/1] 02_sum: done" in kept.stdout


def test_a_notebook_without_its_tag_is_refused(world):
    write_notebook(world.notebooks, "02_sum", [SUM, DONE_SUM], tags=())
    refused = world.run()
    assert refused.returncode == 2 and "02_sum.ipynb: no cells are tagged 'parameters'" in refused.stderr


def test_plain_papermill_makes_the_same_stage(world, tmp_path):
    assert world.run("--to", "01").returncode == 0
    world.file.write_text(f"max_problems: 3\nrun: plain\noutputs: {world.outputs}\nworkers: 1\nn_solutions: 4\n")
    words = [sys.executable, "-m", "papermill", str(world.notebooks / "01_collect.ipynb"), str(tmp_path / "out.ipynb")]
    done = subprocess.run([*words, "-f", str(world.file)], cwd=runs.ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert world.items("plain") == world.items()
    by_runner, plain = (artifacts.read_json(world.outputs / r / "01_collect" / "done.json") for r in ("r", "plain"))
    assert by_runner["key"] == plain["key"]
    world.file.write_text("max_problems: 3\n")
    assert "01_collect: up to date" in world.run("--to", "01", run="plain").stdout

    typo = subprocess.run([*words, "-p", "max_problem", "3"], capture_output=True, text=True, timeout=120)
    assert typo.returncode == 1 and "'max_problem' is not a parameter; did you mean 'max_problems'?" in typo.stderr


def test_progress_is_shown_on_a_terminal(world):
    import pty

    world.file.write_text("max_problems: 60\n")
    main, side = pty.openpty()
    process = subprocess.Popen([*COMMAND, *world.words("--to", "01")], stdout=side)
    os.close(side)
    shown = b""
    try:
        while chunk := os.read(main, 4096):
            shown += chunk
    except OSError:  # how Linux says that the other side of a pty is closed
        pass
    assert process.wait() == 0
    assert re.search(rb"\r\[1/1\] 01_collect: items \d+/60, [\d.]+ s, [\d.]+ s left", shown)


class Links(html.parser.HTMLParser):
    """Every address in a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []

    def handle_starttag(self, tag, attributes):
        self.found += [(tag, value) for name, value in attributes if name in ("href", "src")]


def test_the_report_shows_results_without_code_and_without_the_network(world):
    show = "from IPython.display import display, Markdown\ndisplay(Markdown('**shown**'))  # the source\nprint('<i>&')"
    plot = "import matplotlib.pyplot as plt\nplt.plot([1, 2]);"
    path = write_notebook(world.notebooks, "01_collect", [COLLECT, show, "print('for insiders')", plot, DONE])
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[5].metadata["tags"] = ["hide"]
    nbformat.write(notebook, path)
    assert world.run("--set", "seed=3").returncode == 0
    folder = world.outputs / "r" / "report"
    page = (folder / "01_collect.html").read_text()
    assert "<strong>shown</strong>" in page and "&lt;i&gt;&amp;" in page and "data:image/png;base64," in page
    assert "<math" in page and "the source" not in page and "for insiders" not in page
    assert '<b>max_problems</b>' not in page and "max_problems" not in page
    assert re.search(r"seed</code></td><td>3</td>", (folder / "index.html").read_text())
    for page in [world.outputs / "index.html", *folder.glob("*.html")]:
        links = Links()
        links.feed(page.read_text())
        assert "<script" not in page.read_text() and len(links.found) > 0
        for tag, address in links.found:
            assert tag in ("a", "img") and not address.startswith(("http", "//"))
            if tag == "a" and not address.startswith("#"):
                assert (page.parent / address).exists(), f"{page}: {address}"


def test_what_a_run_says_is_escaped(tmp_path):
    run = tmp_path / "r"
    stage = run / "01_collect"
    stage.mkdir(parents=True)
    evil = "<script>alert(1)</script>"
    artifacts.write_json(stage / "metrics.json", {evil: evil, "nested": {"a": 1}, "none": None, "n": 12345, "x": 1 / 3})
    artifacts.write_json(stage / "done.json", {"seconds": 61.0})
    about = {"parameters": {"model": evil, "gone": [evil]}, "updated": "2026-01-31T12:30:59+00:00", "command": evil}
    about |= {"commit": None, "dirty": None, "versions": {evil: evil}, "hardware": {"cpu": evil, "gpus": [evil]}}
    artifacts.write_json(run / "run.json", about)
    for page in (report.write(run), tmp_path / "index.html"):
        assert "<script" not in page.read_text() and "&lt;script&gt;" in page.read_text()
    assert f"{evil} {evil}, none none, n 12,345, x 0.333" in report.status(tmp_path)
    assert "r: 1 of 1 stages done in 1 min 01 s, updated 2026-01-31 12:30 UTC" in report.status(tmp_path)


def test_status_lists_runs_and_names_them(world):
    assert world.run("--to", "01").returncode == 0
    assert re.search(r"^r: 1 of 1 stages done in .*\n  01_collect  done  .* s  records 3, share 0\.25$",
                     world.status().stdout, re.MULTILINE)  # fmt: skip
    unknown = world.status("--run", "x")
    assert unknown.returncode == 2 and "no run 'x' in" in unknown.stderr and "the runs are: r" in unknown.stderr


def test_the_command_line_without_a_command_prints_help():
    done = call([])
    assert done.returncode == 0 and "run the notebooks in order" in done.stdout


def test_formulas_become_mathml_and_a_broken_one_stays_as_written():
    assert "<msup>" in report.mathml("x^2", "inline")
    assert report.mathml(r"\left( <b>", "inline") == r"<code>\left( &lt;b&gt;</code>"


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
