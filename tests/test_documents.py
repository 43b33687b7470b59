"""The documents: links lead somewhere, printed commands are commands, names exist, and the README stays short."""

import argparse
import gzip
import importlib
import json
import re
import shlex
import socket
import tomllib
import xml.etree.ElementTree as xml
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

import pytest
import yaml
from tiny_runs import make_model

from ledexlib.__main__ import COMMANDS, main
from ledexlib.params import FIELDS, ROOT
from ledexlib.runs import position, read_stages

README, CITATION = ROOT / "README.md", ROOT / "CITATION.cff"
DOCUMENTS = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "notebooks").glob("*.md")),
             *sorted((ROOT / "ledexlib").rglob("*.md")), ROOT / "params" / "README.md",
             ROOT / "outputs" / "gallery" / "README.md"]  # fmt: skip
MOST_WORDS = 1000
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PYTHON = (".venv/bin/python", "python")
every_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def inline(path: Path) -> list[str]:
    """What stands between backticks outside of code blocks."""
    return re.findall(r"`([^`\n]+)`", FENCED.sub("", text_of(path)))


def test_the_readme_is_short():
    assert len(text_of(README).split()) <= MOST_WORDS


# Links


def slugs(path: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", text_of(path)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_document
def test_links_lead_to_something(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCED.sub("", text_of(path))):
        if "://" not in target:
            file, _, anchor = target.partition("#")
            there = path.parent / file if file else path
            assert there.exists(), target
            assert not anchor or anchor in slugs(there), target


# Commands


def commands(path: Path) -> list[list[str]]:
    """The words of each command in a document's shell blocks, without comments, brackets and ellipses."""
    blocks = [block.replace("\\\n", " ") for kind, block in FENCED.findall(text_of(path)) if kind == "bash"]
    lines = [line for block in blocks for line in block.splitlines()]
    words = [shlex.split(re.sub(r"[\[\]|…]", " ", line), comments=True) for line in lines]
    return [command for line in words if line for command in split_at(line, "&&")]


def split_at(words: list[str], mark: str) -> list[list[str]]:
    starts = [0, *(i + 1 for i, word in enumerate(words) if word == mark)]
    return [words[a:b] for a, b in zip(starts, [*(start - 1 for start in starts[1:]), len(words)], strict=True)]


def parsed(words: list[str]) -> argparse.Namespace:
    """The arguments of a ``ledex`` command; what it names must be there. Nothing runs."""
    name, *options = words
    parser = argparse.ArgumentParser(prog=f"ledex {name}", exit_on_error=False)
    getattr(importlib.import_module(COMMANDS[name][1]), f"add_{name}_arguments", lambda _: None)(parser)
    arguments = parser.parse_args(options)
    for stage in (getattr(arguments, name, None) for name in ("first", "last")):
        assert stage is None or position(read_stages(), stage) >= 0
    for setting in getattr(arguments, "overrides", []):
        assert setting.partition("=")[0] in FIELDS, setting
    return arguments


def check(words: list[str]) -> None:
    """Raise if a printed command cannot be."""
    program, *rest = words
    if program == "make":
        targets = re.findall(r"^([\w-]+):", text_of(ROOT / "Makefile"), re.MULTILINE)
        assert next(word for word in rest if "=" not in word) in targets
    elif program in ("ledex", ".venv/bin/ledex"):
        parsed(rest)
    elif program in PYTHON and rest[:2] == ["-m", "ledexlib"]:
        parsed(rest[2:])
    elif program in PYTHON and rest[0] == "-m":
        assert find_spec(rest[1])
    named = [word for word in words if re.match(r"(params|notebooks|tests)/", word)]
    assert all((ROOT / word).exists() for word in named), named


@every_document
def test_printed_commands_are_commands(path):
    for words in commands(path):
        check(words)


def test_a_wrong_command_would_be_found():
    for line in ("make demos", "ledex run params/none.yaml", "ledex evaluate --models x", "ledex run --set sft_leng=1",
                 "ledex run params/demo.yaml --to 17", "python -m ledexlib.nothing"):  # fmt: skip
        with pytest.raises((AssertionError, argparse.ArgumentError, SystemExit, ValueError)):
            check(line.split())


def test_the_readme_s_command_for_an_own_model_works(tmp_path, capsys):
    row = {
        "task_id": "HumanEval/0", "prompt": 'def double(x):\n    """Twice x."""\n', "entry_point": "double",
        "canonical_solution": "    return 2 * x\n", "test": "def check(candidate):\n    assert candidate(2) == 4\n",
    }  # fmt: skip
    data = tmp_path / "HumanEval.jsonl.gz"
    data.write_bytes(gzip.compress(json.dumps(row).encode() + b"\n"))
    (command,) = [words for words in commands(README) if "evaluate" in words]
    own = {"MODEL": str(make_model("llama", tmp_path / "model")), "humaneval=HumanEval.jsonl.gz": f"humaneval={data}",
           "outputs/mine": str(tmp_path / "mine")}  # fmt: skip
    assert set(own) <= set(command)
    assert main([own.get(word, word) for word in command[1:]]) == 0
    said = capsys.readouterr().out
    assert "on humaneval: 1 tasks, 1 programs" in said and "explain + refine" in said
    assert (tmp_path / "mine" / "results.json").exists()


def test_the_file_for_an_own_model_and_teacher_passes_a_dry_run(tmp_path, capsys):
    page = ROOT / "params" / "README.md"
    (block,) = [block for kind, block in FENCED.findall(text_of(page)) if kind == "yaml"]
    (command,) = [words for words in commands(page) if "--dry-run" in words]
    with socket.create_server(("localhost", 0)) as server:
        model, place = make_model("llama", tmp_path / "model"), f"localhost:{server.getsockname()[1]}"
        own = {"MODEL": str(model), "localhost:8000": place}
        for word, replacement in own.items():
            assert word in block
            block = block.replace(word, replacement)
        (tmp_path / "mine.yaml").write_text(block)
        words = [str(tmp_path / word) if word == "mine.yaml" else word for word in command[1:]]
        words = [str(ROOT / word) if word.startswith("params/") else word for word in words]
        assert main([*words, "--set", f"outputs={tmp_path}"]) == 0
    assert "every check passed" in capsys.readouterr().out


# Names


@every_document
def test_parameters_that_are_named_exist(path):
    """Every word in backticks that begins as parameters of training, evaluation or ablation do."""
    named = [match[0] for text in inline(path) if (match := re.match(r"(?:sft|ppo|lora|evaluate)_\w+", text))]
    assert not set(named) - set(FIELDS)


def test_departures_name_parameters():
    values = {str(value) for field in FIELDS.values() for value in get_args(field.annotation)}
    others = {"prompt", "09_ablations", "code"}  # a split, a stage, an example
    path = ROOT / "notebooks" / "DEPARTURES.md"
    for text in inline(path):
        name, _, value = text.partition(": ")
        assert name in FIELDS or text in values | others, text
        assert not value or value in values | {"true", "false"}, text


@every_document
def test_no_document_knows_a_machine(path):
    assert not re.findall(r"(?<![\w.<])/(?:work|tmp|root|home|farm|opt|usr)/\S*", text_of(path))


@every_document
def test_files_that_are_named_exist(path):
    named = [text for text in inline(path) if re.fullmatch(r"(params|notebooks|tests|ledexlib)/[\w./-]+", text)]
    own = {"notebooks/07_mine.ipynb"}
    assert all((ROOT / text).exists() for text in named if text not in own), named


def rows(path: Path, heading: str) -> list[list[str]]:
    """The cells of the rows of the table whose heading begins so."""
    lines = text_of(path).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(heading)) + 2
    found = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def test_the_tables_of_notebooks_are_those_of_the_stages():
    stages = read_stages()
    assert [re.match(r"\[(\w+)\]", row[0])[1] for row in rows(README, "| notebook ")] == [s.name for s in stages]
    table = rows(ROOT / "notebooks" / "README.md", "| stage ")
    assert [re.match(r"\[(\w+)\]", row[0])[1] for row in table] == [s.name for s in stages]
    for row, stage in zip(table, stages, strict=True):
        assert stage.needs_each in (row[1].replace("what ", "").split("`")[1:2] or [None]) if stage.needs_each else True
        assert [need[:2] for need in stage.needs] == re.findall(r"\b\d\d\b", row[1])


