"""Texts taken for programs: whether one is what a problem asks for, where it ends, how it completes a stub.

A program is judged by its syntax alone; nothing here runs it or repairs it."""

import ast
import re
from functools import lru_cache

from ledexlib.problems import defined_name, parse_python
from ledexlib.records import Problem

# Ranks: defines what was asked; says so but does not parse; completes the stub; something else; nothing but examples.
ASKED, BROKEN, BODY, OTHER, EXAMPLES = 4, 3, 2, 1, 0

# Lines at which a program may start. English sentences rarely look so, and what follows one must parse anyway.
DEFINES = re.compile(
    r"(async +)?def +\w+|class +\w+.*:|@\w|from +[\w.]+ +import |import +[\w.]+( as \w+)?(, *[\w.]+)*\s*(#|$)"
)
STARTS = re.compile(
    DEFINES.pattern + r"|#(?!#)|\"\"\"|'''|if __name__|(for|while|if|with|try)\b.*:\s*(#|$)"
    r"|[A-Za-z_][\w., \[\]'\"]*(: ?[\w\[\], .]+)? ?[-+*/]?=(?!=)|\w+(\.\w+)*\(")  # fmt: skip
BODY_STARTS = re.compile(r"(return|yield|raise|pass|del|assert|global|nonlocal|elif|else)\b")

_DEFINITION = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_EXAMPLE = (ast.Expr, ast.Assert, ast.Assign, ast.Import, ast.ImportFrom)


def rank(code: str, problem: Problem | None) -> int:
    """How much a text looks like the program asked for: ASKED, BROKEN, BODY, OTHER or EXAMPLES."""
    tree = parse_python(code)
    if problem is not None and problem.entry_point:
        name = defined_name(problem)
        if tree is not None and name in _bound(tree):
            return ASKED
        if re.search(rf"^((async +)?def +{name} *\(|class +{name}\b|{name} *=)", code, re.MULTILINE):
            return BROKEN
        if problem.stub and (code[:1].isspace() or re.search(r"^\s*(return|yield)\b", code, re.MULTILINE)):
            return BODY
    elif tree is None and re.search(r"^(def|class) +\w+", code, re.MULTILINE):
        return BROKEN
    elif tree is not None and problem is not None:  # a program that reads its input
        reads = re.search(r"\b(input\s*\(|stdin|open\s*\(\s*0)", code)
        return ASKED if reads else BODY if any(isinstance(node, _DEFINITION) for node in tree.body) else OTHER
    elif tree is not None and any(isinstance(node, _DEFINITION) for node in tree.body):
        return ASKED
    only_examples = tree is not None and all(isinstance(node, _EXAMPLE) for node in tree.body)
    return EXAMPLES if only_examples else OTHER


def defines_what_was_asked(code: str, problem: Problem) -> bool:
    """Whether the code is Python and defines what the problem asks for."""
    return rank(code, problem) == ASKED


