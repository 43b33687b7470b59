"""Fixtures shared by the tests."""

import os
import signal
from pathlib import Path

import pytest

# The models of the tests are tiny: one thread is as fast, and does not wait for another that has no core.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Nothing here comes from a hub; without this, a test of what is missing would wait for one.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# A shell starts its background jobs with interrupts ignored, and the runs that the tests interrupt would inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parent.parent


SLOWEST = ("test_walk", "test_ppo_trainer", "test_sft", "test_hostile")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slowest files first: of two processes that share the files, none is left alone with a long one."""
    items.sort(key=lambda item: SLOWEST.index(item.path.stem) if item.path.stem in SLOWEST else len(SLOWEST))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real benchmarks and recorded attempts beside the checkout, or the test is skipped."""
    folder = Path(os.environ.get("LEDEX_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no benchmark data at {folder}; set LEDEX_SHARED_DATA to a folder that has it")
    return folder
