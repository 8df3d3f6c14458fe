"""What was read of the session files, kept from one reading to the next: SQLite, one file for each set of roots.

    file   id | path | device, inode, bytes, time of change | known (packed.Known)     read every time
    body   id | ids | rows                                  read where something changed: all ids, and some files' rows
    meta   key | value     number of the writing, contested ids and the groups of their requests; and, all that is read
                           as long as no file changes, their state and what they tell together (packed.Whole)

It may be deleted or damaged at any time: that costs one reading of everything, and is told. It alone knows what stood
in files that have been deleted. So whatever is in it is sealed with a sum, and where one is wrong that file alone is
read again; what SQLite itself finds damaged is set aside and not removed; what an older version wrote is taken over
(older.py), what a newer one wrote is left alone; and trouble of the moment (a lock, no descriptor, a disk) is none of
its damage. Nobody waits for it: if another process writes it just now, this reading does without. Two that read at once
don't undo each other: who finds that somebody wrote since it read begins anew.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import stat
import struct
from array import array
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from urllib.parse import quote
from zlib import crc32

import msgspec

from cc.files import os_failure
from cc.usage.packed import (
    VERSION,
    AwayError,
    ChangedError,
    DamagedError,
    DamagedPartsError,
    Known,
    Whole,
    ids_of,
    loose_of,
    pack,
    pack_rows,
    unpack_ids,
    unpack_known,
    unpack_whole,
)
from cc.usage.places import shown

APPLICATION = 0x63635531  # "ccU1": any other SQLite file is somebody else's
BUSY_S = 0.2
ASIDE = ".damaged"
SCHEMA = """
CREATE TABLE file (id INTEGER PRIMARY KEY, path BLOB UNIQUE NOT NULL, device INTEGER, inode INTEGER, bytes INTEGER,
                   changed INTEGER, known BLOB NOT NULL, sum INTEGER NOT NULL);
