"""How an answer is read: the explanation and the program in what a model wrote.

Models answer in many shapes: fenced blocks or none, a fence that is never closed, several blocks, prose around them,
the whole program or only the rest of a given stub. Reading never fails: where there is no program, the code is "".
A program is taken as it stands; nothing is repaired in it."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from ledexlib.models import program_text
from ledexlib.models.program_text import ASKED, BODY, BODY_STARTS, DEFINES, EXAMPLES, OTHER, STARTS, rank
from ledexlib.problems import parse_python, unify_lines
from ledexlib.records import Problem

BEGIN, DONE, EXPLANATION = "[BEGIN]", "[DONE]", "[EXPLANATION]"  # section markers of few-shot prompts


class Answer(NamedTuple):
    """What a model answered, without outer blank lines."""
    explanation: str | None  # None if there is none
    code: str  # the whole program; "" if there is none


class _Program(NamedTuple):
    """A candidate: its text and its rank, and its lines in the answer (from start to before end)."""
    code: str
    start: int
    end: int
    rank: int


_PYTHON = {"", "python", "py", "python3", "python2", "py3", "ipython", "pycon", "code"}
_FENCE = re.compile(r"^(?P<before>[ \t]*|[^`~]*:[ \t]*)(?P<ticks>`{3,}|~{3,})[ \t]*(?P<info>[^`]*)$")
_TAG = r"(think(ing)?|thoughts?|reason(ing)?|reflection)"
_THOUGHT = re.compile(rf"\s*(<{_TAG}>|\[{_TAG}\]|◁think▷|(<\|start\|>\w+)?<\|channel\|>(?!final))", re.I)
_THOUGHT_END = re.compile(rf"(?P<q>['\"]?)(</{_TAG}>|\[/{_TAG}\]|◁/think▷|<\|channel\|>final(<\|message\|>)?)", re.I)
_END_TOKEN = re.compile(
    r"<\|(im_end|im_start|endoftext|end_of_text|eot_id|eom_id|end|return|user|assistant|system)\|>|</s>"
    r"|</answer>|<end_of_turn>|<｜end▁of▁sentence｜>")  # fmt: skip

_HEADING = re.compile(r"^\s*(#{1,6}\s+\S.*|\*\*[^*]+\*\*:?)\s*$")
_EXPLANATION_HEADING = re.compile(
    r"^[#*_\s]*\[?(explanation|analysis|diagnosis|root cause|what (is|was|went) wrong)\]?[*_\s]*"
    r"(:[*_\s]*|$)(?P<rest>.*)$", re.IGNORECASE)  # fmt: skip
_CODE_WORD = r"\b(code|program|solution|function|implementation|version|answer|script|fix)\b"
_KIND = r"(the|a|my|this|complete|corrected|final|fixed|full|improved|new|python|refined|revised|updated|whole|working)"
_LEAD_IN = re.compile(  # the line that announces the program
    rf"^([#*\s]*({_KIND} )*{_CODE_WORD}[*\s]*|.{{0,120}}{_CODE_WORD}.{{0,60}}:[*\s]*"
    rf"|(sure|certainly|of course)\W*|(here|below)\b[^:]{{0,100}}{_CODE_WORD}[^:.]{{0,40}}[.!]?|\[\w+\])$",
    re.IGNORECASE)  # fmt: skip
_GREETING = re.compile(r"^(sure|certainly|of course|absolutely|okay|ok|great)\b[,!.:][^\n]{0,120}\n+(?=\S)", re.I)


def parse_answer(text: str, problem: Problem | None = None) -> Answer:
    """The explanation and the whole program in a model's answer.

    ``problem`` says which name the program must define, so that the right one of several blocks is taken, and which
    stub a bare function body completes. Never raises: an answer without a program has code ""."""
    return locate_answer(text, problem)[0]


def locate_answer(text: str, problem: Problem | None = None) -> tuple[Answer, int]:
    """The answer, and where in the text (its line ends unified) the lines of its program begin; else the length."""
    text = unify_lines(text)
    cleaned = _clean(text)
    lines = cleaned.split("\n")
    blocks = list(_fenced(lines, problem))
    first, last = _markers(lines, blocks)
    blocks = [block for block in blocks if first <= block.start and block.end <= last]
    program = max(reversed(blocks), key=lambda block: block.rank, default=None)  # the last of the best
    if program is None and first and last < len(lines):  # what is between [BEGIN] and [DONE], as it stands
        code = program_text.tidy("\n".join(lines[first:last]), problem)
        program = _Program(code, first, last, max(rank(code, problem), OTHER if code else EXAMPLES))
    elif program is None or program.rank < BODY:
        found = _unfenced(lines[:last], first, blocks, problem)
        program = found if program is None or (found and found.rank > program.rank) else program
    lines = lines[:last]
    if program is None or (program.rank == EXAMPLES and problem is not None and problem.entry_point):
        return Answer(_explanation(lines, []), ""), len(text)
    start = text.rfind(cleaned) + sum(len(line) + 1 for line in lines[: program.start])
    explanation = _explanation(lines[: program.start], lines[program.end :])
    return Answer(explanation, program_text.complete(program.code, problem)), start


def parse_solution(text: str, problem: Problem) -> str:
    """The whole program in a model's first answer, which may continue the problem's stub; "" if there is none."""
    return parse_answer(text, problem).code


def _clean(text: str) -> str:
    """The answer proper: no thoughts before it, nothing from a special token on."""
    end = _THOUGHT_END.search(text)
    while end and (_THOUGHT.match(text) or (not end["q"] and text.count("```", 0, end.start()) % 2 == 0)):
        text = text[end.end() :]
        end = _THOUGHT.match(text) and _THOUGHT_END.search(text)
    text = "" if _THOUGHT.match(text) else text  # a thought that was cut short holds no answer
    return _END_TOKEN.split(re.sub(r"^\s*<answer>", "", text), maxsplit=1)[0].rstrip()


def _fenced(lines: list[str], problem: Problem | None) -> Iterator[_Program]:
    """The fenced blocks in Python (or in no named language); a block that is never closed ends with the text."""
    opening: re.Match[str] | None = None
    start = 0
    for number, line in enumerate([*lines, None]):
        match = None if line is None else _FENCE.match(line)
        if opening is None:
            opening, start = match, number
            continue
        closes, reopens = _ends(match, opening) if match else (False, False)
        if not (closes or reopens or line is None):
            continue
        if re.match(r"[{.\s]*(\w*)", opening["info"])[1].lower() in _PYTHON:
            content = [line.removeprefix(_margin(opening)) for line in lines[start + 1 : number]]
            yield _block(content, start, closes, problem)
        opening, start = (match, number) if reopens else (None, 0)


def _margin(opening: re.Match[str]) -> str:
    return "" if opening["before"].strip() else opening["before"]


def _ends(match: re.Match[str], opening: re.Match[str]) -> tuple[bool, bool]:
    """Whether a fence closes the block, and whether it opens another, as the model forgot to close the last one.

    As in CommonMark, an indented fence in a docstring, or a shorter one, closes nothing; a new block has a language."""
    info, before = match["info"].strip(), match["before"]
    as_long = match["ticks"].startswith(opening["ticks"])
    closes = as_long and not info and not before.strip() and len(before) - len(_margin(opening)) <= 3
    return closes, as_long and bool(re.fullmatch(r"\w+", info)) and len(before) <= len(opening["before"])


def _block(content: list[str], start: int, closed: bool, problem: Problem | None) -> _Program:
    """The block with this content behind the fence in line start; one that is not closed may hold more than code."""
    if closed:
        code = program_text.tidy("\n".join(content), problem)
        return _Program(code, start, start + len(content) + 2, rank(code, problem))
    content = content[: next((i for i, line in enumerate(content) if line.strip() == DONE), len(content))]
    code = program_text.tidy(re.sub(r"`{3,}\s*$", "", "\n".join(content)), problem)
    code = program_text.trim(code, problem)
    return _Program(code, start, start + 1 + len(content), rank(code, problem))


def _markers(lines: list[str], blocks: list[_Program]) -> tuple[int, int]:
    """The lines between which the program is: after ``[BEGIN]`` (or 0), before the ``[DONE]`` that ends a program."""
    fenced = {number for block in blocks for number in range(block.start, block.end)}
    first = 0
    for number, line in enumerate(lines):
        if number in fenced:
            continue
        if line.strip() == BEGIN and any(later.strip() for later in lines[number + 1 :]):
            first = number + 1
        elif line.strip() == DONE:
            before = any(first <= block.start < number for block in blocks)
            if before or (not blocks and any(earlier.strip() for earlier in lines[first:number])):
                return first, number
    return first, len(lines)


def _unfenced(lines: list[str], first: int, blocks: list[_Program], problem: Problem | None) -> _Program | None:
    """The program among the prose outside blocks, if there is one: the best of what starts at a line of code."""
    lines = list(lines)
    for block in blocks:
        lines[block.start : block.end] = [""] * (block.end - block.start)
    while first < len(lines) and not lines[first].strip():
        first += 1
    text = program_text.tidy("\n".join(lines[first:]), problem).split("\n")
    starts = [i for i, line in enumerate(text) if STARTS.match(line) or BODY_STARTS.match(line)]
    if text[0][:1].isspace():
        starts.insert(0, 0)  # the body of a stub
    best = None
    for start in starts[:40]:
        code = program_text.trim("\n".join(text[start:]), problem)
        program = _Program(code, first + start, first + start + code.count("\n") + 1, rank(code, problem))
        if program.rank < BODY and parse_python(code) is None and not DEFINES.match(code):
            continue  # prose
        if best is None or program.rank > best.rank:
            best = program
        if program.rank == ASKED or (program.rank == BODY and start == 0):
            break
    return best


def _explanation(before: list[str], after: list[str]) -> str | None:
    """The section headed as explanation; else the prose before the program; else the prose after it."""
    return _headed(before) or _headed(after) or _prose(before) or _prose(after) or None


def _headed(lines: list[str]) -> str:
    for number, line in enumerate(lines):
        if match := _EXPLANATION_HEADING.match(line):
            rest = lines[number + 1 :]
            end = next((i for i, later in enumerate(rest) if _HEADING.match(later)), len(rest))
            return _prose([match["rest"], *rest[:end]])
    return ""


def _prose(lines: list[str]) -> str:
    """The lines without a greeting before them and the announcement of a program after them."""
    lines = list(lines)
    while lines and (not lines[-1].strip() or _HEADING.match(lines[-1]) or _LEAD_IN.match(lines[-1].strip())):
        lines.pop()
    return _GREETING.sub("", "\n".join(lines).strip())
