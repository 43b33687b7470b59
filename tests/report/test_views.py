"""What notebooks show to read: nothing in it is markup that a model wrote, and it reads well without styles."""

from types import SimpleNamespace

import nbformat
import pandas as pd
from nbformat import v4

from ledexlib.records import Problem, Refinement, Sampling, Solution, Verdict
from ledexlib.report import views
from ledexlib.report.notebook_html import rendered_notebook
from ledexlib.report.text import as_html, metric_text, parameter_text

EVIL = "It <b>adds</b> `x < 3` *twice*, __so__ [a](b) costs $x$."
PROBLEM = Problem(
    task_id="b/1", prompt="Double it.\nassert f(1) == 2", entry_point="f", tests=(), benchmark="b", split="train",
    reference="def f(x):\n    return 2 * x",
)  # fmt: skip
WRONG = Solution(
    id="s", task_id="b/1", code="def f(x):\n    return x", completion="", model="m", sampling=Sampling(),
    verdict=Verdict(status="failed", n_passed=0, n_tests=2, feedback="assert f(1) == 2\ngot 1", seconds=0.1),
)  # fmt: skip
REPAIR = Refinement(
    id="r", solution_id="s", task_id="b/1", explanation=EVIL, code=PROBLEM.reference, completion="", teacher="t",
    sampling=Sampling(), verdict=Verdict(status="passed", n_passed=2, n_tests=2, feedback="", seconds=0.1),
)  # fmt: skip


def shown(view, tmp_path):
    """A view as the pages have it."""
    data = {"text/markdown": view.data} if hasattr(view, "_repr_markdown_") else {"text/html": view.data}
    cell = v4.new_code_cell("", outputs=[v4.new_output("display_data", data=data)])
    nbformat.write(v4.new_notebook(cells=[cell]), tmp_path / "n.ipynb")
    return rendered_notebook(tmp_path / "n.ipynb")[0]


def test_a_repair_is_a_fenced_difference():
    text = views.repair(WRONG, REPAIR, PROBLEM)._repr_markdown_()
    assert "```diff\n  def f(x):\n-     return x\n+     return 2 * x\n```" in text
    assert "**the repair (passes every test): − wrong program, + refinement**" in text
    assert "```text\nassert f(1) == 2\ngot 1\n```" in text and "explanation by t" in text
    assert "explanation" not in views.repair(WRONG, REPAIR.model_copy(update={"explanation": None}), PROBLEM).data


def test_an_empty_program_is_said_to_be_empty():
    empty = WRONG.model_copy(update={"code": "\n"})
    assert views.EMPTY in views.solution(empty).data
    assert "The wrong program is empty" in views.repair(empty, REPAIR, PROBLEM).data
    nothing = views.repair(WRONG, REPAIR.model_copy(update={"code": ""}), PROBLEM).data
    assert views.EMPTY in nothing and "```diff" not in nothing
    unchanged = REPAIR.model_copy(update={"code": WRONG.code})
    assert "the wrong program again" in views.repair(WRONG, unchanged, PROBLEM).data


def test_what_a_model_wrote_is_no_markup(tmp_path):
    page = shown(views.repair(WRONG, REPAIR, PROBLEM), tmp_path)
    for markup in ("<b>", "<em>", "<math", 'href="b"'):
        assert markup not in page
    assert "<code>x &lt; 3</code>" in page and "adds" in page and "__so__" in page
    code = WRONG.model_copy(update={"code": "print('''\n```\n<script>''')"})
    assert "<script" not in shown(views.solution(code), tmp_path)
    for line, kept in (("- item", "- item"), ("1. one", "1. one"), ("# head", "# head")):
        text = REPAIR.model_copy(update={"explanation": line})
        assert f"<p>{kept}" in shown(views.repair(WRONG, text, PROBLEM), tmp_path)


def test_a_problem_and_a_solution():
    text = views.problem(PROBLEM).data
    assert "```text\nDouble it.\nassert f(1) == 2\n```" in text and "```python\ndef f(x):" in text
    assert "b/1 · m: failed, 0 of 2 tests pass" in views.solution(WRONG).data
    long = PROBLEM.model_copy(update={"prompt": "word " * 60 + "\nassert " + "x" * 200})
    assert "assert " + "x" * 200 in views.problem(long).data
    assert max(len(line) for line in views.problem(long).data.splitlines() if "word" in line) <= 100


def test_a_conversation_marks_its_answer():
    turns = [{"role": "user", "content": "Repair:\n```python\nx\n```"}, {"role": "assistant", "content": "It adds."}]
    text = views.conversation(turns, "an example").data
    assert "**an example**" in text and "````text\nRepair:\n```python" in text
    assert "**user**" in text and "**→ assistant, the answer**" in text


def test_a_table_reads_without_styles():
    row = {"model": "base", "score": "41.5 [38.3, 44.7]\n80.9", "n": 3, "x": 1 / 3, "no": None}
    html = views.table(pd.DataFrame([row]), "Run `demo`: <made>")._repr_html_()
    assert "<b>Run <code>demo</code>: &lt;made&gt;</b>" in html
    assert "41.5\u00a0[38.3,\u00a044.7]<br>80.9" in html and ">0.33<" in html and ">–<" in html and ">3<" in html
    assert "color" not in html, "the page's own colours, in the light and in the dark"


def test_explanations_stand_side_by_side():
    html = views.explanations({"highest": [("a: 2.0", "got\n<1>", EVIL)], "lowest": []}).data
    assert html.count("<th ") == 2 and html.count("<tr>") == 2 and "<code>got</code><br><code>&lt;1&gt;</code>" in html


def test_parameters_are_folded():
    rows = [
        {"name": "seed", "value": 0, "source": "default", "description": "seed of every random choice"},
        {"name": "models", "value": ["base", "04_sft"], "source": "params/<x>.yaml", "description": "'base' (`model`)"},
    ]  # fmt: skip
    html = views.parameters(SimpleNamespace(parameter_rows=rows)).data
    assert html.startswith("<details><summary>The 2 parameters that matter here: 1 set")
    assert "base, 04_sft" in html and "params/&lt;x&gt;.yaml" in html and "(<code>model</code>)" in html


def test_values_as_text():
    assert [parameter_text(value) for value in (["a", 1], [], None, 1e-5)] == ["a, 1", "none", "None", "1e-05"]
    assert [metric_text(value) for value in (True, None, 12345, 1 / 3, "x")] == ["yes", "none", "12,345", "0.333", "x"]
    assert as_html("a `b<c` <d>") == "a <code>b&lt;c</code> &lt;d&gt;"
    assert views.as_markdown("b/1 · m: failed, 0 of 2") == "b/1 · m: failed, 0 of 2"
