"""The tables of the index, each row of which is sealed with a sum.

    file   id | path | device, inode, bytes, time of change | known (packed.Known)     read every time
    body   id | ids | rows                                  read where something changed: all ids, and some files' rows
    meta   key | value     number of the writing, contested ids and the groups of their requests; and, all that is read
                           as long as no file changes, their state and what they tell together (packed.Whole)

All of it raises sqlite3.Error. Imports entries, packed, and older where there is an older one.
"""

from __future__ import annotations

import os
import sqlite3
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from zlib import crc32

from cc.usage.entries import Contents, Entry
from cc.usage.packed import VERSION, DamagedError, ids_of, loose_of, pack, pack_rows, unpack_ids, unpack_known

APPLICATION = 0x63635531  # "ccU1": any other SQLite file is somebody else's
SCHEMA = """
CREATE TABLE file (id INTEGER PRIMARY KEY, path BLOB NOT NULL, device INTEGER, inode INTEGER, bytes INTEGER,
                   changed INTEGER, known BLOB NOT NULL, sum INTEGER NOT NULL);
CREATE TABLE body (id INTEGER PRIMARY KEY, ids BLOB NOT NULL, ids_sum INTEGER NOT NULL,
                   rows BLOB NOT NULL, rows_sum INTEGER NOT NULL);
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL, sum INTEGER NOT NULL) WITHOUT ROWID;
"""
NUMBERS = struct.Struct("=5q")  # what the row of a file is sealed with, of its numbers
FEW = 500
"""So many bodies are looked up one by one; for more all are gone through."""


class NewerError(Exception):
    """It was written by a version that this one does not know."""


def is_of_today(database: sqlite3.Connection) -> bool:
    """Whether it is an index, and of this version."""
    return (_pragma(database, "application_id"), _pragma(database, "user_version")) == (APPLICATION, VERSION)


def contents(database: sqlite3.Connection) -> Contents:
    """What is in it, but for the bodies. Raises NewerError, DamagedError, and what else unpacking damaged parts may."""
    database.execute("BEGIN")
    if not database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        return Contents()  # its first writer is at work, or was killed
    if _pragma(database, "application_id") != APPLICATION:
        raise DamagedError("it is another program's")
    version = _pragma(database, "user_version")
    if version > VERSION:
        raise NewerError(version)
    if version < VERSION:
        return _taken_over(database, version)
    found = Contents(writing=writing_of(database))
    for number, path, device, inode, size, changed, known, its_sum in database.execute("SELECT * FROM file"):
        mark = (device, inode, size, changed)
        try:
            sound = _file_sum(number, path, mark, known) == its_sum
        except (struct.error, TypeError):
            sound = False
        if sound:
            found.entries[path] = Entry(path, mark, unpack_known(known), number)
        else:
            found.damaged[number] = (path if isinstance(path, bytes) else b"", mark)
    values = meta(database, ("contested", "pool", "state", "whole"))
    found.settled = len(values) == 4
    if found.settled:
        found.contested, found.pool, found.state = unpack_ids(values["contested"]), values["pool"], values["state"]
    return found


def _taken_over(database: sqlite3.Connection, version: int) -> Contents:
    """What an older version wrote, as this one would have it."""
    from cc.usage.older import READERS

    if version not in READERS:
        raise DamagedError(f"there was never a version {version}")
    found = Contents(writing=writing_of(database), settled=False, older=True)
    for place, (path, mark, known, rows) in enumerate(READERS[version](database)):
        if rows is None:
            found.damaged[place] = (path, mark)
        else:
            known.loose = loose_of(rows)
            found.entries[path] = Entry(path, mark, known, None, pack_rows(rows, known), ids_of(rows))
    return found


def _file_sum(number: int, path: bytes, mark: tuple[int, ...], known: bytes) -> int:
    """What the row of a file is sealed with. Raises struct.error, TypeError for what cannot be one."""
    return crc32(b"".join((NUMBERS.pack(number, *mark), path, known)))


