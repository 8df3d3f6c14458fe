"""As long as no session file changes, one answer that is kept stands for all of them, and says what they say."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from zlib import crc32
from zoneinfo import ZoneInfo

import pytest

from cc.usage import transcripts
from cc.usage.model import GROUPINGS, UsageQuery
from cc.usage.query import parse
from cc.usage.reader import Sources, read_usages
from tests.usage.indexed import ONE, TWO, both, output, sql
from tests.usage.rows import row, session_file, write

NOW = 1_795_500_000.0
BERLIN = ZoneInfo("Europe/Berlin")


def some(root: Path) -> None:
    """Sessions that share messages, of several projects, models and months, with costs, odd lines and all."""
    for number in range(12):
        lines: list[Any] = [
            row(f"m{number}", f"r{number}", output=number, at=f"2026-{number % 9 + 1:02}-03T23:{number * 4:02}:07Z"),
            row("both", "both", output=number, at="2026-06-05T10:00:00Z"),
            row(None, None, uuid=f"u{number // 2}", at="2026-11-23T01:10:00Z", model="claude-unheard-of"),
            row(f"c{number}", f"c{number}", costUSD=999_999.0 if number < 7 else 0.25, session=None),
            {"type": "cost-state", "sessionId": f"s{number}", "totalCostUSD": 1.5, "hasUnknownModelCost": number > 9},
            b"[1]",
        ]
        cwd = f"/p/{number % 3}"
        lines = [{**line, "cwd": cwd} if isinstance(line, dict) and "message" in line else line for line in lines]
        write(session_file(root, f"s{number}", f"-p-{number % 3}"), *lines, end=b"\n")


def answers(root: Path, kept: Path | None, its_prices: Path | None = None) -> list[dict[str, Any]]:
    """What is asked in every way that there is."""
    asked = [UsageQuery(by=by, source="files", tz=BERLIN) for by in GROUPINGS]
    asked += [
        parse(by="day", since="2026-05-01", model="claude-s*", source="files", tz="UTC"),
        parse(by="project", since="2026-05-01", until="2026-11-23", project="1", source="files", tz="Asia/Kathmandu"),
    ]
    in_a_quarter = parse(by="session", since="2026-03-03T23:10:00", source="files", tz="UTC")
    sources = Sources(roots=(root,), index_dir=kept, now=lambda: NOW, prices=its_prices)
    return [reading.as_dict() for queries in (asked, [in_a_quarter]) for reading in read_usages(queries, sources)]


@pytest.fixture
def full_readings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One for every time that all of an index is read."""
    seen: list[str] = []
    really = transcripts.Index.read

    def reading(self: transcripts.Index) -> Any:
        seen.append(self.path)
        return really(self)

    monkeypatch.setattr(transcripts.Index, "read", reading)
    return seen


def test_what_is_kept_of_all_files_answers_as_they_do(root: Path, kept: Path, full_readings: list[str]) -> None:
    some(root)
    cold = answers(root, None)
    assert answers(root, kept) == cold
    full_readings.clear()
    assert answers(root, kept) == cold
    assert len(full_readings) == 1  # for single requests, of the one question that needs them


def test_prices_are_those_of_today(root: Path, kept: Path, tmp_path: Path, full_readings: list[str]) -> None:
    some(root)
    first = answers(root, kept)
    own = tmp_path / "prices.json"
    own.write_text('{"as_of": "2026-11-24", "models": {"claude-unheard-of": {"input": 7, "output": 9}}}')
    full_readings.clear()
    found = answers(root, kept, own)
    assert found == answers(root, None, own)
    assert found[0]["total"]["cost_usd"] is not None
    assert first[0]["total"]["cost_usd"] is None
    assert len(full_readings) == 1


def test_a_deleted_file_is_told_by_it_too(root: Path, kept: Path, full_readings: list[str]) -> None:
    some(root)
    whole = answers(root, kept)
    session_file(root, "s4", "-p-1").unlink()
    first = answers(root, kept)
    full_readings.clear()
    assert answers(root, kept) == first
    assert len(full_readings) == 1
    assert [each["rows"] for each in first] == [each["rows"] for each in whole]
    assert first[0]["coverage"]["deleted_files"] == 1


def test_who_comes_back_to_what_it_was_is_not_taken_for_it(root: Path, kept: Path) -> None:
    """The state of the files is one that was before, and what was in between is known all the same."""
    write(session_file(root, "a"), ONE)
    both(root, kept)
    write(session_file(root, "b"), TWO)
    both(root, kept)
    session_file(root, "b").unlink()
    for _ in range(2):
        found = transcripts.read((root,), kept)
        assert (output(found), found.deleted) == (3, 1)


def test_a_file_that_could_not_be_read_is_tried_again(root: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(session_file(root, "a"), ONE)
    write(session_file(root, "b"), TWO)
    really = os.open

    def refusing(name: Any, *more: Any, **named: Any) -> int:
        if str(name).endswith("b.jsonl"):
            raise PermissionError(13, "Permission denied")
        return really(name, *more, **named)

    monkeypatch.setattr(os, "open", refusing)
    for _ in range(2):
        found = transcripts.read((root,), kept)
        assert (output(found), len(found.unreadable)) == (1, 1)
    monkeypatch.undo()
    both(root, kept)


def test_an_answer_of_another_version_or_damaged_is_not_taken(root: Path, kept: Path) -> None:
    write(session_file(root, "a"), ONE)
    both(root, kept)
    (index,) = kept.iterdir()
    sql(index, "UPDATE meta SET value = x'00' WHERE key = 'whole'")
    found = transcripts.read((root,), kept)
    assert (output(found), len(found.notes)) == (1, 1)
    assert transcripts.read((root,), kept).notes == ()
    sql(index, "PRAGMA user_version = 99")
    assert "newer version" in transcripts.read((root,), kept).notes[0]


def test_what_is_sealed_and_of_no_use_all_the_same_is_written_anew(root: Path, kept: Path) -> None:
    write(session_file(root), ONE)
    transcripts.read((root,), kept)
    (index,) = kept.iterdir()
    sql(index, f"UPDATE meta SET value = x'ff', sum = {crc32(bytes([255]))} WHERE key = 'whole'")  # noqa: S608 - a number
    assert output(transcripts.read((root,), kept)) == 1
    with closing(sqlite3.connect(index)) as database:
        assert database.execute("SELECT value FROM meta WHERE key = 'whole'").fetchone() != (b"\xff",)


def test_single_requests_that_have_to_be_read_anew_come_with_all_else_of_that_reading(root: Path, kept: Path) -> None:
    write(session_file(root, "a"), ONE)
    both(root, kept)
    found = transcripts.read((root,), kept)
    write(session_file(root, "b"), TWO, b"42")
    transcripts.read((root,), kept)
    assert (output(found), found.files) == (1, 1)
    assert len(found.requests) == 2
    assert (output(found), found.files, found.lines, found.skipped) == (3, 2, 3, {"not_an_object": 1})
