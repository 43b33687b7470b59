"""Pages from made runs: what stands on them, what they need from elsewhere (nothing), how runs are compared."""

import base64
import json
import re
import shutil
import subprocess

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat import v4

from ledexlib.report import status_text, write_run_page
from ledexlib.report.notebook_html import formulas, mathml
from ledexlib.report.pages import differing_parameters
from ledexlib.runs import StageError, lock

PIXEL = base64.b64encode(bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c63f8cfc0f01f00050001ff"
    "89993d1d0000000049454e44ae426082"
)).decode()  # fmt: skip
WIDE = "<table><tr>" + "".join(f"<td>column {n} of many</td>" for n in range(40)) + "</tr></table>"
FORMULA = r"$$S_{cb}(r) = \frac{1}{|R_c|}\sum_{r_c} \mathrm{CodeBLEU}(r, r_c), \qquad R(r) = 5\,(S_{cb} + S_{ut}) - 5$$"
GAINS = {"sft_over_prompting": {"pass@1": {"points": 5.5, "low": -6.0, "high": 16.75}, "from": {"better drafts": 1}}}


def output(metadata=None, **data):
    data = {name.replace("_", "/"): text for name, text in data.items()}
    return v4.new_output("display_data", data=data, metadata=metadata or {})


def notebook(title, outputs=()):
    """An executed notebook: a title, two sections and a cell with these outputs."""
    cells = [
        v4.new_markdown_cell(f"# {title}\n\nThe loss $x^2$ costs `nothing`.\n\n{FORMULA}"),
        v4.new_markdown_cell("## A problem\n\n### In detail\n\nText."),
        v4.new_code_cell("the_source = 1", outputs=list(outputs)),
        v4.new_code_cell("hidden", outputs=[v4.new_output("stream", text="for insiders")], metadata={"tags": ["hide"]}),
        v4.new_markdown_cell("## A problem"),
        v4.new_code_cell("more = 1", outputs=[output(image_png=PIXEL)]),
    ]
    return v4.new_notebook(cells=cells)


def make_stage(run, name, metrics=None, outputs=(), done=True, suffix="", **about):
    folder = run / name
    folder.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook(f"{name[:2]} · {name[3:]}", outputs), folder / f"{name}{suffix}.ipynb")
    if done:
        (folder / "metrics.json").write_text(json.dumps(metrics or {}))
        done = {"seconds": 61.0, "finished": "2026-01-31T12:00:00+00:00", "files": {}, **about}
        (folder / "done.json").write_text(json.dumps(done))
    return folder


def make_run(outputs, name, updated="2026-01-31T12:30:59+00:00", **parameters):
    run = outputs / name
    run.mkdir(parents=True)
    about = {
        "parameters": {"run": name, **parameters}, "updated": updated, "command": f"ledex run --run {name}",
        "commit": "0123456789", "dirty": False, "versions": {"python": "3.11", "torch": "2"},
        "hardware": {"cpu": "c", "cores": 2, "memory_gib": 4, "system": "s", "gpus": []},
    }  # fmt: skip
    (run / "run.json").write_text(json.dumps(about))
    return run


def read(path):
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


@pytest.fixture
def run(tmp_path):
    """A run of three finished stages and one that failed."""
    run = make_run(tmp_path, "one", seed=0, max_problems=150, ppo_lr=1e-5)
    outputs = [
        output({"image/png": {"alt": "Rewards by batch"}}, image_png=PIXEL),
        output(text_html=f"<script>alert(1)</script>{WIDE}"),
        output(text_markdown="```diff\n- return 1\n+ return 2\n```"),
        v4.new_output("stream", text="<i>&"),
    ]
    make_stage(run, "01_collect", {"pass@1 %": 30.83, "low": 25.81, "high": 35.5, "problems": 150}, outputs)
    make_stage(run, "02_verify", {"refined": 191, "table": [1, 2]})
    make_stage(run, "03_rewards", done=False, suffix=".failed")
    make_stage(run, "06_evaluate", {"prompt initial pass@1 %": 41.4, "gains": GAINS, "command": "x" * 99})
    return run


