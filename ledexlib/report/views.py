"""Things to read inside a notebook, as static HTML: a problem, a program, a repair with what it changed."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from html import escape

import pandas as pd
from IPython.display import HTML

from ledexlib.records import Problem, Refinement, Solution

BOX = "border:1px solid #d0d7de;border-radius:6px;padding:10px 14px;margin:10px 0;max-width:960px"
MONO = "font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace"
CODE = f"background:#f6f8fa;padding:8px 10px;margin:4px 0;overflow-x:auto;font-size:0.85em;line-height:1.35;{MONO}"
LABEL = "color:#57606a;font-size:0.8em;margin-top:8px"
CELL = '<td style="white-space:pre;text-align:left;vertical-align:top;padding:4px 8px">'
HEAD = '<th style="text-align:left;vertical-align:bottom;padding:4px 8px;white-space:normal">'
ADDED, REMOVED = "background:#d7f5df", "background:#ffe3e0"


def _part(label: str, body: str) -> str:
    return f'<div style="{LABEL}">{escape(label)}</div>{body}'


def _code(text: str, look: str = "") -> str:
    """Code, its long lines wrapped: a task is a sentence above its tests."""
    wrapped = "white-space:pre-wrap;word-break:normal;overflow-wrap:anywhere"  # at spaces, whatever the page says
    return f'<pre style="{CODE};{wrapped};{look}">{escape(text)}</pre>'


def _text(text: str) -> str:
    return f'<div style="max-width:75ch">{escape(text)}</div>'


def _diff(before: str, after: str) -> str:
    """The second program with the lines that the repair took out and put in marked."""
    lines = []
    for line in difflib.ndiff(before.splitlines(), after.splitlines()):
        if line.startswith("?"):
            continue
        look = {"+": ADDED, "-": REMOVED}.get(line[0], "")
        lines.append(f'<span style="display:block;{look}">{escape(line) or " "}</span>')
    return f'<pre style="{CODE}">{"".join(lines)}</pre>'


def _box(*parts: str) -> HTML:
    return HTML(f'<div style="{BOX}">{"".join(parts)}</div>')


def problem(shown: Problem) -> HTML:
    """A problem: what the model is asked, and one correct program."""
    return _box(
        _part(f"{shown.task_id} · the task", _code(shown.prompt)), _part("a correct program", _code(shown.reference))
    )


def solution(shown: Solution) -> HTML:
    """A program with what its tests said."""
    verdict = shown.verdict
    said = verdict.feedback or "every test passes"
    title = f"{shown.task_id} · {shown.model}: {verdict.status}, {verdict.n_passed} of {verdict.n_tests} tests pass"
    return _box(_part(title, _code(shown.code)), _part("feedback", _code(said)))


def repair(wrong: Solution, refinement: Refinement, task: Problem) -> HTML:
    """A repair from the task to the verdict, with the changed lines marked."""
    verdict = refinement.verdict
    explanation = (
        [_part(f"explanation by {refinement.teacher}", _text(refinement.explanation))] if refinement.explanation else []
    )
    outcome = (
        "passes every test" if verdict.passed else f"{verdict.status}: {verdict.n_passed} of {verdict.n_tests} tests"
    )
    return _box(
        _part(f"{task.task_id} · the task", _code(task.prompt)),
        _part(f"what testing the program of {wrong.model} said", _code(wrong.verdict.feedback)),
        *explanation,
        _part(f"the repair ({outcome}): − wrong program, + refinement", _diff(wrong.code, refinement.code)),
    )


def conversation(messages: Sequence[Mapping[str, str]], title: str) -> HTML:
    """A conversation with its last turn, the one that is learned or was answered, marked."""
    *before, last = messages
    turns = [_part(message["role"], _code(message["content"])) for message in before]
    return _box(_part(title, ""), *turns, _part(last["role"], _code(last["content"], ADDED)))


def table(shown: pd.DataFrame, caption: str) -> HTML:
    """A table with what it shows above it; cells keep their lines."""
    body = shown.to_html(index=False, na_rep="–", float_format="{:.2f}".format, border=0, justify="left")
    title = f'<div style="font-weight:600;margin-top:14px;max-width:960px">{escape(caption)}</div>'
    body = body.replace("\\n", "\n").replace("<td>", CELL).replace("<th>", HEAD)
    return HTML(f'{title}<div style="overflow-x:auto;font-size:0.8em">{body}</div>')


def explanations(columns: dict[str, list[tuple[str, str, str]]]) -> HTML:
    """Explanations side by side: for each titled column its (heading, feedback of the wrong program, explanation)."""
    cells = []
    for title, rows in columns.items():
        boxes = [
            _part(heading, _text(explanation)) + _part("the feedback it explains", _code(said))
            for heading, said, explanation in rows
        ]
        body = "".join(f'<div style="{BOX}">{box}</div>' for box in boxes)
        cells.append(f'<div style="flex:1 1 300px;min-width:0"><b>{escape(title)}</b>{body}</div>')
    return HTML(f'<div style="display:flex;flex-wrap:wrap;gap:14px;max-width:1100px">{"".join(cells)}</div>')