def test_the_table_of_rooms_is_the_contract_and_its_names_are_exported():
    contracts = tomllib.loads(text_of(ROOT / "pyproject.toml"))["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    floors = {room: len(layers) - i for i, layer in enumerate(layers) for room in layer.split(" | ")}
    table = {}
    for floor, room, _, names in rows(ROOT / "ledexlib" / "README.md", "| floor "):
        room = re.match(r"\[`?(\w+)", room)[1]
        table[room] = int(floor)
        doors = [f"ledexlib.{room}", *(f"ledexlib.{room}.{part}" for part in ("sft", "rl") if room == "training")]
        exported = {name for door in doors for name in dir(importlib.import_module(door))}
        assert set(re.findall(r"`(\w+)`", names)) <= exported, room
    assert table == floors


def test_the_figure_shows_every_stage():
    path = ROOT / "notebooks" / "flow.svg"
    words = " ".join(xml.parse(path).getroot().itertext())
    assert all(stage.name[:2] in words for stage in read_stages())
    assert "notebooks/flow.svg" in text_of(README)


def test_the_citation_is_complete():
    about = yaml.safe_load(text_of(CITATION))
    project = tomllib.loads(text_of(ROOT / "pyproject.toml"))["project"]
    assert about["cff-version"] == "1.2.0"
    assert (about["version"], about["license"]) == (project["version"], project["license"])
    assert about["title"] and about["authors"] and "2405.18649" in about["references"][0]["url"]
