"""The index may be damaged, locked, killed and written by others at any time: what can be is kept, and it is told."""

from __future__ import annotations

import os
import random
import resource
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cc.usage import transcripts
from cc.usage.groups import fold
from tests.usage.indexed import ONE, THREE, TWO, both, opens, output, sql
from tests.usage.portions import in_portions
from tests.usage.rows import row, session_file, text, write

ROOT = Path(__file__).resolve().parents[2]
MALFORMED = "database disk image is malformed"


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"no database"),
        lambda path: path.write_bytes(path.read_bytes()[:5000]),
        lambda path: path.write_bytes(path.read_bytes()[:8192] + os.urandom(20000)),
        lambda path: (path.unlink(), path.mkdir()),
        lambda path: (path.unlink(), os.mkfifo(path)),
        lambda path: sql(path, "PRAGMA application_id = 1"),
        lambda path: sql(path, "UPDATE file SET known = x'00'"),
        lambda path: sql(path, "UPDATE body SET rows = x'ff', ids = x'ff'"),
        lambda path: sql(path, "DELETE FROM meta"),
        lambda path: sql(path, "DROP TABLE body"),
    ],
)
def test_a_damaged_index_costs_one_reading_is_told_and_made_anew(root: Path, kept: Path, damage: Any) -> None:
    path = write(session_file(root), ONE, TWO)
    write(session_file(root, "other"), ONE, THREE)
    both(root, kept)
    (index,) = kept.iterdir()
    damage(index)
    with path.open("ab") as file:
        file.write(text(row("m9", "r9", output=9)) + b"\n")
    found = transcripts.read((root,), kept)
    assert output(found) == 15
    assert found.notes
    assert str(index) in found.notes[0]
    if not index.is_dir():
        both(root, kept)


def flip(index: Path, table: str, column: str, where: str) -> None:
    """One bit of one value is another, and SQLite does not see it."""
    with closing(sqlite3.connect(index, isolation_level=None)) as database:
        query = f"SELECT {column} FROM {table} WHERE {where}"  # noqa: S608
        (value,) = database.execute(query).fetchone()
        changed = value ^ 2 if isinstance(value, int) else bytes([*value[:-1], value[-1] ^ 2])
        database.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", (changed,))  # noqa: S608


PARTS = ("file known", "file changed", "file path", "body rows", "body ids", "meta contested", "meta pool")


