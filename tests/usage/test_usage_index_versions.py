"""An index that another version of this program wrote."""

from __future__ import annotations

import os
import sqlite3
import struct
from contextlib import closing
from pathlib import Path
from typing import cast
from zlib import crc32

import pytest

from cc.usage import transcripts
from cc.usage.groups import fold, messages_of
from cc.usage.packed import VERSION
from cc.usage.tables import APPLICATION
from tests.usage.indexed import both, output, sql
from tests.usage.rows import row, session_file, write

OLDER = (1, 2)
OUTPUTS = {"gone": 54_301, "gone-too": 600_000, "there": 7_000_000}
"""Of each session's own messages; there is one more in all three, of 20, 10 and 30."""


def sum_of_2(number: int, path: bytes, *rest: object) -> int:
    """What version 2 sealed the row of a file with."""
    *mark, known = rest
    return crc32(cast("bytes", known), crc32(path, crc32(struct.pack("=5q", number, *mark))))


def seal(database: sqlite3.Connection) -> None:
    every = "SELECT id, path, device, inode, bytes, changed, known FROM file"
    for each in database.execute(every).fetchall():
        database.execute("UPDATE file SET sum = ? WHERE id = ?", (sum_of_2(*each), each[0]))


def written(version: int, root: Path, kept: Path, change: str = "SELECT 1", *values: object) -> Path:
    """The index of an older version, as if it had been written for this root, and then changed."""
    path = Path(transcripts.Index(kept, (root,)).path)
    kept.mkdir()
    with closing(sqlite3.connect(path)) as database:
        database.executescript(Path(__file__).with_name(f"index_version_{version}.sql").read_text())
        for number, old in database.execute("SELECT id, path FROM file").fetchall():
            new = old.replace(b"/root/of/then", os.fsencode(root))
            database.execute("UPDATE file SET path = ? WHERE id = ?", (new, number))
        database.execute(change, values)
        if version > 1:
            seal(database)
        database.execute(f"PRAGMA application_id = {APPLICATION}")
        database.execute(f"PRAGMA user_version = {version}")
        database.commit()
    return path


