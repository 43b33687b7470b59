"""Hostile and correct programs kept beside the project (``../shared/cases/hostile``); each says what is right."""

import importlib
import runpy
import sys
from pathlib import Path

import pytest

from ledexlib.sandbox.host import pool

HOSTILE = Path(__file__).resolve().parents[3] / "shared" / "cases" / "hostile"
CASES = sorted((HOSTILE / "cases").glob("*.py"))


@pytest.fixture(scope="module")
def judge():
    """A function that runs a case and returns its faults."""
    sys.modules["ledexlib.sandbox.pool"] = pool  # where the cases look for it
    sys.path.insert(0, str(HOSTILE))
    kit = importlib.import_module("kit")
    script = (HOSTILE / "run_case.py").read_text().rpartition("\nmain()")[0]
    namespace = {"__name__": "cases", "__file__": str(HOSTILE / "run_case.py")}
    exec(compile(script, "run_case.py", "exec"), namespace)
    sys.path.remove(str(HOSTILE))

    def faults(path):
        case = runpy.run_path(str(path), init_globals={"kit": kit})
        return case["case"](kit) if "case" in case else namespace["judge"](kit, case)

    yield faults
    for name in ("kit", "ledexlib.sandbox.pool"):
        del sys.modules[name]


@pytest.mark.skipif(not CASES, reason="the cases are kept elsewhere")
@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_the_verdict_is_the_right_one(judge, path):
    assert judge(path) == []
