"""The journal read back: newest first, from both files, whatever stands in them."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from cc.errors import UsageError
from cc.resources.journal import JournalReader, parsed_time, since
from cc.resources.state import Journal

JUNK = [b"{", b"[1, 2]", b'"text"', b"\x00\xff\xfe", b"[" * 100_000, b"nul", b"1" * 5000, b'{"a": 1']


def numbers(path: Path) -> tuple[list[int], int]:
    reader = JournalReader(str(path))
    return [entry.told["n"] for entry in reader.newest()], reader.corrupt


def test_entries_come_newest_first_from_both_files(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    (tmp_path / "journal.jsonl.1").write_text('{"n": 1}\n{"n": 2}\n')
    path.write_text('{"n": 3}\n{"n": 4}\n')
    assert numbers(path) == ([4, 3, 2, 1], 0)
    path.unlink()
    assert numbers(path) == ([2, 1], 0)


@pytest.mark.parametrize("junk", JUNK)
def test_a_line_of_junk_is_counted_and_costs_itself_alone(tmp_path: Path, junk: bytes) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"n": 1}\n' + junk + b'\n\n{"n": 2}\n')
    assert numbers(path) == ([2, 1], 1)


def test_a_torn_end_is_junk_now_and_a_line_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"n": 1}\n{"n": ')
    assert numbers(path) == ([1], 1)
    reader = JournalReader(str(path))
    assert [entry.told["n"] for entry in reader.newest(follow=True)] == [1]
    with path.open("ab") as file:
        file.write(b"2}\n")
    assert ([entry.told["n"] for entry in reader.more()], reader.corrupt) == ([2], 0)


def test_no_journal_is_no_entries(tmp_path: Path) -> None:
    reader = JournalReader(str(tmp_path / "journal.jsonl"))
    assert (list(reader.newest()), reader.there) == ([], False)


def test_what_the_journal_writes_comes_back_as_it_stands_there(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    Journal(str(path)).append({"event": "note", "step": "é\u2028", "text": "\x1b"})
    (entry,) = JournalReader(str(path)).newest()
    assert json.loads(entry.line) == entry.told
    assert entry.line + "\n" == path.read_text()
    assert entry.time is not None
    assert abs(entry.time - datetime.now(timezone.utc)) < timedelta(minutes=1)


def test_following_outlives_rotation_and_removal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cc.resources.state.JOURNAL_BYTES", 200)
    path = tmp_path / "journal.jsonl"
    reader, journal, heard = JournalReader(str(path)), Journal(str(path)), []
    list(reader.newest(follow=True))
    for number in range(30):
        journal.append({"n": number})
        if number % 7 == 3 and path.exists():
            heard += [entry.told["n"] for entry in reader.more()]
            path.unlink()
        if number % 2:
            heard += [entry.told["n"] for entry in reader.more()]
    heard += [entry.told["n"] for entry in reader.more()]
    assert heard == list(range(30))


NOW = datetime(2026, 11, 24, 12, 0, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("30s", NOW - timedelta(seconds=30)), ("10m", NOW - timedelta(minutes=10)), ("2h", NOW - timedelta(hours=2)),
        ("7d", NOW - timedelta(days=7)), (" 0m ", NOW),
        ("2026-11-24T10:00:00Z", NOW - timedelta(hours=2)), ("2026-11-24T12:00:00+02:00", NOW - timedelta(hours=2)),
        ("2026-11-24T10:00:00.5z", NOW - timedelta(hours=2) + timedelta(seconds=0.5)),
    ],
)  # fmt: skip
def test_since_is_so_long_ago_or_a_time(text: str, moment: datetime) -> None:
    assert since(text, NOW) == moment


def test_a_time_without_a_zone_is_local() -> None:
    assert since("2026-11-24T10:00", NOW) == datetime(2026, 11, 24, 10, 0).astimezone()
    assert since("2026-11-24", NOW) == datetime(2026, 11, 24).astimezone()


@pytest.mark.parametrize("text", ["", "x", "-1m", "1.5h", "7 d", "1w", "2026-13-01", "yesterday", "9999999d", "1e3s"])
def test_a_since_that_is_none_is_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        since(text, NOW)
    assert (caught.value.field, caught.value.exit_code) == ("--since", 2)


@pytest.mark.parametrize("text", ["", "now", "0001-01-01T00:00:00+14:00", "٢٠٢٦-01-01", "2026-11-24T10:00:00.zzz"])
def test_a_time_that_is_none_is_none(text: str) -> None:
    assert parsed_time(text) is None
