"""Small inputs made after public bug reports (``../shared/cases``): what is right for each holds."""

import importlib
import sys
from pathlib import Path

import pytest

CASES = Path(__file__).resolve().parents[2] / "shared" / "cases" / "cases"
MOVED = {  # where the cases look for what is elsewhere now
    "ledexlib.verify": "ledexlib.problems", "ledexlib.answers": "ledexlib.models.answers",
    "ledexlib.endpoint": "ledexlib.models.endpoint", "ledexlib.prompts": "ledexlib.models.prompts",
    "ledexlib.local": "ledexlib.models.local",
}  # fmt: skip
CHOSEN = [
    "r04_apps_float_list", "r05_ways_to_read", "r09_false_passes", "r10_whitespace", "r11_int_as_float", "r12_asyncio",
    "r13_stack_limit", "r16_class_tests", "r18_broken_test", "r19_some_tasks", "r20_half_right", "r21_indentation",
    "r23_helpers_and_examples", "r24_which_block", "r32_empty_files", "r38_content_parts", "r44_system_role",
    "r53_exact_and_deceiving", "r56_sample_folder", "r59_processes",
]  # fmt: skip


@pytest.fixture
def cases(monkeypatch, tmp_path):
    """A function that runs a case and returns its faults, without those that are open to debate."""
    import ledexlib
    from ledexlib.models.endpoint import EndpointGenerator

    monkeypatch.syspath_prepend(str(CASES))
    monkeypatch.setenv("REPORTS_SCRATCH", str(tmp_path))
    monkeypatch.chdir(Path(__file__).resolve().parents[1])
    for old, new in MOVED.items():
        module = importlib.import_module(new)
        monkeypatch.setitem(sys.modules, old, module)
        monkeypatch.setattr(ledexlib, old.partition(".")[2], module, raising=False)
    kit = importlib.import_module("kit")
    monkeypatch.setitem(sys.modules, "kit", kit)
    monkeypatch.setattr(kit, "client", lambda server: EndpointGenerator("m", [server.url], timeout=20.0, max_retries=2))
    return lambda name: [f for f in importlib.import_module(name).case() if not f.startswith("unclear")]


@pytest.mark.skipif(not CASES.is_dir(), reason="the cases are kept elsewhere")
@pytest.mark.parametrize("name", CHOSEN)
def test_the_report_is_mended(cases, name):
    assert cases(name) == []
