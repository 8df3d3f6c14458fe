"""What was read of the session files, kept from one reading to the next: SQLite, one file for each set of roots.

    file   id | path | device, inode, bytes, time of change | known (packed.Known)     read every time
    body   id | rows | ids                                                             read where something changed
    meta   key | value     version, number of the writing, contested ids and the groups of their requests

It may be deleted or damaged at any time: that costs one reading of everything, and is told. It alone knows what stood
in files that have been deleted, so a damaged one is set aside and not removed, and trouble of the moment (a lock, no
descriptor, a disk) is none of its damage. Nobody waits for it: if another process writes it just now, this reading does
without. Two that read at once don't undo each other: who finds that somebody wrote since it read begins anew.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import stat
from array import array
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from cc.files import os_failure
from cc.usage.packed import VERSION, AwayError, ChangedError, DamagedError, Known, pack, unpack_ids, unpack_known

APPLICATION = 0x63635531  # "ccU1": any other SQLite file is somebody else's
BUSY_S = 0.2
ASIDE = ".damaged"
SCHEMA = """
CREATE TABLE file (id INTEGER PRIMARY KEY, path BLOB UNIQUE NOT NULL, device INTEGER, inode INTEGER, bytes INTEGER,
                   changed INTEGER, known BLOB NOT NULL);
CREATE TABLE body (id INTEGER PRIMARY KEY, rows BLOB NOT NULL, ids BLOB NOT NULL);
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
"""

Mark = tuple[int, int, int, int]
"""Device, inode, bytes, nanoseconds of the last change: while all four are the same, the file is."""


@dataclass(slots=True)
class Entry:
    """A file of the index. `id` is None until it is written, `rows` and `ids` None where they lie in the index only."""

    path: bytes
    mark: Mark
    known: Known
    id: int | None = None
    rows: bytes | None = None
    ids: array[int] | None = None


@dataclass(slots=True)
class Contents:
    """All that an index holds. `pool` are the groups of the requests whose ids are `contested`."""

    entries: dict[bytes, Entry] = field(default_factory=dict)
    contested: array[int] = field(default_factory=lambda: array("I"))
    pool: bytes = b""
    writing: str = ""


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

    def read(self) -> Contents:
        """What it holds; nothing if there is none, or none of use."""
        self._contents = Contents()
        if self.off:
            return self._contents
        try:
            with closing(self._open("rw")) as database:
                self._contents = _contents(database)
        except FileNotFoundError:
            pass
        except OSError as error:
            self.do_without(os_failure(error, "it cannot be read").message)
        except sqlite3.Error as error:
            self._judge(error)
        except (DamagedError, ValueError, TypeError, KeyError) as error:
            self.give_up(error)
        return self._contents

    def _judge(self, error: sqlite3.Error) -> None:
        if _tells_of_damage(error):
            self.give_up(error)
        else:
            self.do_without(str(error))

    def do_without(self, why: str) -> None:
        """This reading neither reads nor writes it."""
        self.off = True
        busy = "locked" in why
        said = "is in use by another process" if busy else f"is of no use now ({why})"
        self.trouble.append(f"the index {self.path} {said}: all files were read")

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

    def ids(self) -> dict[int, array[int]]:
        """The ids of every file, by the file's id. Raises DamagedError, AwayError, ChangedError."""
        return {number: unpack_ids(data) for number, data in self._bodies("ids", None)}

    def rows(self, wanted: Iterable[int]) -> dict[int, bytes]:
        """The packed rows of these files. Raises DamagedError, also if any is missing, AwayError, ChangedError."""
        numbers = list(wanted)
        found = dict(self._bodies("rows", numbers)) if numbers else {}
        if len(found) < len(set(numbers)):
            raise DamagedError("rows are missing")
        return found

    def _bodies(self, column: str, wanted: Iterable[int] | None) -> list[tuple[int, bytes]]:
        query = f"SELECT id, {column} FROM body"  # noqa: S608 - a word of ours
        try:
            with closing(self._open("rw")) as database:
                database.execute("BEGIN")
                if _writing(database) != self._contents.writing:
                    raise ChangedError
                if wanted is None:
                    return list(database.execute(query))
                return [each for number in wanted for each in database.execute(query + " WHERE id = ?", (number,))]
        except FileNotFoundError as error:
            raise ChangedError from error
        except OSError as error:
            raise AwayError(error.strerror or str(error)) from error
        except sqlite3.Error as error:
            raise (DamagedError if _tells_of_damage(error) else AwayError)(str(error)) from error

    def write(self, changed: Sequence[Entry], dropped: Iterable[int], contested: array[int], pool: bytes) -> None:
        """Put these files into it, take those out, and replace what is contested: all of it or nothing."""
        if self.off:
            return
        try:
            os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
            with closing(self._open("rwc")) as database:
                self._write(database, changed, dropped, {"contested": contested.tobytes(), "pool": pool})
        except sqlite3.Error as error:
            if "locked" not in str(error):  # whoever writes it just now knows the same files
                self.trouble.append(f"the index {self.path} cannot be written: {error}")
        except OSError as error:
            self.trouble.append(os_failure(error, f"the index {self.path} cannot be written").message)

    def _write(
        self, database: sqlite3.Connection, changed: Sequence[Entry], dropped: Iterable[int], meta: Mapping[str, bytes]
    ) -> None:
        database.execute("BEGIN IMMEDIATE")
        if _pragma(database, "application_id") != APPLICATION:
            for statement in SCHEMA.split(";"):
                database.execute(statement)
            database.execute(f"PRAGMA application_id = {APPLICATION}")
            database.execute(f"PRAGMA user_version = {VERSION}")
        elif _writing(database) != self._contents.writing:
            database.execute("ROLLBACK")
            return
        for number in dropped:
            database.execute("DELETE FROM file WHERE id = ?", (number,))
            database.execute("DELETE FROM body WHERE id = ?", (number,))
        for entry in changed:
            row = (entry.path, *entry.mark, pack(entry.known))
            if entry.id is None:
                made = database.execute(
                    "INSERT INTO file (path, device, inode, bytes, changed, known) VALUES (?, ?, ?, ?, ?, ?)", row
                )
                entry.id = made.lastrowid
            else:
                database.execute(
                    "UPDATE file SET path = ?, device = ?, inode = ?, bytes = ?, changed = ?, known = ? WHERE id = ?",
                    (*row, entry.id),
                )
            if entry.rows is not None and entry.ids is not None:
                database.execute(
                    "REPLACE INTO body (id, rows, ids) VALUES (?, ?, ?)", (entry.id, entry.rows, entry.ids.tobytes())
                )
        writing = os.urandom(8).hex()  # no other writing of any other index has the same
        database.executemany("REPLACE INTO meta VALUES (?, ?)", [*meta.items(), ("writing", writing.encode())])
        database.execute("COMMIT")
        self._contents.writing = writing

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


