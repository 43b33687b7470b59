"""Records that survive a kill at any byte, files replaced whole, locks that die with their holder."""

import os
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from ledexlib.runs import ArtifactError, JsonLines, lock, read_json, write_json, write_records


class Item(BaseModel):
    id: str
    value: int


items = st.lists(
    st.builds(Item, id=st.text(st.characters(codec="utf-8"), max_size=4), value=st.integers(-9, 9)),
    unique_by=lambda item: item.id,
    min_size=1,
    max_size=4,
)


@settings(max_examples=12, deadline=None)
@given(items)
def test_records_survive_a_cut_at_every_byte(tmp_path_factory, records):
    """Whatever prefix of the file a kill leaves, the whole records in it are there and the rest is made once."""
    path = tmp_path_factory.mktemp("cut") / "items.jsonl"
    JsonLines(path, Item).append(records)
    whole = path.read_bytes()
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        resumed = JsonLines(path, Item)
        kept = whole[:size].count(b"\n")
        assert resumed.read() == records[:kept]
        assert resumed.append(records) == len(records) - kept
        assert path.read_bytes() == whole


def test_reading_does_not_change_a_half_written_file(tmp_path):
    path = tmp_path / "items.jsonl"
    path.write_text('{"id": "a", "value": 1}\n{"id": "b", "va')
    before = path.read_bytes()
    assert [item.id for item in JsonLines(path, Item)] == ["a"]
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"id": "a", "value": 1}\nrubbish\n{"id": "b", "value": 2}\n', r"items\.jsonl:2: not a Item"),
        ('{"id": "a", "value": 1}\n\n{"id": "b", "value": 2}\n', r"items\.jsonl:2: not a Item"),
        ('{"id": "a", "value": "x"}\n', r"items\.jsonl:1: not a Item \(value:"),
        ('{"id": "a", "value": 1}\n{"id": "a", "value": 2}\n', r"items\.jsonl:2: the record of line 1 again \('a'\)"),
    ],
)
def test_a_broken_line_is_named(tmp_path, text, message):
    (tmp_path / "items.jsonl").write_text(text)
    with pytest.raises(ArtifactError, match=message):
        JsonLines(tmp_path / "items.jsonl", Item)


def test_a_finished_file_that_was_cut_is_refused(tmp_path):
    (tmp_path / "items.jsonl").write_text('{"id": "a", "value": 1}\n{"id": "b"')
    with pytest.raises(ArtifactError, match=r"items\.jsonl:2: the last line is cut off"):
        JsonLines(tmp_path / "items.jsonl", Item, complete=True)


def test_append_ignores_known_ids_and_sees_a_second_writer(tmp_path):
    first = JsonLines(tmp_path / "items.jsonl", Item)
    assert first.append([Item(id="a", value=1), Item(id="a", value=2)]) == 1
    second = JsonLines(tmp_path / "items.jsonl", Item)
    assert second.append([Item(id="a", value=3)]) == 0 and "a" in second and len(second) == 1
    second.append([Item(id="b", value=1)])
    with pytest.raises(ArtifactError, match="another process"):
        first.append([Item(id="c", value=1)])
    assert [item.id for item in second] == ["a", "b"]


def test_appending_while_reading_gives_the_records_of_the_start(tmp_path):
    lines = JsonLines(tmp_path / "items.jsonl", Item)
    lines.append([Item(id="a", value=1), Item(id="b", value=2)])
    for item in lines:
        lines.append([Item(id=item.id * 2, value=item.value)])
    assert [item.id for item in lines] == ["a", "b", "aa", "bb"]


def test_kill_9_between_appends_loses_nothing(tmp_path):
    """A process that appends as fast as it can is killed; every record it reported is in the file."""
    path = tmp_path / "items.jsonl"
    code = (
        "import sys; from pydantic import BaseModel; from ledexlib.runs import JsonLines\n"
        "class Item(BaseModel):\n    id: str\n    value: int\n"
        "lines = JsonLines(sys.argv[1], Item)\n"
        "for i in range(len(lines), 10**6):\n"
        "    lines.append([Item(id=str(i), value=i)]); print(i, flush=True)\n"
    )
    last = -1
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == f"{last + 1}\n"
        time.sleep(0.1)
        process.kill()
        reported = process.communicate()[0].split()
        found = [item.value for item in JsonLines(path, Item)]
        assert found == list(range(len(found))) and len(found) > int(reported[-1])
        last = found[-1]


def test_json_is_plain_and_replaced_whole(tmp_path):
    import numpy as np

    path = tmp_path / "metrics.json"
    write_json(path, {"a": np.float64(0.5), "b": float("nan"), "c": [np.int64(3)], "d": (1, "é")})
    assert read_json(path) == {"a": 0.5, "b": None, "c": [3], "d": [1, "é"]}
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert read_json(path)["a"] == 0.5 and os.listdir(tmp_path) == ["metrics.json"]


def test_a_lock_dies_with_its_holder(tmp_path):
    code = "import sys, time; from pathlib import Path; from ledexlib.runs import lock\n"
    code += "held = lock(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "l")], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    assert lock(tmp_path / "l") is None
    assert (tmp_path / "l").read_text() == f"{holder.pid}\n"
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    assert lock(tmp_path / "l") is not None


def test_appending_nothing_cuts_off_a_torn_line(tmp_path):
    path = tmp_path / "items.jsonl"
    JsonLines(path, Item).append([Item(id="a", value=1)])
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"id": "b", "val')
    assert JsonLines(path, Item).append(()) == 0
    assert path.read_bytes() == whole


def test_records_are_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "items.jsonl"
    write_records(path, [Item(id="a", value=1)])
    write_records(path, [Item(id="b", value=2), Item(id="c", value=3)])
    assert [item.id for item in JsonLines(path, Item, complete=True)] == ["b", "c"]

    def broken():
        yield Item(id="x", value=1)
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        write_records(path, broken())
    assert [item.id for item in JsonLines(path, Item, complete=True)] == ["b", "c"]
