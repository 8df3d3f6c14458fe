"""What was read of the session files, kept from one reading to the next: SQLite (tables.py), a file for each set of
roots. Imports entries, packed, places, tables, words.

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
from array import array
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from cc.files import os_failure
from cc.usage import tables
from cc.usage.entries import Contents, Entry, Mark
from cc.usage.packed import (
    VERSION,
    AwayError,
    ChangedError,
    DamagedError,
    DamagedPartsError,
    Whole,
    unpack_ids,
    unpack_whole,
)
from cc.usage.places import shown
from cc.usage.words import plural

BUSY_S = 0.2
ASIDE = ".damaged"
NAMED = 3
"""Lost files whose paths are told; of the others how many they are."""


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
        self._useless_whole = False
        self._damaged: dict[int, tuple[bytes, Mark]] = {}  # files whose bodies were seen to be, by the id

    def read(self) -> Contents:
        """What it holds; nothing if there is none, or none of use."""
        before, self._contents = self._contents, Contents()
        if self.off:
            return self._contents
        try:
            with closing(self._open("rw")) as database:
                self._contents = found = tables.contents(database)
        except FileNotFoundError:
            return self._contents
        except OSError as error:
            self.do_without(os_failure(error, "it cannot be read").message)
        except sqlite3.Error as error:
            self._judge(error)
        except tables.NewerError as error:
            self._leave(f"is of a newer version, {error}, than this program's, {VERSION}, and is left alone")
        except (DamagedError, ValueError, TypeError) as error:
            self.give_up(error)
        else:
            if found.writing != before.writing:
                self._damaged = {}
            found.damaged |= self._damaged
            for path, _ in self._damaged.values():
                found.entries.pop(path, None)
            if self._useless_whole:
                found.state = b""
        return self._contents

    def _judge(self, error: sqlite3.Error) -> None:
        if tables.tells_of_damage(error):
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
        read_again = len(damaged) - len(lost)
        cost = [f"{plural(read_again, 'session file was', 'session files were')} read again"] if read_again else []
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
                if tables.writing_of(database) != self._contents.writing:
                    raise ChangedError
                found = tables.sound(database, column, wanted)
                if len(found) < len(wanted):
                    self._look_for_damage(database)
                    raise DamagedPartsError
                return found
        except FileNotFoundError as error:
            raise ChangedError from error
        except OSError as error:
            raise AwayError(error.strerror or str(error)) from error
        except sqlite3.Error as error:
            if not tables.tells_of_damage(error):
                raise AwayError(str(error)) from error
            self.give_up(error)  # here: who asks may have read the rest of it long ago, and found it good
            raise ChangedError from error

    def _look_for_damage(self, database: sqlite3.Connection) -> None:
        """In all bodies, so that one more reading is enough."""
        every = {entry.id: entry for entry in self._contents.entries.values() if entry.id is not None}
        for column in ("rows", "ids"):
            sound = tables.sound(database, column, set(every))
            self._damaged |= {n: (entry.path, entry.mark) for n, entry in every.items() if n not in sound}

    def whole(self, state: bytes) -> Whole | None:
        """What all files tell together, if they are in this state; None if it has to be found out."""
        if self.off:
            return None
        try:
            with closing(self._open("rw")) as database:
                database.execute("BEGIN")
                if not tables.is_of_today(database) or tables.meta(database, ("state",)).get("state") != state:
                    return None
                found = tables.meta(database, ("whole",)).get("whole")
                return None if found is None else unpack_whole(found)
        except sqlite3.Error as error:
            self._judge(error)
        except DamagedError:  # sealed, and yet of no use: it is to be written anew
            self._useless_whole = True
        except (OSError, UnicodeDecodeError):  # the latter of what SQLite says; `read`, which is next, tells what it is
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
        values = {"contested": contested.tobytes(), "pool": pool, "state": state, "whole": whole}
        numbers = set(dropped)
        damage = self._put(changed, numbers, values)
        if damage is not None:
            self._write_anew(damage, changed, numbers, values)

    def _put(self, changed: Sequence[Entry], dropped: set[int], values: Mapping[str, bytes]) -> sqlite3.Error | None:
        """Write it. Returns what tells that the file itself is damaged; other trouble is told."""
        try:
            os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
            with closing(self._open("rwc")) as database:
                if tables.write(database, self._contents, changed, dropped, values):
                    self._damaged = {}
        except sqlite3.Error as error:
            if tables.tells_of_damage(error):
                return error
            if "locked" not in str(error):  # whoever writes it just now knows the same files
                self.trouble.append(f"the index {self.path} cannot be written: {error}")
        except OSError as error:
            self.trouble.append(os_failure(error, f"the index {self.path} cannot be written").message)
        return None

    def _write_anew(
        self, damage: sqlite3.Error, changed: Sequence[Entry], dropped: set[int], values: Mapping[str, bytes]
    ) -> None:
        """It can be read and no longer be written: it is set aside, and what it holds goes into a new one."""
        known = {entry.path: entry for entry in self._contents.entries.values() if entry.id not in dropped}
        known |= {entry.path: entry for entry in changed}
        self._fill(known.values())
        held = [entry for entry in known.values() if entry.rows is not None and entry.ids is not None]
        self.give_up(damage)
        if self.off:
            return
        for entry in held:
            entry.id = None
        if len(held) < len(known):  # who counts what is then to be found out with what is read next
            lost = plural(len(known) - len(held), "session file")
            self.trouble.append(f"what {lost} told is of no use: of those that are there it is read again")
            values = {}
        again = self._put(held, set(), values)
        if again is not None:
            self.trouble.append(f"the index {self.path} cannot be written: {again}")

    def _fill(self, entries: Collection[Entry]) -> None:
        """The bodies of these that only the index has, as far as they can be read."""
        missing = {entry.id for entry in entries if entry.id is not None and (entry.rows is None or entry.ids is None)}
        try:
            with closing(self._open("rw")) as database:
                rows, ids = (tables.sound(database, column, missing) for column in ("rows", "ids"))
        except (sqlite3.Error, OSError):
            return
        for entry in entries:
            if entry.rows is None:
                entry.rows = rows.get(entry.id or 0)
            if entry.ids is None and entry.id in ids:
                entry.ids = unpack_ids(ids[entry.id])

    def _open(self, mode: str) -> sqlite3.Connection:
        """Raises sqlite3.Error, OSError. To be read it is opened for writing too, where that may be: what a killed
        writer left half done has to be rolled back."""
        if mode == "rw" and not stat.S_ISREG(os.stat(self.path).st_mode):  # opening a FIFO would wait for ever
            raise sqlite3.DatabaseError("it is no regular file")
        if mode != "rw":
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600))
        database = sqlite3.connect(
            f"file:{quote(os.fsencode(self.path))}?mode={mode}", uri=True, timeout=BUSY_S, isolation_level=None,
            check_same_thread=False,
        )  # fmt: skip
        database.text_factory = bytes  # damage makes text of bytes that need not be any
        return database