def _contents(database: sqlite3.Connection) -> Contents:
    database.execute("BEGIN")
    if not database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        return Contents()  # its first writer is at work, or was killed
    if (_pragma(database, "application_id"), _pragma(database, "user_version")) != (APPLICATION, VERSION):
        raise DamagedError("it is of another version or another program")
    entries = {
        path: Entry(path, (device, inode, size, changed), unpack_known(known), number)
        for number, path, device, inode, size, changed, known in database.execute(
            "SELECT id, path, device, inode, bytes, changed, known FROM file"
        )
    }
    meta: dict[str, bytes] = dict(database.execute("SELECT key, value FROM meta"))
    return Contents(entries, unpack_ids(meta["contested"]), meta["pool"], meta["writing"].decode())


def _writing(database: sqlite3.Connection) -> str:
    found = database.execute("SELECT value FROM meta WHERE key = 'writing'").fetchone()
    return bytes(found[0]).decode() if found else ""


def _pragma(database: sqlite3.Connection, name: str) -> int:
    return int(database.execute(f"PRAGMA {name}").fetchone()[0])


def _tells_of_damage(error: sqlite3.Error) -> bool:
    """What the file itself is; not that it is locked, cannot be opened or is on a full disk. By SQLite's words: their
    numbers came with Python 3.11."""
    return any(word in str(error) for word in ("malformed", "not a database", "no such", "no regular file"))
