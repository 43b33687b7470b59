"""An executed notebook as HTML for a page: text and outputs, formulas as MathML, everything embedded."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

SHORT = 24  # characters of a table's cell that is not broken


Contents = list[tuple[int, str, str]]  # level, anchor and text of headings


def rendered_notebook(notebook: Path, whole: bool = False) -> tuple[str, Contents]:
    """A notebook's text and outputs as HTML, without its code and cells tagged ``hide``, and its headings.

    ``whole`` keeps those cells, so that a failure inside one shows; papermill's own banners go, the page has its own.
    """
    import nbformat
    from nbconvert.preprocessors import CoalesceStreamsPreprocessor, TagRemovePreprocessor

    removed = {"papermill-error-cell-tag"} | (set() if whole else {"hide"})
    exporter = _exporter_class()(
        template_name="basic", exclude_input=True, exclude_output_prompt=True, exclude_input_prompt=True,
        embed_images=True,
    )  # fmt: skip
    exporter.register_preprocessor(TagRemovePreprocessor(remove_cell_tags=removed), enabled=True)
    exporter.register_preprocessor(CoalesceStreamsPreprocessor, enabled=True)  # printed lines in one block
    content = nbformat.read(notebook, as_version=4)
    _name_images(content.cells)
    body, _ = exporter.from_notebook_node(content)
    return _finished(body)


def _name_images(cells: Iterable[Any]) -> None:
    """Give images that have no alternative text, as figures of `plots` have, that of the heading they stand below."""
    heading = ""
    for cell in cells:
        if cell.cell_type == "markdown":
            heading = next(iter(re.findall(r"^#+ +(.+)$", cell.source, re.MULTILINE)[-1:]), heading)
        for output in cell.get("outputs", ()):
            for kind in {"image/png", "image/jpeg", "image/svg+xml"} & set(output.get("data", ())):
                output.metadata.setdefault(kind, {}).setdefault("alt", f"Figure: {heading}")


def _finished(body: str) -> tuple[str, Contents]:
    """The fragment with anchors, without scripts, with boxes that scroll around what may be too wide."""
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(body, "html.parser")
    for tag in soup.find_all("script"):
        tag.decompose()  # widgets; no script runs on a page
    for cell in soup.find_all(class_="code_cell"):
        if not cell.get_text(strip=True) and not cell.find(["img", "svg"]):
            cell.decompose()
    contents = []
    for number, tag in enumerate(soup.find_all(["h2", "h3"])):
        tag["id"] = f"part-{number}"  # the same heading may come twice
        contents.append((int(tag.name[1]), tag["id"], tag.get_text(" ", strip=True)))
    for tag in soup.find_all("td"):
        if len(tag.get_text()) <= SHORT:
            tag["class"] = [*tag.get("class", ()), "short"]
    for tag in soup.find_all("table"):
        if not tag.find_parent(class_="scroll"):
            tag.wrap(soup.new_tag("div", attrs={"class": "scroll", "tabindex": "0"}))
    return str(soup), contents


def _exporter_class() -> type:
    """nbconvert's HTML exporter, with formulas as MathML: browsers show it without a script from the network."""
    from jinja2 import pass_context
    from nbconvert import HTMLExporter
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    class Renderer(IPythonRenderer):
        def inline_math(self, body: str) -> str:
            return mathml(body)

        def block_math(self, body: str) -> str:
            return formulas(body)

        def latex_environment(self, name: str, body: str) -> str:
            return formulas(f"\\begin{{{name}}}{body}\\end{{{name}}}")

    class Exporter(HTMLExporter):
        @pass_context
        def markdown2html(self, context: Any, source: str) -> str:
            attachments = context.get("cell", {}).get("attachments", {})
            return MarkdownWithMath(
                renderer=Renderer(escape=False, attachments=attachments, exclude_anchor_links=True)
            ).render(source)

    return Exporter


def formulas(body: str) -> str:
    """A displayed formula; what ``\\qquad`` sets apart goes below each other where there is no room."""
    parts = body.split(r"\qquad")
    if any(part.count("{") != part.count("}") or part.count(r"\begin") != part.count(r"\end") for part in parts):
        parts = [body]
    shown = "".join(f'<div class="scroll">{mathml(part, "block")}</div>' for part in parts)
    return f'<div class="formulas">{shown}</div>'


def mathml(formula: str, display: str = "inline") -> str:
    """A TeX formula as MathML; one that cannot be converted is shown as it was written."""
    import latex2mathml.converter

    try:
        return latex2mathml.converter.convert(formula.strip(), display=display)
    except Exception:  # the converter raises a class of its own for each fault
        return f"<code>{escape(formula)}</code>"
