"""The journal: one write a line, whoever else writes, on whatever disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cc.clock import SystemClock
from cc.engine.runner import Runner, Step
from cc.engine.step import Acted, Context, Probe
from cc.errors import Failure
from cc.resources import state as module
from cc.resources.state import Journal

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB and 12 files."""
    mounted = tmp_path / "tiny"
    mounted.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=12", "tmpfs", str(mounted)], check=True)
    yield mounted
    subprocess.run(["umount", str(mounted)], check=True)


def fill(disk: Path) -> Path:
    """To the last byte."""
    with (disk / "ballast").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 512)
        except OSError:
            return disk / "ballast"


def entries(*paths: str | Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in paths for line in Path(path).read_bytes().splitlines() if line]


def test_each_entry_is_one_line_with_its_time_and_who_wrote_it(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path / "journal.jsonl"))
    for text in ("a\nb", "ü\u2028", "\ud800"):
        journal.append({"event": "note", "text": text})
    assert (tmp_path / "journal.jsonl").read_bytes().count(b"\n") == 3
    found = entries(tmp_path / "journal.jsonl")
    assert [entry["text"] for entry in found] == ["a\nb", "ü\u2028", "?"]
    assert {entry["pid"] for entry in found} == {os.getpid()}
    assert all(entry["time"] for entry in found)
    assert (tmp_path / "journal.jsonl").stat().st_mode & 0o777 == 0o600


def test_past_its_size_it_is_set_aside_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "JOURNAL_BYTES", 1000)
    path = tmp_path / "journal.jsonl"
    journal = Journal(str(path))
    for number in range(100):
        journal.append({"number": number})
    numbers = [entry["number"] for entry in entries(f"{path}.1", path)]
    assert numbers == list(range(numbers[0], 100))
    assert 1000 < os.path.getsize(f"{path}.1") < 1200
    assert sorted(os.listdir(tmp_path)) == ["journal.jsonl", "journal.jsonl.1"]


WRITE = """
import os, sys
from cc.resources import state
state.JOURNAL_BYTES = int(sys.argv[3])
journal = state.Journal(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[2])):
    journal.append({"number": number, "text": "x" * (number % 700)})
"""


def test_eight_processes_lose_nothing_also_while_it_is_rotated(tmp_path: Path) -> None:
    """Once rotated: whoever finds it full as well must not move the new one over the old."""
    path, each = tmp_path / "journal.jsonl", 400
    size = 8 * each * 430 * 6 // 10
    asked = [sys.executable, "-c", WRITE, str(path), str(each), str(size)]
    writers = [
        subprocess.Popen(asked, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(8)
    ]
    for writer in writers:
        assert writer.stdout is not None
        writer.stdout.readline()
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate(timeout=60)
        assert writer.returncode == 0
    found = entries(f"{path}.1", path)
    written = {(writer.pid, number) for writer in writers for number in range(each)}
    assert {(entry["pid"], entry["number"]) for entry in found} == written
    assert len(found) == 8 * each


def test_two_that_find_it_full_at_once_rotate_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "JOURNAL_BYTES", 100)
    path = tmp_path / "journal.jsonl"
    path.write_text("{}\n" * 40)
    slow = os.open(path, os.O_RDWR | os.O_APPEND)  # somebody who opened it before it was set aside
    journal = Journal(str(path))
    journal.append({"number": 1})
    journal._rotate(slow)
    os.close(slow)
    journal.append({"number": 2})
    assert [entry.get("number") for entry in entries(f"{path}.1")][-1] == 1
    assert [entry["number"] for entry in entries(path)] == [2]


def test_a_full_disk_is_a_failure_and_what_follows_is_not_lost_in_the_torn_line(tiny: Path) -> None:
    journal = Journal(str(tiny / "journal.jsonl"))
    journal.append({"number": 1})
    ballast = fill(tiny)
    long = {"number": 100, "text": "y" * 6000}  # more than a page, of which a part fits
    with pytest.raises(Failure) as caught:
        journal.append(long)
    assert caught.value.code == "disk_full"
    ballast.unlink()
    torn = not (tiny / "journal.jsonl").read_bytes().endswith(b"\n")
    journal.append({"number": 2})
    lines = (tiny / "journal.jsonl").read_bytes().splitlines()
    assert json.loads(lines[0])["number"] == 1
    assert json.loads(lines[-1])["number"] == 2
    assert torn


@pytest.mark.parametrize("place", ["missing/journal.jsonl", "directory"])
def test_a_place_where_nothing_can_be_written_is_a_failure_that_names_it(tmp_path: Path, place: str) -> None:
    (tmp_path / "directory").mkdir()
    with pytest.raises(Failure, match=str(tmp_path / place)):
        Journal(str(tmp_path / place)).append({})


class Nothing:
    """A step that was so already."""

    name, probed = "nothing", True

    def probe(self, context: Context) -> Probe:
        return Probe(True, "so")

    def check(self, context: Context, before: Probe) -> None: ...

    def act(self, context: Context, before: Probe) -> Acted:
        raise AssertionError


def test_a_run_whose_journal_cannot_be_written_goes_on_and_says_so(tiny: Path, context: Context) -> None:
    path = tiny / "journal.jsonl"
    path.touch()
    fill(tiny)
    journal = Journal(str(path))
    heard: list[object] = []
    runner = Runner(
        clock=SystemClock(), cancel=context.cancel,
        listeners=[lambda event: journal.append(event.as_dict()), heard.append],
    )  # fmt: skip
    recap = runner.run("up", [Step("one", Nothing()), Step("two", Nothing(), needs=("one",))])
    assert [step.outcome.status.value for step in recap.steps] == ["ok", "ok"]
    assert len(recap.warnings) == 1
    assert "cannot write the journal" in recap.warnings[0]
    assert "No space left on device" in recap.warnings[0]
    assert len(heard) == 6


def test_an_entry_is_written_in_one_piece_also_by_threads(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(str(path))
    threads = [
        threading.Thread(target=lambda: [journal.append({"text": "x" * 5000}) for _ in range(50)]) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(entry["text"]) for entry in entries(path)] == [5000] * 400