def test_a_stage_page_shows_text_and_outputs_without_code(run):
    write_run_page(run)
    page = read(run / "report" / "01_collect.html")
    text = page.get_text()
    assert "the_source" not in text and "for insiders" not in text
    assert page.h1.text == "01 · collect" and page.title.text.startswith("01_collect · one")
    assert "<i>&" in text and page.find("math") and "0123456" in text and "2026-01-31 12:00 UTC" in text
    assert page.find(class_="gd").text == "- return 1" and page.find(class_="gi").text == "+ return 2"


def test_a_page_needs_nothing_from_elsewhere(run):
    write_run_page(run)
    pages = [run.parent / "index.html", *(run / "report").glob("*.html")]
    assert len(pages) == 6
    for path in pages:
        page = read(path)
        assert not page.find_all(["script", "link", "iframe"]) and page.find("style").text
        assert all(image["src"].startswith("data:image/") for image in page.find_all("img"))
        for link in page.find_all("a"):
            address = link["href"]
            if address.startswith("#"):
                assert len(page.find_all(id=address[1:])) == 1, f"{path}: {address}"
            else:
                assert not address.startswith(("http", "//")) and (path.parent / address).exists(), f"{path}: {address}"


def test_contents_and_neighbours(run):
    write_run_page(run)
    page = read(run / "report" / "02_verify.html")
    listed = [link.text for link in page.find(class_="beside").find_all("a")]
    assert listed == ["A problem", "In detail", "A problem"]
    assert page.find(class_="above").find("a")["href"] == page.find(class_="beside").find("a")["href"]
    assert page.find("a", rel="prev")["href"] == "01_collect.html"
    assert page.find("a", rel="next")["href"] == "03_rewards.html"
    assert read(run / "report" / "01_collect.html").find("a", rel="prev") is None
    assert read(run / "report" / "06_evaluate.html").find("a", rel="next") is None


def test_images_have_alternative_texts_and_tables_a_box(run):
    write_run_page(run)
    page = read(run / "report" / "01_collect.html")
    assert [image["alt"] for image in page.find_all("img")] == ["Rewards by batch", "Figure: A problem"]
    assert all(table.find_parent(class_="scroll") for table in page.article.find_all("table"))


def test_failed_and_running_stages_are_shown(run):
    held = lock(run / ".02_verify.lock")
    write_run_page(run)
    page = read(run / "report" / "index.html")
    status = {row.td.text: row.find(class_="status").text for row in page.find(class_="stages").tbody.find_all("tr")}
    assert status == {"01_collect": "done", "02_verify": "running", "03_rewards": "failed", "06_evaluate": "done"}
    failed = read(run / "report" / "03_rewards.html").get_text()
    assert "This stage is not complete" in failed and "for insiders" in failed
    held.close()


def test_a_stage_whose_file_is_gone_is_unfinished(run):
    make_stage(run, "02_verify", {"refined": 191}, files={"gone.jsonl": 3})
    assert "02_verify    unfinished" in status_text(run.parent)


def test_a_stage_made_by_other_code_is_named(run, tmp_path):
    own = tmp_path / "02_verify.ipynb"
    nbformat.write(notebook("02"), own)
    make_stage(run, "02_verify", {"refined": 191}, code={str(own): "0", "ledexlib/gone.py": "1"})
    write_run_page(run)
    said = "made by other code, changed since:"
    assert said in status_text(run.parent) and said in read(run / "report" / "index.html").get_text()
    assert said.capitalize() in read(run / "report" / "02_verify.html").get_text()
    assert read(run.parent / "index.html").find(title=re.compile(said)).text == "02*"


def test_status_lists_runs_and_names_them(run):
    text = status_text(run.parent)
    assert "one: 3 of 4 stages done in 3 min 03 s, updated 2026-01-31 12:30 UTC" in text
    assert "01_collect   done         1 min 01 s  pass@1 % 30.8 [25.8, 35.5], problems 150" in text
    with pytest.raises(StageError, match=r"no run 'x' in .*; the runs are: one"):
        status_text(run.parent, "x")
    assert status_text(run.parent / "one") == f"no run in {run.parent / 'one'}"