CREATE TABLE body (id INTEGER PRIMARY KEY, ids BLOB NOT NULL, ids_sum INTEGER NOT NULL,
                   rows BLOB NOT NULL, rows_sum INTEGER NOT NULL);
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL, sum INTEGER NOT NULL) WITHOUT ROWID;
"""
NUMBERS = struct.Struct("=5q")  # what the row of a file is sealed with, of its numbers
FEW = 500
"""So many bodies are looked up one by one; for more all are gone through."""
NAMED = 3
"""Lost files whose paths are told; of the others how many they are."""

Mark = tuple[int, int, int, int]
"""Device, inode, bytes, nanoseconds of the last change: while all four are the same, the file is."""


class Entry(msgspec.Struct):
    """A file of the index. `id` is None until it is written, `rows` and `ids` None where they lie in the index only.

    `tied` are the request ids by which it is tied to rows without message id (settle.py): found out when it matters.
    """

    path: bytes
    mark: Mark
    known: Known
    id: int | None = None
    rows: bytes | None = None
    ids: array[int] | None = None
    tied: array[int] | None = None

    @property
    def all_ids(self) -> array[int]:
        """Ids by which it may dispute messages with others; they must be there."""
        ids = array("I") if self.ids is None else self.ids
        return ids + self.tied if self.tied else ids

    def disputes(self, contested: set[int]) -> bool:
        """Whether it has one of these ids; they must be there."""
        return not contested.isdisjoint(self.all_ids)


class Contents(msgspec.Struct):
    """All that an index holds. `pool` are the groups of the requests whose ids are `contested`.

    `state` is `Listing.state` of the files as they were when all of this was found; empty if there is no such moment.
    `settled` is False where these two are not known: then who counts what is to be found out anew. `older`: of another
    version, to be written anew, and good for what cannot be read again. `damaged` are path and mark of the files whose
    parts of it are of no use, by the id to be taken out.
    """

    entries: dict[bytes, Entry] = {}
    contested: array[int] = msgspec.field(default_factory=lambda: array("I"))
    pool: bytes = b""
    writing: bytes = b""
    state: bytes = b""
    settled: bool = True
    older: bool = False
    damaged: dict[int, tuple[bytes, Mark]] = {}


class Index:
    """The index of these roots in a directory. No call raises for what the disk does: see `trouble`.

    `trouble` are sentences for people: what it costs that the index could not be read or written. `off`: it is done
    without.
    """

    def __init__(self, directory: Path, places: Sequence[Path]) -> None:
        name = hashlib.sha256(b"\0".join(os.fsencode(place) for place in places)).hexdigest()[:12]
        self.path = os.path.join(directory, f"sessions-{name}.db")
        self.trouble: list[str] = []
        self.off = False
        self._contents = Contents()
        self._damaged: dict[int, tuple[bytes, Mark]] = {}  # files whose bodies were seen to be, by the id

    def read(self) -> Contents:
        """What it holds; nothing if there is none, or none of use."""
        before, self._contents = self._contents, Contents()
        if self.off:
            return self._contents
        try:
            with closing(self._open("rw")) as database:
                self._contents = found = _contents(database)
        except FileNotFoundError:
            return self._contents
        except OSError as error:
            self.do_without(os_failure(error, "it cannot be read").message)
        except sqlite3.Error as error:
            self._judge(error)
        except _NewerError as error:
            self._leave(f"is of a newer version, {error}, than this program's, {VERSION}, and is left alone")
        except (DamagedError, ValueError, TypeError) as error:
            self.give_up(error)
        else:
            if found.writing != before.writing:
                self._damaged = {}
            found.damaged |= self._damaged
            for path, _ in self._damaged.values():
                found.entries.pop(path, None)
        return self._contents

    def _judge(self, error: sqlite3.Error) -> None:
        if _tells_of_damage(error):
            self.give_up(error)
        else:
            self.do_without(str(error))

    def do_without(self, why: str) -> None:
        """This reading neither reads nor writes it."""
        self._leave("is in use by another process" if "locked" in why else f"is of no use now ({why})")

    def _leave(self, what: str) -> None:
        self.off = True
        self.trouble.append(f"the index {self.path} {what}: all files were read, and deleted ones are not counted")

    def give_up(self, error: Exception) -> None:
        """It is of no use, and is set aside: the next writing makes it anew."""
        self.trouble.append(f"the index {self.path} is damaged, is set aside and made anew: {error}")
        self._contents = Contents()
        for beside in ("-journal", ""):
            try:
                os.replace(self.path + beside, self.path + ASIDE + beside)
            except FileNotFoundError:
                pass
            except OSError as failed:
                self.trouble.append(os_failure(failed, f"the index {self.path} cannot be set aside").message)
                self.off = True

    def tell_damage(self, read: Mapping[bytes, Entry]) -> None:
        """What it costs that parts of it are damaged; these files were read, by path.

        A path may be what is damaged: its file is then known by its mark.
        """
        damaged = self._contents.damaged
        if not damaged and (self._contents.settled or self._contents.older):
            return
        marks = {entry.mark for entry in read.values()}
        lost = sorted(path for path, mark in damaged.values() if path not in read and mark not in marks)
        cost = [f"{len(damaged) - len(lost)} session files were read again"] if len(damaged) > len(lost) else []
        if lost:
            names = ", ".join(shown(os.fsdecode(path)) for path in lost[:NAMED]) + ", ..." * (len(lost) > NAMED)
            cost.append(f"what {len(lost)} that cannot be read any more told is lost: {names}")
        told = "; ".join(cost) or "who counts which message was found out anew"
        self.trouble.append(f"the index {self.path} was damaged in part: {told}")

    def ids(self) -> dict[int, bytes]:
        """The packed ids of every file, by the file's id. Raises DamagedPartsError, AwayError, ChangedError."""
        return self._bodies("ids", {entry.id for entry in self._contents.entries.values() if entry.id is not None})

    def rows(self, wanted: Iterable[int]) -> dict[int, bytes]:
        """The packed rows of these files. Raises DamagedPartsError, also if any is missing, AwayError, ChangedError."""
        return self._bodies("rows", set(wanted))

    def _bodies(self, column: str, wanted: set[int]) -> dict[int, bytes]:
        if not wanted:
            return {}
        try:
            with closing(self._open("rw")) as database:
                database.execute("BEGIN")
                if _writing(database) != self._contents.writing:
                    raise ChangedError
                found = _sound(database, column, wanted)
                if len(found) < len(wanted):
                    self._look_for_damage(database)
                    raise DamagedPartsError
                return found
        except FileNotFoundError as error:
            raise ChangedError from error
        except OSError as error:
            raise AwayError(error.strerror or str(error)) from error
        except sqlite3.Error as error:
            if not _tells_of_damage(error):
                raise AwayError(str(error)) from error
            self.give_up(error)  # here: who asks may have read the rest of it long ago, and found it good
            raise ChangedError from error

    def _look_for_damage(self, database: sqlite3.Connection) -> None:
        """In all bodies, so that one more reading is enough."""
        every = {entry.id: entry for entry in self._contents.entries.values() if entry.id is not None}
        for column in ("rows", "ids"):
            sound = _sound(database, column, set(every))
            self._damaged |= {n: (entry.path, entry.mark) for n, entry in every.items() if n not in sound}

    def whole(self, state: bytes) -> Whole | None:
        """What all files tell together, if they are in this state; None if it has to be found out."""
        if self.off:
            return None
        try:
            with closing(self._open("rw")) as database:
                database.execute("BEGIN")
                if (_pragma(database, "application_id"), _pragma(database, "user_version")) != (APPLICATION, VERSION):
                    return None
                found = _meta(database, ("whole",)) if _meta(database, ("state",)).get("state") == state else {}
                return unpack_whole(found["whole"]) if found else None
        except sqlite3.Error as error:
            self._judge(error)
        except (OSError, DamagedError):  # `read`, which is next, says what it is
            pass
        return None

    def write(
        self,
        changed: Sequence[Entry],
        dropped: Iterable[int],
        contested: array[int],
        pool: bytes,
        state: bytes = b"",
        whole: bytes = b"",
    ) -> None:
        """Put these files into it, take those out, and replace all else: all of it or nothing."""
        if self.off:
            return
        try:
            os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
            with closing(self._open("rwc")) as database:
                meta = {"contested": contested.tobytes(), "pool": pool, "state": state, "whole": whole}
                self._write(database, changed, dropped, meta)
        except sqlite3.Error as error:
            if "locked" not in str(error):  # whoever writes it just now knows the same files
                self.trouble.append(f"the index {self.path} cannot be written: {error}")
        except OSError as error:
            self.trouble.append(os_failure(error, f"the index {self.path} cannot be written").message)

    def _write(
        self, database: sqlite3.Connection, changed: Sequence[Entry], dropped: Iterable[int], meta: Mapping[str, bytes]
    ) -> None:
        database.execute("BEGIN IMMEDIATE")
        new = _pragma(database, "application_id") != APPLICATION
        if not new and _writing(database) != self._contents.writing:
            database.execute("ROLLBACK")
            return
        if new or self._contents.older:
            for table in () if new else ("file", "body", "meta"):
                database.execute(f"DROP TABLE {table}")
            for statement in SCHEMA.split(";"):
                database.execute(statement)
            database.execute(f"PRAGMA application_id = {APPLICATION}")
            database.execute(f"PRAGMA user_version = {VERSION}")
        for number in dropped:
            database.execute("DELETE FROM file WHERE id = ?", (number,))
            database.execute("DELETE FROM body WHERE id = ?", (number,))
        last = int(database.execute("SELECT ifnull(max(id), 0) FROM file").fetchone()[0])
        for entry in changed:
            if entry.id is None:
                entry.id = last = last + 1
            known = pack(entry.known)
            database.execute(
                "REPLACE INTO file VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (entry.id, entry.path, *entry.mark, known, _file_sum(entry.id, entry.path, entry.mark, known)),
            )
            if entry.rows is not None and entry.ids is not None:
                ids = entry.ids.tobytes()
                database.execute(
                    "REPLACE INTO body VALUES (?, ?, ?, ?, ?)",
                    (entry.id, ids, crc32(ids, entry.id), entry.rows, crc32(entry.rows, entry.id)),
                )
        writing = os.urandom(8)  # no other writing of any other index has the same
        for key, value in (*meta.items(), ("writing", writing)):
            database.execute("REPLACE INTO meta VALUES (?, ?, ?)", (key, value, crc32(value)))
        database.execute("COMMIT")
        self._contents.writing = writing
        self._contents.older = False
        self._damaged = {}

    def _open(self, mode: str) -> sqlite3.Connection:
        """Raises sqlite3.Error, OSError. To be read it is opened for writing too, where that may be: what a killed
        writer left half done has to be rolled back."""
        if mode == "rw" and not stat.S_ISREG(os.stat(self.path).st_mode):  # opening a FIFO would wait for ever
            raise sqlite3.DatabaseError("it is no regular file")
        if mode != "rw":
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600))
        return sqlite3.connect(
            f"file:{quote(os.fsencode(self.path))}?mode={mode}", uri=True, timeout=BUSY_S, isolation_level=None,
            check_same_thread=False,
        )  # fmt: skip