def sound(database: sqlite3.Connection, column: str, wanted: set[int]) -> dict[int, bytes]:
    """This column of these bodies, but for those that are missing or damaged."""
    query = f"SELECT id, {column}, {column}_sum FROM body"  # noqa: S608 - a word of ours
    every: Iterable[tuple[int, bytes, int]] = (
        (each for number in wanted for each in database.execute(query + " WHERE id = ?", (number,)))
        if len(wanted) < FEW
        else database.execute(query)
    )
    return {
        number: data
        for number, data, its_sum in every
        if number in wanted and isinstance(data, bytes) and crc32(data, number) == its_sum
    }


def meta(database: sqlite3.Connection, keys: Iterable[str]) -> dict[str, bytes]:
    """What there is of these, but for what is damaged."""
    query = "SELECT value, sum FROM meta WHERE key = ?"
    every = ((key, *each) for key in keys for each in database.execute(query, (key,)))
    return {key: value for key, value, its_sum in every if isinstance(value, bytes) and crc32(value) == its_sum}


def writing_of(database: sqlite3.Connection) -> bytes:
    """What tells this writing from every other one."""
    found = database.execute("SELECT value FROM meta WHERE key = 'writing'").fetchone()
    return found[0] if found and isinstance(found[0], bytes) else b""


def _pragma(database: sqlite3.Connection, name: str) -> int:
    return int(database.execute(f"PRAGMA {name}").fetchone()[0])


def tells_of_damage(error: sqlite3.Error) -> bool:
    """What the file itself is; not that it is locked, cannot be opened or is on a full disk. What is written breaks no
    rule of its tables. Else by SQLite's words: their numbers came with Python 3.11."""
    words = ("malformed", "not a database", "no such", "no regular file")
    return isinstance(error, sqlite3.IntegrityError) or any(word in str(error) for word in words)


def write(
    database: sqlite3.Connection,
    before: Contents,
    changed: Sequence[Entry],
    dropped: Iterable[int],
    values: Mapping[str, bytes],
) -> bool:
    """Put these files into it, take those out, and replace the values of `meta`; `before` is then of this writing.

    False, and nothing is done, if somebody has written since `before` was read.
    """
    database.execute("BEGIN IMMEDIATE")
    new = _pragma(database, "application_id") != APPLICATION
    if not new and writing_of(database) != before.writing:
        database.execute("ROLLBACK")
        return False
    if new or before.older:
        for table in () if new else ("file", "body", "meta"):
            database.execute(f"DROP TABLE {table}")
        for statement in SCHEMA.split(";"):
            database.execute(statement)
        database.execute(f"PRAGMA application_id = {APPLICATION}")
        database.execute(f"PRAGMA user_version = {VERSION}")
    for number in dropped:
        database.execute("DELETE FROM file WHERE id = ?", (number,))
        database.execute("DELETE FROM body WHERE id = ?", (number,))
    last = database.execute("SELECT ifnull(max(id), 0) FROM file").fetchone()[0]
    if not isinstance(last, int):
        raise sqlite3.DatabaseError("malformed: an id that is no number")
    for entry in changed:
        if entry.id is None:
            entry.id = last = last + 1
    database.executemany("REPLACE INTO file VALUES (?, ?, ?, ?, ?, ?, ?, ?)", map(_file, changed))
    database.executemany("REPLACE INTO body VALUES (?, ?, ?, ?, ?)", _bodies(changed))
    writing = os.urandom(8)  # no other writing of any other index has the same
    for key, value in (*values.items(), ("writing", writing)):
        database.execute("REPLACE INTO meta VALUES (?, ?, ?)", (key, value, crc32(value)))
    database.execute("COMMIT")
    before.writing, before.older = writing, False
    return True


def _file(entry: Entry) -> tuple[object, ...]:
    number, known = entry.id or 0, pack(entry.known)
    return number, entry.path, *entry.mark, known, _file_sum(number, entry.path, entry.mark, known)


def _bodies(entries: Iterable[Entry]) -> Iterator[tuple[object, ...]]:
    for entry in entries:
        if entry.rows is not None and entry.ids is not None:
            number, ids = entry.id or 0, entry.ids.tobytes()
            yield number, ids, crc32(ids, number), entry.rows, crc32(entry.rows, number)