@pytest.mark.parametrize("part", PARTS)
def test_damage_that_sqlite_does_not_see_costs_the_file_that_it_is_in(
    root: Path, kept: Path, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of three files that share a message, one is damaged and read again, and a fourth is new."""
    for name in "abc":
        write(session_file(root, name), row(f"m{name}", name, output=1), row("both", "both", output=ord(name)))
    both(root, kept)
    (index,) = kept.iterdir()
    table, column = part.split()
    flip(index, table, *(("value", f"key = '{column}'") if table == "meta" else (column, "id = 2")))
    write(session_file(root, "new"), row("both", "both", output=1), row("m", "r", output=10))
    seen = opens(monkeypatch)
    found = transcripts.read((root,), kept)
    monkeypatch.undo()
    assert output(found) == 3 + ord("c") + 10
    cost = "who counts which message was found out anew" if table == "meta" else "1 session file was read again"
    assert found.notes == (f"the index {index} was damaged in part: {cost}",)
    assert set(seen) == ({"new.jsonl"} if table == "meta" else {"b.jsonl", "new.jsonl"})
    both(root, kept)


@pytest.mark.parametrize(
    "part", ["file known", "file path", "file sum", "body rows", "body ids", "meta pool", "meta whole"]
)
def test_a_value_that_has_become_text_which_is_none_is_damage_that_heals(root: Path, kept: Path, part: str) -> None:
    """A bit of a record's header makes text of what are bytes; they need not be UTF-8."""
    table, column = part.split()
    path = write(session_file(root), ONE, TWO)
    write(session_file(root, "other"), ONE, THREE)
    both(root, kept)
    (index,) = kept.iterdir()
    where, column = (f"key = '{column}'", "value") if table == "meta" else ("id = 1", column)
    sql(index, f"UPDATE {table} SET {column} = CAST(x'ff' || {column} AS TEXT) WHERE {where}")  # noqa: S608
    with path.open("ab") as file:
        file.write(text(row("m9", "r9", output=9)) + b"\n")
    assert output(transcripts.read((root,), kept)) == 15
    assert output(both(root, kept)) == 15


@pytest.mark.parametrize("part", PARTS[:5])
def test_what_a_deleted_file_told_is_lost_where_it_is_damaged_and_that_is_told_once(
    root: Path, kept: Path, part: str
) -> None:
    for name in "abc":
        write(session_file(root, name), row(f"m{name}", name, output=1), row("both", "both", output=ord(name)))
    both(root, kept)
    (index,) = kept.iterdir()
    for name in "bc":
        session_file(root, name).unlink()
    assert output(transcripts.read((root,), kept)) == 3 + ord("c")
    flip(index, *part.split(), "id = 3")
    write(session_file(root, "new"), row("both", "both", output=1), row("m", "r", output=10))
    found = transcripts.read((root,), kept)
    assert (output(found), found.deleted) == (2 + ord("b") + 10, 1)
    assert "told is lost" in found.notes[0]
    found = transcripts.read((root,), kept)
    assert (output(found), found.deleted, found.notes) == (2 + ord("b") + 10, 1, ())
    assert fold(found.requests) == found.groups


def test_damage_is_found_and_told_also_when_single_requests_are_asked_for(root: Path, kept: Path) -> None:
    write(session_file(root, "a"), ONE)
    write(session_file(root, "b"), TWO)
    both(root, kept)
    (index,) = kept.iterdir()
    flip(index, "body", "rows", "id = 1")
    flip(index, "body", "ids", "id = 2")
    found = transcripts.read((root,), kept)
    assert found.notes == ()
    assert sum(request.output_tokens for request in found.requests) == 3
    assert found.notes == (f"the index {index} was damaged in part: 2 session files were read again",)
    both(root, kept)


def test_damage_that_only_sqlite_sees_is_found_when_single_requests_are_asked_for(root: Path, kept: Path) -> None:
    """What is read of every file is whole, and a page of their rows is not."""
    write(session_file(root), ONE, TWO)
    both(root, kept)
    (index,) = kept.iterdir()
    with closing(sqlite3.connect(index)) as database:
        (page,) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'body'").fetchone()
        (size,) = database.execute("PRAGMA page_size").fetchone()
    damaged = bytearray(index.read_bytes())
    damaged[(page - 1) * size : (page - 1) * size + 100] = b"\xff" * 100
    for ask in (lambda found: found.requests, lambda found: [one for some in in_portions(found, 1) for one in some]):
        index.write_bytes(damaged)
        found = transcripts.read((root,), kept)
        assert (output(found), found.notes) == (3, ())
        assert sum(request.output_tokens for request in ask(found)) == 3
        assert found.notes == (f"the index {index} is damaged, is set aside and made anew: " + MALFORMED,)
        both(root, kept)


def test_an_index_that_is_empty_is_one_whose_first_writer_is_at_work(root: Path, kept: Path) -> None:
    write(session_file(root), ONE)
    both(root, kept)
    (index,) = kept.iterdir()
    index.write_bytes(b"")
    assert output(both(root, kept)) == 1
    assert index.stat().st_size > 0


@pytest.mark.parametrize("moment", ["while it is read", "while a body is read"])
def test_trouble_of_the_moment_is_no_damage_and_loses_nothing(
    root: Path, kept: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(session_file(root, "old"), ONE)
    path = write(session_file(root), TWO)
    both(root, kept)
    session_file(root, "old").unlink()
    assert output(transcripts.read((root,), kept)) == 3
    write(path, TWO, THREE)
    index = next(each for each in kept.iterdir() if each.suffix == ".db")
    with closing(sqlite3.connect(index, isolation_level=None)) as other:
        if moment == "while it is read":
            other.execute("BEGIN EXCLUSIVE")
        else:
            really = transcripts.Index.rows

            def rows(self: Any, wanted: Any) -> Any:
                if not other.in_transaction:
                    other.execute("BEGIN EXCLUSIVE")
                return really(self, wanted)

            monkeypatch.setattr(transcripts.Index, "rows", rows)
        found = transcripts.read((root,), kept)
    monkeypatch.undo()
    assert output(found) == 5  # without what only the index knows, and it says so
    assert "in use by another process" in found.notes[0]
    assert output(transcripts.read((root,), kept)) == 6
    assert [each.name for each in kept.iterdir()] == [index.name]


def test_a_writer_that_was_killed_half_way_is_rolled_back(root: Path, kept: Path) -> None:
    write(session_file(root, "old"), ONE)
    write(session_file(root), TWO)
    both(root, kept)
    session_file(root, "old").unlink()
    (index,) = kept.iterdir()
    code = (
        "import os, sqlite3, sys; d = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "d.execute('PRAGMA cache_size = 1'); d.execute('BEGIN IMMEDIATE');"
        "d.execute('CREATE TABLE x (y BLOB)');"
        "[d.execute('INSERT INTO x VALUES (randomblob(9000))') for _ in range(99)];"
        "d.execute('DELETE FROM file'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(index)], check=False)
    assert Path(f"{index}-journal").exists()
    found = transcripts.read((root,), kept)
    assert (output(found), found.deleted, found.notes) == (3, 1, ())


def test_another_that_wrote_in_between_makes_it_begin_anew(
    root: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows without ids would count twice where a place in the file is paired with rows from beyond it."""
    path = write(session_file(root), row(None, None, output=1))
    both(root, kept)
    write(path, row(None, None, output=1), row(None, None, output=10))
    really, others = transcripts.Index.rows, [0]

    def rows(self: Any, wanted: Any) -> Any:
        if not others[0]:
            others[0] += 1
            assert output(transcripts.read((root,), kept)) == 11
        return really(self, wanted)

    monkeypatch.setattr(transcripts.Index, "rows", rows)
    found = transcripts.read((root,), kept)
    assert (output(found), found.notes) == (11, ())


def test_requests_are_there_also_when_the_index_was_damaged_or_written_since(root: Path, kept: Path) -> None:
    path = write(session_file(root), ONE, TWO)
    both(root, kept)
    found = transcripts.read((root,), kept)
    write(path, ONE, TWO, THREE)
    assert output(transcripts.read((root,), kept)) == 6
    assert sum(request.output_tokens for request in found.requests) == 6  # as it is now
    index = next(kept.glob("*.db"))
    for statement in ("UPDATE body SET rows = x'ff'", "DELETE FROM body"):
        sql(index, statement)
        for _ in range(2):
            assert sum(request.output_tokens for request in transcripts.read((root,), kept).requests) == 6


def test_an_index_in_use_is_not_waited_for_and_stays(root: Path, kept: Path) -> None:
    path = write(session_file(root), ONE)
    both(root, kept)
    (index,) = kept.iterdir()
    with closing(sqlite3.connect(index, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        write(path, ONE, TWO)
        found = transcripts.read((root,), kept)
        assert output(found) == 3
        assert "in use by another process" in found.notes[0]
    assert output(both(root, kept)) == 3


def test_of_two_that_read_at_once_the_later_does_not_undo_what_the_earlier_wrote(root: Path, kept: Path) -> None:
    path = write(session_file(root), ONE)
    slow = transcripts.Index(kept, (root,))
    nothing = slow.read()
    write(path, ONE, TWO)
    assert output(transcripts.read((root,), kept)) == 3
    slow.write([], [], nothing.contested, b"")
    assert output(both(root, kept)) == 3


def test_an_index_that_cannot_be_written_costs_speed_and_is_told(root: Path, tmp_path: Path) -> None:
    write(session_file(root), ONE)
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    found = transcripts.read((root,), in_the_way / "index")
    assert output(found) == 1
    assert "cannot be" in found.notes[0]


@pytest.mark.parametrize(
    ("was", "now"),
    [
        (b"CREATE TABLE meta", b"CREATE TABLE m\xf5ta"),
        (b"CREATE TABLE body", b"CREATE T\xc1BLE body"),
        (b"rows_sum INTEGER", b"rows_s\xf5m INTEGER"),
        (b"key TEXT PRIMARY KEY", b"key TEXT PRIM\xc1RY KEY"),
    ],
)
def test_words_of_its_layout_that_are_no_text_are_damage(root: Path, kept: Path, was: bytes, now: bytes) -> None:
    """SQLite names them in what it says, which cannot be decoded then."""
    write(session_file(root), ONE, TWO)
    both(root, kept)
    (index,) = kept.iterdir()
    assert index.read_bytes().count(was) == 1
    index.write_bytes(index.read_bytes().replace(was, now))
    assert output(transcripts.read((root,), kept)) == 3
    write(session_file(root, "other"), ONE, THREE)
    assert output(transcripts.read((root,), kept)) == 6
    assert output(both(root, kept)) == 6


def test_whatever_bit_of_it_is_another_costs_no_wrong_number_and_heals(root: Path, kept: Path) -> None:
    """Also where SQLite can still read it and no longer write it: who then keeps it reads all files each time."""
    for number in range(8):
        rows = (row(f"m{number}-{n}", f"r{number}-{n}", output=1 << number) for n in range(6))
        write(session_file(root, f"s{number}"), *rows)
    both(root, kept)
    (index,) = kept.iterdir()
    whole, rng = index.read_bytes(), random.Random(11)  # noqa: S311
    places = [place for place, byte in enumerate(whole) if byte and not 60 <= place < 64]  # a newer version's stays
    for number in range(80):
        place = rng.choice(places)
        for path in kept.iterdir():
            path.unlink()
        index.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << rng.randrange(8)]) + whole[place + 1 :])
        with session_file(root, "s5").open("ab") as file:
            file.write(text(row(f"new{number}", f"new{number}", output=1)) + b"\n")
        for _ in range(3):
            found = transcripts.read((root,), kept)
            assert output(found) == 6 * 255 + number + 1, place
            assert fold(found.requests) == found.groups, place
        assert found.notes == (), place


def test_an_index_for_which_the_disk_has_no_room_stays_as_it_was_and_counts_what_only_it_knows(
    root: Path, kept: Path
) -> None:
    """What fails is the commit, at the end of all: then it is still of the writing before."""
    gone = write(session_file(root, "gone"), row("m1", "r1", output=1))
    write(session_file(root, "there"), row("m2", "r2", output=20))
    both(root, kept)
    gone.unlink()
    (index,) = kept.iterdir()
    most, size = resource.getrlimit(resource.RLIMIT_FSIZE)[1], index.stat().st_size
    write(session_file(root, "new"), *(row(f"n{n}", f"n{n}", output=300) for n in range(2000)))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
    try:
        found = transcripts.read((root,), kept)
        assert sum(request.output_tokens for request in found.requests) == 600_021
        assert (output(found), found.deleted, len(found.notes)) == (600_021, 1, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert output(transcripts.read((root,), kept)) == 600_021


def test_killed_while_it_writes_the_index_is_the_old_or_the_new_one(root: Path, kept: Path) -> None:
    for number in range(300):
        write(session_file(root, f"s{number}"), row(f"m{number}", f"r{number}", output=1))
    paths = f"(Path({str(root)!r}),), Path({str(kept)!r})"
    code = f"from pathlib import Path; from cc.usage import transcripts; transcripts.read({paths})"
    rng = random.Random(3)  # noqa: S311
    for _ in range(12):
        child = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
        try:
            child.wait(timeout=rng.uniform(0.05, 0.35))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        write(session_file(root, f"s{rng.randrange(300)}"), row(f"new{rng.random()}", "r", output=1))
    found = transcripts.read((root,), kept)
    assert found.groups == transcripts.read((root,)).groups


def test_an_index_in_use_is_asked_once(root: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks waits for a moment each time, and two of them would be felt."""
    write(session_file(root), ONE)
    both(root, kept)
    (index,) = kept.iterdir()
    asked: list[str] = []
    really = sqlite3.connect

    def connect(name: str, **more: Any) -> sqlite3.Connection:
        asked.append(name)
        return really(name, **more)

    with closing(really(index, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        monkeypatch.setattr(sqlite3, "connect", connect)
        assert output(transcripts.read((root,), kept)) == 1
    assert len(asked) == 1