class _NewerError(Exception):
    """It was written by a version that this one does not know."""


def _contents(database: sqlite3.Connection) -> Contents:
    database.execute("BEGIN")
    if not database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        return Contents()  # its first writer is at work, or was killed
    if _pragma(database, "application_id") != APPLICATION:
        raise DamagedError("it is another program's")
    version = _pragma(database, "user_version")
    if version > VERSION:
        raise _NewerError(version)
    if version < VERSION:
        return _taken_over(database, version)
    found = Contents(writing=_writing(database))
    for number, path, device, inode, size, changed, known, its_sum in database.execute("SELECT * FROM file"):
        mark = (device, inode, size, changed)
        if _file_sum(number, path, mark, known) == its_sum:
            found.entries[path] = Entry(path, mark, unpack_known(known), number)
        else:
            found.damaged[number] = (path if isinstance(path, bytes) else b"", mark)
    meta = _meta(database, ("contested", "pool", "state", "whole"))
    found.settled = len(meta) == 4
    if found.settled:
        found.contested, found.pool, found.state = unpack_ids(meta["contested"]), meta["pool"], meta["state"]
    return found


def _taken_over(database: sqlite3.Connection, version: int) -> Contents:
    """What an older version wrote, as this one would have it."""
    from cc.usage.older import READERS

    if version not in READERS:
        raise DamagedError(f"there was never a version {version}")
    found = Contents(writing=_writing(database), settled=False, older=True)
    for place, (path, mark, known, rows) in enumerate(READERS[version](database)):
        if rows is None:
            found.damaged[place] = (path, mark)
        else:
            known.loose = loose_of(rows)
            found.entries[path] = Entry(path, mark, known, None, pack_rows(rows, known), ids_of(rows))
    return found