@pytest.mark.parametrize("version", OLDER)
def test_of_an_older_version_is_kept_what_only_it_knows(version: int, root: Path, kept: Path) -> None:
    index = written(version, root, kept)
    write(session_file(root, "there"), row("m4", "r4", output=8_000_000), row("both", "both", output=5))
    for _ in range(2):
        found = transcripts.read((root,), kept)
        assert output(found) == OUTPUTS["gone"] + OUTPUTS["gone-too"] + 8_000_000 + 20
        assert (found.files, found.deleted, found.notes, found.lines) == (1, 2, (), 2)
        assert [(said.session, said.cost_pico) for said in found.said] == [("gone", 1_500_000_000_000)]
        assert found.project_names == {"-elsewhere": "/home/user/project", "-home-user-project": "/home/user/project"}
        assert fold(found.requests) == found.groups
    with closing(sqlite3.connect(index)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (VERSION,)
    assert [each.name for each in kept.iterdir()] == [index.name]


@pytest.mark.parametrize("version", OLDER)
def test_what_an_older_version_knows_and_no_file_tells_any_more_stays_settled(
    version: int, root: Path, kept: Path
) -> None:
    """Nothing is there to be read: the index is written in today's layout all the same."""
    written(version, root, kept)
    session_file(root).parent.mkdir(parents=True)
    assert output(transcripts.read((root,), kept)) == sum(OUTPUTS.values()) + 30
    write(session_file(root, "new"), row("both", "both", output=9))
    assert output(transcripts.read((root,), kept)) == sum(OUTPUTS.values()) + 30


@pytest.mark.parametrize("version", OLDER)
def test_a_file_of_an_older_index_that_was_renamed_counts_once(version: int, root: Path, kept: Path) -> None:
    lines = row("m4", "r4", output=7_000_000), row("both", "both", output=30)
    status = write(session_file(root, "elsewhere"), *lines).stat()
    identity = (status.st_dev, status.st_ino, status.st_size)
    written(version, root, kept, "UPDATE file SET device = ?, inode = ? WHERE bytes = ?", *identity)
    found = transcripts.read((root,), kept)
    assert (output(found), found.deleted) == (sum(OUTPUTS.values()) + 30, 2)


@pytest.mark.parametrize(
    ("version", "damage"),
    [
        (1, "UPDATE body SET rows = x'ff' WHERE id = 1"),
        (2, "UPDATE body SET rows = x'90' WHERE id = 2"),
        (2, "UPDATE body SET rows_sum = 'x' WHERE id = 2"),
        (2, "DELETE FROM body WHERE id = 2"),
    ],
)
def test_of_an_older_index_that_is_damaged_in_part_the_rest_is_kept_and_the_loss_is_told(
    version: int, damage: str, root: Path, kept: Path
) -> None:
    index = written(version, root, kept, damage)
    session_file(root).parent.mkdir(parents=True)
    found = transcripts.read((root,), kept)
    assert output(found) == OUTPUTS["gone-too"] + OUTPUTS["there"] + 30
    lost = f"what 1 that cannot be read any more told is lost: {session_file(root, 'gone')}"
    assert found.notes == (f"the index {index} was damaged in part: {lost}",)
    assert transcripts.read((root,), kept).notes == ()


@pytest.mark.parametrize("damage", ["changed = 1", "known = x'ff'", "known = 7", "device = 'x'", "sum = 0", "path = 7"])
def test_of_what_an_older_index_seals_nothing_else_is_believed(damage: str, root: Path, kept: Path) -> None:
    index = written(2, root, kept)
    sql(index, f"UPDATE file SET {damage} WHERE id = 2")  # noqa: S608 - words of ours
    session_file(root).parent.mkdir(parents=True)
    found = transcripts.read((root,), kept)
    assert output(found) == OUTPUTS["gone-too"] + OUTPUTS["there"] + 30
    assert len(found.notes) == 1


@pytest.mark.parametrize(
    "damage", ["path = 7", "path = 'x'", "path = 1.5", "bytes = 1.5", "device = 'x'", "changed = x''"]
)
def test_of_an_index_that_seals_nothing_a_file_whose_path_or_mark_is_none_is_counted_or_told_to_be_lost(
    damage: str, root: Path, kept: Path
) -> None:
    written(1, root, kept, f"UPDATE file SET {damage} WHERE CAST(path AS TEXT) LIKE '%/gone.jsonl'")  # noqa: S608 - words of ours
    session_file(root).parent.mkdir(parents=True)
    found = transcripts.read((root,), kept)
    rest = OUTPUTS["gone-too"] + OUTPUTS["there"] + 30
    assert (output(found), len(found.notes)) in ((rest + OUTPUTS["gone"], 0), (rest, 1))
    again = transcripts.read((root,), kept)
    assert (output(again), again.notes) == (output(found), ())


@pytest.mark.parametrize("version", OLDER)
def test_two_processes_may_take_it_over_at_once(version: int, root: Path, kept: Path) -> None:
    written(version, root, kept)
    write(session_file(root, "new"), row("m9", "r9", output=1))
    slow = transcripts.Index(kept, (root,))
    old = slow.read()
    assert messages_of(transcripts.read((root,), kept).groups) == 8
    slow.write([], [], old.contested, b"")
    found = transcripts.read((root,), kept)
    assert (messages_of(found.groups), found.deleted, found.notes) == (8, 3, ())


def test_one_of_a_newer_version_is_left_alone_and_told(root: Path, kept: Path) -> None:
    write(session_file(root), row(output=3))
    both(root, kept)
    (index,) = kept.iterdir()
    sql(index, f"PRAGMA user_version = {VERSION + 1}")
    before = index.read_bytes()
    write(session_file(root), row(output=4))
    found = transcripts.read((root,), kept)
    assert output(found) == 4
    said = f"is of a newer version, {VERSION + 1}, than this program's, {VERSION}, and is left alone"
    cost = "all files were read, and deleted ones are not counted"
    assert found.notes == (f"the index {index} {said}: {cost}",)
    assert (index.read_bytes(), [each.name for each in kept.iterdir()]) == (before, [index.name])
