"""An executed notebook as HTML for a page: text and outputs, formulas as MathML, everything embedded."""

from pathlib import Path

import latex2mathml.converter
from bs4 import BeautifulSoup
from markupsafe import Markup, escape
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbconvert.preprocessors import CoalesceStreamsPreprocessor, TagRemovePreprocessor

UNNAMED = "No description has been provided for this image"  # nbconvert's words
SHORT = 24  # characters of a table's cell that is not broken
Contents = list[tuple[int, str, str]]  # level, anchor and text of headings


def rendered_notebook(notebook: Path, whole: bool = False) -> tuple[Markup, Contents]:
    """A notebook's text and outputs as HTML, without its code and cells tagged ``hide``, and its headings.

    ``whole`` keeps those cells, so that a failure inside one shows; papermill's banners go, the page has its own."""
    removed = {"papermill-error-cell-tag"} | (set() if whole else {"hide"})
    markdown = MarkdownWithMath(renderer=_Renderer(escape=False, exclude_anchor_links=True))
    exporter = HTMLExporter(
        template_name="basic", exclude_input=True, exclude_output_prompt=True, exclude_input_prompt=True,
        embed_images=True, filters={"markdown2html": markdown.render})
    exporter.register_preprocessor(TagRemovePreprocessor(remove_cell_tags=removed), enabled=True)
    exporter.register_preprocessor(CoalesceStreamsPreprocessor, enabled=True)  # printed lines in one block
    return _finished(exporter.from_filename(str(notebook))[0])


def _finished(body: str) -> tuple[Markup, Contents]:
    """The fragment with anchors, without scripts, with boxes that scroll around what may be too wide."""
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
    for tag in soup.find_all("img", alt=UNNAMED):  # not a figure of `plots`: it shows what its heading says
        heading = tag.find_previous(["h1", "h2", "h3"])
        tag["alt"] = f"Figure: {heading.get_text(' ', strip=True)}" if heading else "Figure"
    for tag in soup.find_all("td"):
        if len(tag.get_text()) <= SHORT:
            tag["class"] = [*tag.get("class", ()), "short"]
    for tag in soup.find_all("table"):
        if not tag.find_parent(class_="scroll"):
            tag.wrap(soup.new_tag("div", attrs={"class": "scroll", "tabindex": "0"}))
    return Markup(soup), contents


class _Renderer(IPythonRenderer):
    """Markdown with its formulas as MathML: browsers show it without a script from the network."""

    def inline_math(self, body: str) -> str:
        return mathml(body)

    def block_math(self, body: str) -> str:
        return formulas(body)

    def latex_environment(self, name: str, body: str) -> str:
        return formulas(f"\\begin{{{name}}}{body}\\end{{{name}}}")


def formulas(body: str) -> str:
    """A displayed formula; what ``\\qquad`` sets apart goes below each other where there is no room."""
    parts = body.split(r"\qquad")
    if any(part.count("{") != part.count("}") or part.count(r"\begin") != part.count(r"\end") for part in parts):
        parts = [body]
    shown = "".join(f'<div class="scroll">{mathml(part, "block")}</div>' for part in parts)
    return f'<div class="formulas">{shown}</div>'


def mathml(formula: str, display: str = "inline") -> str:
    """A TeX formula as MathML; one that cannot be converted is shown as it was written."""
    try:
        return latex2mathml.converter.convert(formula.strip(), display=display)
    except Exception:  # the converter raises a class of its own for each fault
        return f"<code>{escape(formula)}</code>"
