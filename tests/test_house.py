"""The house: imports between rooms point down and go through doors; modules, functions and cells stay small."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ledexlib.params import ROOT

LIBRARY = ROOT / "ledexlib"
MODULES = sorted(LIBRARY.rglob("*.py"))
ROOMS = sorted(path.parent for path in LIBRARY.rglob("__init__.py") if path.parent != LIBRARY)
DOORS = {".".join(path.relative_to(ROOT).parts) for path in ROOMS}
LONGEST_MODULE, LONGEST_FUNCTION, LONGEST_LIBRARY, LONGEST_DOOR = 320, 70, 9_800, 40
TOP_LEVEL = {"ledexlib", "ledexlib.records", "ledexlib.statistics"}
HEAVY = ("torch", "transformers", "trl", "matplotlib", "datasets", "sentence_transformers")
LIGHT_DOORS = (
    "sandbox", "params", "statistics", "records", "runs", "problems", "models", "rewards", "repair", "report",
)  # fmt: skip


def lint(folder: Path) -> subprocess.CompletedProcess:
    """import-linter on a copy of the library, with the repository's contracts."""
    command = [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache", "--config", "pyproject.toml"]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture
def copy(tmp_path):
    """A copy of the library without its data."""
    ignore = shutil.ignore_patterns("__pycache__", "backbone")
    shutil.copytree(LIBRARY, tmp_path / "ledexlib", ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_contracts_hold(copy):
    kept = lint(copy)
    assert kept.returncode == 0, kept.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("runs/storage.py", "import ledexlib.evaluation", "Imports between rooms point down BROKEN"),
        ("runs/storage.py", "import ledexlib.runs.stage", "No circle, inside a room either BROKEN"),
        ("sandbox/types.py", "import ledexlib.params", "The sandbox imports nothing of ledexlib but its own BROKEN"),
        ("training/launch.py", "import ledexlib.mini", "Nobody imports the mini world: it is registered BROKEN"),
        ("rewards/codebleu.py", "import torch", "Only rooms of training and models in process need torch BROKEN"),
        ("repair/loop.py", "import matplotlib", "Only the report draws BROKEN"),
    ],
)
def test_a_wrong_import_breaks_its_contract(copy, module, line, contract):
    path = copy / "ledexlib" / module
    path.write_text(f"{path.read_text()}\n{line}\n")
    broken = lint(copy)
    assert broken.returncode == 1 and contract in broken.stdout, broken.stdout


def door_of(module: str) -> str:
    """The room that a dotted module belongs to: its longest prefix that is a package."""
    parts = module.split(".")
    prefixes = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next(prefix for prefix in prefixes if prefix in DOORS or prefix == "ledexlib")


def imported(path: Path) -> set[str]:
    """The dotted modules of ledexlib that a module imports from or imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ledexlib"):
            found.add(node.module)
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name for name in inner if (ROOT / Path(*name.split("."))).with_suffix(".py").exists()}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("ledexlib")}
    return found


def strangers(path: Path) -> list[str]:
    """The modules of other rooms that a module reaches past their doors."""
    own = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    room = door_of(own)
    return [
        name for name in sorted(imported(path))
        if name not in DOORS | TOP_LEVEL and not f"{room}.".startswith(f"{door_of(name)}.")
    ]  # fmt: skip


@pytest.mark.parametrize("path", [p for p in MODULES if p.parent != LIBRARY], ids=lambda p: str(p.relative_to(LIBRARY)))
def test_a_room_is_entered_through_its_door(path):
    assert strangers(path) == []


def test_notebooks_enter_rooms_through_their_doors():
    from IPython.core.inputtransformer2 import TransformerManager

    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
        code = "\n".join("".join(cell["source"]) for cell in cells)
        for node in ast.walk(ast.parse(TransformerManager().transform_cell(code))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ledexlib"):
                assert node.module in DOORS | TOP_LEVEL, f"{path.name}: {node.module}"


@pytest.mark.parametrize("room", ROOMS, ids=lambda path: str(path.relative_to(LIBRARY)))
def test_a_door_says_what_the_room_is_for_and_defines_nothing(room):
    source = (room / "__init__.py").read_text(encoding="utf-8")
    tree = ast.parse(source)
    assert len((ast.get_docstring(tree) or "").split()) >= 4
    allowed = (ast.Expr, ast.Import, ast.ImportFrom, ast.Assign)
    assert all(isinstance(node, allowed) for node in tree.body)
    assert len(source.splitlines()) < LONGEST_DOOR


@pytest.mark.parametrize("name", LIGHT_DOORS)
def test_a_light_door_opens_without_heavy_packages(name):
    code = f"import sys, ledexlib.{name}; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(LIBRARY)))
def test_modules_and_functions_stay_small(path):
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= LONGEST_MODULE
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno - node.lineno + 1 <= LONGEST_FUNCTION, node.name


def test_the_library_stays_thin():
    """Without the sandbox and the mini world."""
    counted = [p for p in MODULES if p.relative_to(LIBRARY).parts[0] not in ("sandbox", "mini")]
    assert sum(len(p.read_text(encoding="utf-8").splitlines()) for p in counted) <= LONGEST_LIBRARY


def test_no_class_name_stands_for_two_things():
    seen: dict[str, str] = {}
    for path in MODULES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                assert node.name not in seen, f"{node.name}: {seen[node.name]} and {path.relative_to(LIBRARY)}"
                seen[node.name] = str(path.relative_to(LIBRARY))
