"""Make the parameter reference, ``params/README.md``: an introduction by hand, then every group and its parameters.

`make reference` brings it up to date; a test keeps it current.
"""

from ledexlib.params import FIELDS, GROUPS, ROOT, TITLES

PATH = ROOT / "params" / "README.md"
MARK = "<!-- made by `make reference` from ledexlib/params/vocabulary.py; do not edit below -->"


def _kind(name: str) -> str:
    """A parameter's type as people write it: a Literal as its values."""
    kind = FIELDS[name].annotation
    choices = [repr(value).strip("'") for value in getattr(kind, "__args__", ()) if isinstance(value, str)]
    return " or ".join(choices) or (kind.__name__ if isinstance(kind, type) and str(kind)[0] == "<" else str(kind))


def tables() -> str:
    """The tables of all groups as Markdown."""
    parts = []
    for group, names in GROUPS.items():
        rows = [f"## {TITLES[group]}", "", "| parameter | type | default | |", "|-|-|-|-|"]
        for name in names:
            default = "none" if FIELDS[name].default is None else FIELDS[name].default
            cells = [f"`{name}`", _kind(name), f"`{default}`", FIELDS[name].description]
            rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
        parts.append("\n".join(rows))
    return "\n\n".join(parts)


def page(text: str) -> str:
    """The whole page: what stands before the mark stays, what follows is made anew."""
    return f"{text.partition(MARK)[0].rstrip()}\n\n{MARK}\n\n{tables()}\n"


if __name__ == "__main__":
    PATH.write_text(page(PATH.read_text(encoding="utf-8")), encoding="utf-8")