def _bound(tree: ast.Module) -> set[str]:
    """The names that a program binds at its top level (a star import as ``module.*``)."""
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, _DEFINITION):
            names.add(node.name)
        elif isinstance(node, ast.Import):
            names.update(alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.update(f"{node.module}.*" if a.name == "*" else a.asname or a.name for a in node.names)
        else:
            names.update(n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
            names.update(n.name for n in ast.walk(node) if isinstance(n, _DEFINITION))
    return names


def tidy(text: str, problem: Problem | None) -> str:
    """The text without outer blank lines, common indentation or doctest prompts, unless it is the body of a stub."""
    text = re.sub(r"^([ \t]*\n)+", "", text).rstrip()
    lines = text.split("\n")
    if lines[0].startswith(">>> "):
        typed = "\n".join(line[4:] for line in lines if line.startswith((">>>", "...")))
        if rank(typed, problem) == ASKED:
            return typed
    margin = _indentation(lines[0])
    if margin and all(line.startswith(margin) for line in lines if line.strip()):
        moved = "\n".join(line.removeprefix(margin) for line in lines)
        if not (problem and problem.stub) or rank(moved, problem) >= BROKEN:
            text = moved
    if "\t" in text and parse_python(text) is None and parse_python(text.expandtabs(4)) is not None:
        return text.expandtabs(4)  # tabs and spaces mixed so that only their width on the screen gives a meaning
    return text


def trim(code: str, problem: Problem | None) -> str:
    """A program without the prose, or the definition that was cut short, that follows it.

    A text that does not parse keeps its faults unless it is a whole program up to the line that spoils it, and that
    line starts prose or the last of its definitions."""
    stub = problem.stub if problem is not None and rank(code, problem) == BODY else ""
    if parse_python(stub + code) is not None:
        return code
    lines = code.split("\n")
    ends = [i for i, line in enumerate(lines) if i and line and not line[0].isspace() and line[0] not in ")]}"]
    for end in ends[::-1][:60]:
        head = "\n".join(lines[:end]).rstrip()
        if parse_python(stub + head) is None:
            continue
        if rank(head, problem) >= BODY and (end == ends[-1] or not STARTS.match(lines[end])):
            return head
        break
    while ends and not STARTS.match(lines[ends[-1]]) and rank("\n".join(lines[: ends[-1]]), problem) >= BROKEN:
        lines = lines[: ends.pop()]  # a broken program, and prose after it
    return "\n".join(lines).rstrip()


def complete(code: str, problem: Problem | None) -> str:
    """The whole program: a body is put behind the problem's stub, a program gets what the stub has and it lacks.

    The docstring that ends a stub states the task, which is no part of the program: a model that is tuned on programs
    would learn to copy it before it writes a line of its own."""
    if problem is None or not problem.stub:
        return code
    found = rank(code, problem)
    if found >= BROKEN:
        return _with_preamble(code, problem)
    if found == BODY or STARTS.match(code) or BODY_STARTS.match(code):
        return without_docstring(problem.stub) + _body(code, problem.stub)
    return code


@lru_cache(maxsize=256)
def without_docstring(stub: str) -> str:
    """The stub without the docstring that ends it, if that has lines of its own."""
    tree = parse_python(f"{stub}{_margin(stub)}pass")
    lines = stub.splitlines(keepends=True)
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, _DEFINITION[:2]) and ast.get_docstring(node) is not None:
            text = node.body[0]
            alone = not lines[text.lineno - 1][: text.col_offset].strip()
            if alone and not "".join(lines[text.end_lineno :]).strip():
                return "".join(lines[: text.lineno - 1])
    return stub


def _margin(stub: str) -> str:
    """The indentation of a stub's body."""
    return _indentation(stub.rstrip().rpartition("\n")[2]) or "    "


def _indentation(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _body(code: str, stub: str) -> str:
    """A function body with the indentation that the stub asks for, if it has another."""
    margin, own = _margin(stub), _indentation(code)
    moved = "\n".join(margin + line.removeprefix(own) if line.strip() else line for line in code.split("\n"))
    lines = [line for line in code.split("\n")[1:] if line.strip()]
    level = min(map(_indentation, lines), key=len, default=margin) + code.lstrip()  # as the lines behind the first
    choices = [code, moved, level] if own else [moved, margin + code]  # the last: only the first line lost it
    return next((choice for choice in choices if parse_python(stub + choice) is not None), choices[0])


def _with_preamble(code: str, problem: Problem) -> str:
    """A whole program with the imports and helpers before the function in the stub that it uses and lacks."""
    stub = parse_python(problem.stub) or parse_python(problem.stub + "    pass")
    tree = parse_python(code)
    if stub is None or tree is None:
        return code
    present, missing = _bound(tree), []
    for node in stub.body:
        names = _bound(ast.Module([node], [])) - present
        starred = isinstance(node, ast.ImportFrom) and f"{node.module}.*" in present
        used = any(name.endswith("*") or re.search(rf"\b{re.escape(name)}\b", code) for name in names)
        if used and not starred and defined_name(problem) not in names:
            missing.append(ast.get_source_segment(problem.stub, node) or "")
    return "\n\n".join(["\n".join(missing), code]) if missing else code
