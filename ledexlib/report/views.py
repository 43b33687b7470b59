"""Things to read inside a notebook: a problem, a program, a repair with what it changed, tables.

Texts are Markdown and tables plain HTML, so that they read well in JupyterLab, on the rendered pages and on GitHub,
which strips all styles.
"""

from __future__ import annotations

import difflib
import re
import textwrap
from collections.abc import Mapping, Sequence
from html import escape
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from IPython.display import HTML, Markdown

from ledexlib.records import Problem, Refinement, Solution
from ledexlib.report.text import as_html, as_markdown, parameter_text

if TYPE_CHECKING:
    import pandas as pd

EMPTY = "*Empty: there was no program in the answer.*"
SCROLL = '<div class="scroll" tabindex="0" style="overflow-x:auto">'
CELL = "text-align:left;vertical-align:top;padding:4px 8px"


def _label(text: str) -> str:
    return f"**{as_markdown(text)}**"


def _fenced(text: str, language: str = "text") -> str:
    """A block of code; its fence is longer than any row of backticks in it."""
    marks = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{marks}{language}\n{text.rstrip()}\n{marks}"


def _sentences(text: str) -> str:
    """A block of text whose long lines, but not those of code, are broken."""
    lines = text.splitlines()
    return _fenced("\n".join(x if x.startswith(("assert", " ", "\t")) else textwrap.fill(x, 100) for x in lines))


def _program(code: str) -> str:
    return _fenced(code, "python") if code.strip() else EMPTY


def _quoted(text: str) -> str:
    """An explanation, its lines as they are."""
    return "\n".join(f"> {as_markdown(line)}  " for line in text.strip().splitlines())


def _page(*parts: str) -> Markdown:
    return Markdown("\n\n".join(parts))


def _diff(before: str, after: str) -> str:
    """The second program with the lines that the repair took out and put in marked."""
    if not after.strip():
        return EMPTY
    lines = [line for line in difflib.ndiff(before.splitlines(), after.splitlines()) if not line.startswith("?")]
    note = [] if before.strip() else ["*The wrong program is empty: there was none in the answer.*"]
    note += ["*The repair is the wrong program again.*"] if before == after else []
    return "\n\n".join([*note, _fenced("\n".join(lines), "diff")])


def problem(shown: Problem) -> Markdown:
    """A problem: what the model is asked, and one correct program."""
    return _page(
        _label(f"{shown.task_id} · the task"), _sentences(shown.prompt),
        _label("a correct program"), _program(shown.reference),
    )  # fmt: skip


def solution(shown: Solution) -> Markdown:
    """A program with what its tests said."""
    verdict = shown.verdict
    said = verdict.feedback or "every test passes"
    title = f"{shown.task_id} · {shown.model}: {verdict.status}, {verdict.n_passed} of {verdict.n_tests} tests pass"
    return _page(_label(title), _program(shown.code), _label("feedback"), _sentences(said))


def repair(wrong: Solution, refinement: Refinement, task: Problem) -> Markdown:
    """A repair from the task to the verdict, with the changed lines marked."""
    verdict = refinement.verdict
    outcome = (
        "passes every test" if verdict.passed else f"{verdict.status}: {verdict.n_passed} of {verdict.n_tests} tests"
    )
    said = (_label(f"explanation by {refinement.teacher}"), _quoted(refinement.explanation or ""))
    return _page(
        _label(f"{task.task_id} · the task"), _sentences(task.prompt),
        _label(f"what testing the program of {wrong.model} said"), _sentences(wrong.told),
        *(said if refinement.explanation else ()),
        _label(f"the repair ({outcome}): − wrong program, + refinement"), _diff(wrong.code, refinement.code),
    )  # fmt: skip


def conversation(messages: Sequence[Mapping[str, str]], title: str) -> Markdown:
    """A conversation with its last turn, the one that is learned or was answered, marked."""
    *before, last = messages
    turns = [part for turn in before for part in (_label(turn["role"]), _sentences(turn["content"]))]
    return _page(_label(title), *turns, _label(f"→ {last['role']}, the answer"), _sentences(last["content"]))


def table(shown: pd.DataFrame, caption: str) -> HTML:
    """A table with what it shows above it; cells keep their lines, numbers have two decimals."""
    rows = [[_value(value) for value in row] for row in shown.itertuples(index=False, name=None)]
    title = f'<p style="margin:14px 0 4px;max-width:60rem"><b>{as_html(caption)}</b></p>'
    return HTML(title + _rows(rows, [as_html(str(name)) for name in shown.columns]))


def _value(value: Any) -> str:
    if value is None or value != value:
        return "–"
    return f"{value:.2f}" if isinstance(value, float) else as_html(str(value)).replace("\n", "<br>")


def _rows(rows: Sequence[Sequence[str]], head: Sequence[str]) -> str:
    """A table of cells that are HTML, in a box that scrolls where it is too wide."""
    heads = "".join(f'<th style="{CELL}">{name}</th>' for name in head)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"{SCROLL}<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"


def _cell(body: str) -> str:
    """A cell; a number with its interval is not broken, on GitHub neither."""
    numbers = re.fullmatch(r"(?:[-+−\d., \[\]]|<br>)+", body)
    return f'<td style="{CELL}">{body.replace(" ", "&nbsp;") if numbers else body}</td>'


def explanations(columns: dict[str, list[tuple[str, str, str]]]) -> HTML:
    """Explanations side by side: for each titled column its (heading, feedback of the wrong program, explanation)."""
    cells = [
        [
            f"<p><b>{as_html(heading)}</b></p><p>{as_html(explanation)}</p><p><i>the feedback it explains</i><br>"
            + "<br>".join(f"<code>{escape(line)}</code>" for line in said.splitlines()) + "</p>"
            for heading, said, explanation in rows
        ]
        for rows in columns.values()
    ]
    return HTML(_rows(list(zip_longest(*cells, fillvalue="")), [as_html(title) for title in columns]))


def parameters(stage: Any) -> HTML:
    """The resolved parameters that matter in a stage, folded: their values, where each was set, what they mean.

    ``stage.parameter_rows`` has a dict of ``name``, ``value``, ``source`` and ``description`` for each.
    """
    shown = ("value", "source", "description")
    rows = [{**row, "value": parameter_text(row["value"])} for row in stage.parameter_rows]
    cells = [[f"<code>{row['name']}</code>", *(as_html(row[name]) for name in shown)] for row in rows]
    chosen = sum(row["source"] != "default" for row in rows)
    summary = f"The {len(rows)} parameters that matter here: {chosen} set, the others at their defaults"
    table = _rows(cells, ("parameter", "value", "set by", ""))
    return HTML(f"<details><summary>{summary}</summary>{table}</details>")
