"""Things to read inside a notebook: a problem, a program, a repair with what it changed, tables.

Texts are Markdown and tables plain HTML: they read well in JupyterLab, on pages, and on GitHub, which strips styles."""

import difflib
import re
import textwrap
from collections.abc import Mapping, Sequence
from itertools import zip_longest

import pandas as pd
from IPython.display import HTML, Markdown

from ledexlib.records import Problem, Refinement, Solution
from ledexlib.report.text import TEMPLATES
from ledexlib.runs import Stage

EMPTY = "*Empty: there was no program in the answer.*"
MARKUP = re.compile(r"""`[^`\n]+`|[!"#$&*<>@\[\\\]^_`{|}~]""")  # code, or a character that Markdown reads


def as_markdown(text: str) -> str:
    """A sentence that a model may have written as Markdown: nothing in it is markup but code in backticks."""
    return re.sub(r"^(\s*\d*)([-+.)])", lambda found: f"{found[1]}&#{ord(found[2])};", MARKUP.sub(_plain, text))


def _plain(found: re.Match[str]) -> str:
    """Code as it is, a character so that it is no markup; MathJax looks for formulas in what Markdown leaves."""
    if len(found[0]) > 1:
        return found[0]
    return f"<span>&#{ord(found[0])};</span>" if found[0] in "$\\" else f"&#{ord(found[0])};"


def _fenced(text: str, language: str = "text") -> str:
    """A block of code; its fence is longer than any row of backticks in it."""
    marks = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{marks}{language}\n{text.rstrip()}\n{marks}"


def _sentences(text: str) -> str:
    """A block of text whose long lines, but not those of code, are broken."""
    lines = text.splitlines()
    return _fenced("\n".join(x if x.startswith(("assert", " ", "\t")) else textwrap.fill(x, 100) for x in lines))


def _diff(before: str, after: str) -> str:
    """The second program with the lines that the repair took out and put in marked."""
    if not after.strip():
        return EMPTY
    lines = [line for line in difflib.ndiff(before.splitlines(), after.splitlines()) if not line.startswith("?")]
    note = "" if before.strip() else "*The wrong program is empty: there was none in the answer.*\n\n"
    note += "*The repair is the wrong program again.*\n\n" if before == after else ""
    return note + _fenced("\n".join(lines), "diff")


TEMPLATES.filters |= {"plain": as_markdown, "sentences": _sentences, "diff": _diff}
TEMPLATES.filters["program"] = lambda code: _fenced(code, "python") if code.strip() else EMPTY
TEXTS, TABLES = (TEMPLATES.get_template(name).module for name in ("views.md", "views.html"))


def problem(shown: Problem) -> Markdown:
    """A problem: what the model is asked, and one correct program."""
    return Markdown(TEXTS.problem(shown))


def solution(shown: Solution) -> Markdown:
    """A program with what its tests said."""
    return Markdown(TEXTS.solution(shown))


def repair(wrong: Solution, refinement: Refinement, task: Problem) -> Markdown:
    """A repair from the task to the verdict, with the changed lines marked."""
    return Markdown(TEXTS.repair(wrong, refinement, task))


def conversation(messages: Sequence[Mapping[str, str]], title: str) -> Markdown:
    """A conversation with its last turn, the one that is learned or was answered, marked."""
    return Markdown(TEXTS.conversation(messages, title))


def table(shown: pd.DataFrame, caption: str) -> HTML:
    """A table with what it shows above it; cells keep their lines, numbers have two decimals."""
    return HTML(TABLES.captioned(caption, map(str, shown.columns), shown.itertuples(index=False, name=None)))


def explanations(columns: dict[str, list[tuple[str, str, str]]]) -> HTML:
    """Explanations side by side: for each titled column its (heading, feedback of the wrong program, explanation)."""
    return HTML(TABLES.explanations(columns, zip_longest(*columns.values())))


def parameters(stage: Stage) -> HTML:
    """The resolved parameters that matter in a stage, folded: their values, where each was set, what they mean."""
    return HTML(TABLES.parameters(stage.parameter_rows))