def test_what_a_run_says_is_escaped(tmp_path):
    evil = "<script>alert(1)</script>"
    run = make_run(tmp_path, "r", model=evil, gone=[evil])
    make_stage(run, "01_collect", {evil: evil, "nested": {"a": 1}, "none": None, "n": 12345, "x": 1 / 3})
    for page in (write_run_page(run), tmp_path / "index.html"):
        assert "<script" not in page.read_text() and "&lt;script&gt;" in page.read_text()
    assert f"{evil} {evil}, none none, n 12,345, x 0.333" in status_text(tmp_path)


def rows(page, anchor):
    """The table below a heading: the cells of each row."""
    table = page.find(id=anchor).find_next("table")
    return [[cell.text.replace("\u00a0", " ") for cell in row.find_all(["th", "td"])] for row in table.find_all("tr")]


def test_the_runs_page_compares_runs(run):
    other = make_run(run.parent, "two", "2026-02-01T00:00:00+00:00", seed=0, max_problems=20, n_samples=10)
    make_stage(other, "01_collect", {"pass@1 %": 40.0, "dropped": 2})
    gain = {"points": -0.4, "low": -2.0, "high": 1.2, "n_seeds": 3}
    make_stage(other, "09_ablations", {"gains": {"rl_over_sft": {"pass@1": gain}}})
    write_run_page(other)
    page = read(run.parent / "index.html")
    assert [row[0] for row in rows(page, "runs")[1:]] == ["two", "one"], "the newest first"
    assert rows(page, "parameters") == [["parameter", "two", "one"], ["max_problems", "20", "150"]]
    assert rows(page, "gains")[1:] == [
        ["RL over SFT: pass@1", "−0.4 [−2.0, +1.2], 3 seeds", "–"], ["SFT over base: pass@1", "–", "+5.5 [−6.0, +16.8]"]
    ]  # fmt: skip
    metrics = rows(page, "metrics")
    assert ["01_collect"] in metrics and ["pass@1 %", "40", "30.8 [25.8, 35.5]"] in metrics
    assert ["base initial pass@1 %", "–", "41.4"] in metrics and not any("x" * 9 in row[-1] for row in metrics)


def test_one_run_and_none(tmp_path, run):
    write_run_page(run)
    assert "There is one run only" in read(run.parent / "index.html").get_text()
    assert differing_parameters([{"run": "a", "seed": 0}, {"run": "b", "seed": 0, "new": 1}]) == []


def test_formulas_become_mathml_and_a_broken_one_stays_as_written():
    assert "<msup>" in mathml("x^2")
    assert mathml(r"\left( <b>") == r"<code>\left( &lt;b&gt;</code>"
    assert formulas(r"a = b, \qquad c").count("<math") == 2
    assert formulas(r"\begin{cases} a \qquad b \end{cases}").count("<math") == 1


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FRAME = """<iframe id="f" src="{page}" style="width:{width}px;height:600px"></iframe><script>onload = () => {{
const page = document.getElementById("f").contentDocument.documentElement;
document.title = page.scrollWidth + " " + page.clientWidth; document.body.textContent = document.title; }}</script>"""


@pytest.mark.skipif(BROWSER is None, reason="no browser")
@pytest.mark.parametrize("width", [420, 1400])
def test_no_page_scrolls_sideways(run, tmp_path, width):
    write_run_page(run)
    for page in ("index.html", "one/report/index.html", "one/report/01_collect.html"):
        frame = tmp_path / "frame.html"
        frame.write_text(FRAME.format(page=page, width=width))
        command = [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-sync", "--disable-background-networking", "--disable-component-update",
            "--allow-file-access-from-files", f"--user-data-dir={tmp_path / 'browser'}",
            "--virtual-time-budget=3000", "--dump-dom", frame.as_uri(),
        ]  # fmt: skip
        shown = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
        needed, there = map(int, re.search(r"<title>(\d+) (\d+)</title>", shown).groups())
        assert 0 < needed <= there, page