def _file_sum(number: int, path: object, mark: tuple[object, ...], known: object) -> int | None:
    """What the row of a file is sealed with; None for what cannot be one."""
    if not (isinstance(path, bytes) and isinstance(known, bytes)):
        return None
    try:
        return crc32(known, crc32(path, crc32(NUMBERS.pack(number, *mark))))
    except struct.error:
        return None


def _is(data: object, its_sum: object, start: int = 0) -> bool:
    return isinstance(data, bytes) and crc32(data, start) == its_sum


def _sound(database: sqlite3.Connection, column: str, wanted: set[int]) -> dict[int, bytes]:
    """This column of these bodies, but for those that are missing or damaged."""
    query = f"SELECT id, {column}, {column}_sum FROM body"  # noqa: S608 - a word of ours
    every: Iterable[tuple[int, bytes, int]] = (
        (each for number in wanted for each in database.execute(query + " WHERE id = ?", (number,)))
        if len(wanted) < FEW
        else database.execute(query)
    )
    return {number: data for number, data, its_sum in every if number in wanted and _is(data, its_sum, number)}


def _meta(database: sqlite3.Connection, keys: Iterable[str]) -> dict[str, bytes]:
    """What there is of these, but for what is damaged."""
    query = "SELECT value, sum FROM meta WHERE key = ?"
    every = ((key, *each) for key in keys for each in database.execute(query, (key,)))
    return {key: value for key, value, its_sum in every if _is(value, its_sum)}


def _writing(database: sqlite3.Connection) -> bytes:
    found = database.execute("SELECT value FROM meta WHERE key = 'writing'").fetchone()
    return found[0] if found and isinstance(found[0], bytes) else b""


def _pragma(database: sqlite3.Connection, name: str) -> int:
    return int(database.execute(f"PRAGMA {name}").fetchone()[0])


def _tells_of_damage(error: sqlite3.Error) -> bool:
    """What the file itself is; not that it is locked, cannot be opened or is on a full disk. By SQLite's words: their
    numbers came with Python 3.11."""
    return any(word in str(error) for word in ("malformed", "not a database", "no such", "no regular file"))
