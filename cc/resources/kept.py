"""What a project keeps from one process to the next: registry.db, SQLite, one table of JSON.

    kept    kind     | name     | value, JSON
            service  | NAME     | what is to run and was seen of it     (cc.supervisor.registry)
            alert    | NAME     | when and why it was given up
            breaker  | WHAT     | a breaker that is not well            (cc.resources.breakers)
            mended   | WHAT     | one that is again: since when

It is a memory, never the truth: whoever reads it probes what it names. So nothing here may cost its process more than a
moment. Every change is one transaction, every wait for somebody else's lock has an end, and what cannot be written is
kept in this process until the disk lets us. A file that is of no use (corrupt, of another version, another program's,
a directory) is set aside under another name and a new one begun from what is known; one that was deleted while in use
is written anew. Both are told as fallbacks, and trouble with the disk once.

One table of JSON, as every reader wants whole records and a column more must not mean a file set aside. What other
processes commit is taken in at the next read: the commands of a project share its breakers. The file is open only for
as long as a change takes (1 ms; a second of them would be many): SQLite maps the file beside it into memory, and who
truncates that under an open connection ends the process with SIGBUS.

Importing this imports SQLite (9 ms). Whoever seldom needs it is spared by a flag: an empty file that is there while
rows of one kind are. The header of registry.db has room for such a word too, and can't be used: closing a file gives up
all the locks that its process has on it, those of SQLite in another thread among them. May import what resources may.
"""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from typing import Any
from urllib.parse import quote

from cc.clock import Clock, SystemClock
from cc.engine.outcome import Fallback
from cc.errors import Failure
from cc.files import os_failure

NAME = "registry.db"
VERSION = 1
APPLICATION = 0x63635231  # "ccR1": any other SQLite file is somebody else's
BUSY_S = 0.5
RETRY_S = 5.0  # between two tries at a disk that refused
KEPT_ASIDE = 3
BESIDE = ("-wal", "-shm")  # what SQLite keeps beside a file

Key = tuple[str, str]  # kind, name
Rows = Mapping[Key, str]
Changes = Mapping[Key, str | None]  # None: to be removed
Mark = tuple[int, int, int, int]  # device, inode, bytes, time of change


class Kept:
    """Safe to use from several threads; the wait for any call is bounded, and none raises for what the disk does.

    `fallbacks` are those taken in opening it. `trouble` is why it is kept in memory only just now, None while it is on
    disk. `tell` is called with each new trouble, once, and with every fallback after that. `flags`: by kind, the file
    that is there while rows of that kind are; what `revise` changed counts.
    """

    def __init__(
        self,
        directory: str,
        *,
        tell: Callable[[Failure | Fallback], None] | None = None,
        clock: Clock | None = None,
        flags: Mapping[str, str] | None = None,
    ) -> None:
        self.path = os.path.join(directory, NAME)
        self.fallbacks: tuple[Fallback, ...] = ()
        self.trouble: Failure | None = None
        self._tell = tell or (lambda told: None)
        self._clock = clock or SystemClock()
        self._flags = dict(flags or {})
        self._lock = threading.RLock()
        self._kept: dict[Key, str] = {}
        self._pending: dict[Key, str | None] = {}  # not on disk yet; None: to be removed
        self._mark: Mark | None = None  # of the file when it was last open
        self._try_again_at = 0.0
        with self._lock:
            self._exchange()

    def read(self, kind: str, name: str | None = None) -> Iterable[tuple[str, str]]:
        """Names and values of a kind, by name; of that one name alone if it is given."""
        with self._lock:
            self._refresh()
            if name is not None:
                return [(name, self._kept[kind, name])] if (kind, name) in self._kept else []
            return sorted((each, text) for (its, each), text in self._kept.items() if its == kind)

    def write(self, changes: Changes) -> None:
        """All of them, or none."""
        with self._lock:
            self._refresh()
            self._apply(changes)
            if self._pending:
                self._exchange()

    def revise(self, change: Callable[[Rows], Changes]) -> None:
        """Make the changes that follow from what is kept: nobody else writes between its reading and their writing.

        `change` is a function of what it is given: it may be called again.
        """
        with self._lock:
            if not self._exchange(change):
                self._apply(change(self._kept))

    def close(self) -> None:
        """A last try at what is not on disk yet."""
        with self._lock:
            self._try_again_at = 0.0
            if self._pending:
                self._exchange()

    def _apply(self, changes: Changes) -> None:
        new = _news(changes, self._kept)
        self._pending.update(new)
        for key, text in new.items():
            if text is None:
                del self._kept[key]
            else:
                self._kept[key] = text

    # How it gets on disk and back; all with the lock held.

    def _refresh(self) -> None:
        """Take in what other processes wrote, and what could not be written before onto the disk."""
        if self.trouble is not None or _mark(self.path) != self._mark:
            self._exchange()

    def _exchange(self, change: Callable[[Rows], Changes] | None = None) -> bool:
        """What is pending onto the disk; what is on it, if others wrote there, into memory. Whether that was done."""
        if self.trouble is not None and self._clock.now() < self._try_again_at:
            return False
        try:
            try:
                self._open_and_exchange(change)
            except _UselessError as useless:
                if (aside := _set_aside(self.path)) is None:
                    raise
                self._mark = None
                self._pending = {**self._kept, **self._pending}
                self._open_and_exchange(change)
                self._say(f"{self.path} was of no use ({useless}): set aside as {aside}, and a new one begun")
        except (_UselessError, sqlite3.Error, OSError) as error:
            self._failed(error)
            if self._mark is None and not self._kept:
                self._kept = _read_only(self.path)
            return False
        if self.trouble is not None:
            self.trouble = None
            self._say(f"{self.path} is written again", rung=0)
        return True

    def _open_and_exchange(self, change: Callable[[Rows], Changes] | None) -> None:
        """Raises _UselessError, sqlite3.Error, OSError."""
        before, new = _make(self.path)
        strange = self._mark is None or before[:2] != self._mark[:2]
        try:
            with closing(sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None)) as database:
                empty = _check(database, thorough=strange)
                lost = bool(self._kept) and self._mark is not None and (strange or empty or new)
                if lost:
                    self._pending = {**self._kept, **self._pending}
                if self._pending or change is not None:
                    with database:
                        database.execute("BEGIN IMMEDIATE")
                        _store(database, self._pending)
                        if change is not None:
                            rows = _load(database)
                            _store(database, _news(change(rows), rows))
                            self._fly_flags(database)
                if before != self._mark or change is not None:
                    self._kept = _load(database)
        except sqlite3.DatabaseError as error:
            raise _UselessError(str(error)) if _means_corrupt(error) else error from error
        self._pending = {}
        self._mark = _mark(self.path)
        if lost:
            self._say(f"{self.path} was taken away while in use: written anew")

    def _fly_flags(self, database: sqlite3.Connection) -> None:
        """Inside the transaction, so that two processes do it one after the other."""
        for kind, path in self._flags.items():
            try:
                if database.execute("SELECT 1 FROM kept WHERE kind = ? LIMIT 1", (kind,)).fetchone():
                    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
                else:
                    os.unlink(path)
            except OSError:
                pass  # it is there or gone already; or the disk is full, and others hear of it later

    def _failed(self, error: Exception) -> None:
        self._try_again_at = self._clock.now() + RETRY_S
        known, self.trouble = self.trouble, _failure(self.path, error)
        if known is None or known.code != self.trouble.code:
            self._tell(self.trouble)

    def _say(self, text: str, rung: int = 1) -> None:
        fallback = Fallback("registry", rung, text)
        self.fallbacks += (fallback,)
        self._tell(fallback)


class _UselessError(Exception):
    """The file can't be a registry of ours; why."""


def _mark(path: str) -> Mark | None:
    """Differs when somebody has written to the file, or put another in its place. None if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _make(path: str) -> tuple[Mark, bool]:
    """A file, 0600, if there is none: its mark, and whether it is new.

    Raises _UselessError for what SQLite must not open, sqlite3.Error, OSError.
    """
    new = False
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise _UselessError("it is no regular file")  # opening a pipe would wait for ever
    except FileNotFoundError:
        if os.path.islink(path):
            raise _UselessError("it is a link to nothing") from None
        _begin(path)
        new = True
    return _mark(path) or (0, 0, 0, 0), new


def _begin(path: str) -> None:
    """A new one, made whole under another name: two that begin at once must not see each other's half. And never opened
    here under its own name, as closing it would give up the locks of another thread.
    """
    new = f"{path}.{os.urandom(8).hex()}"
    os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        with closing(sqlite3.connect(new, timeout=BUSY_S, isolation_level=None)) as database:
            _check(database, thorough=False)
        try:
            os.link(new, path)
        except FileExistsError:
            pass  # somebody was quicker
        except OSError:
            os.rename(new, path)  # a disk without hard links
    finally:
        for left in (new, *(new + end for end in (*BESIDE, "-journal"))):
            if os.path.lexists(left):
                os.unlink(left)


def _check(database: sqlite3.Connection, *, thorough: bool) -> bool:
    """That it is ours, of this version and, if asked, whole. Makes the table in an empty one, and says so."""
    database.execute("PRAGMA synchronous = NORMAL")
    database.execute("BEGIN")  # another process may be making the table: all of it or nothing is seen
    asked = ("user_version", "application_id", "schema_version")
    version, application, schema = (_pragma(database, name) for name in asked)
    database.execute("COMMIT")
    if version == application == schema == 0:
        database.execute("PRAGMA journal_mode = WAL")
        with database:
            database.execute("BEGIN IMMEDIATE")
            database.execute("CREATE TABLE IF NOT EXISTS kept (kind, name, value, PRIMARY KEY (kind, name))")
            database.execute(f"PRAGMA application_id = {APPLICATION}")
            database.execute(f"PRAGMA user_version = {VERSION}")
        return True
    if application != APPLICATION:
        raise _UselessError("it is another program's")
    if version != VERSION:
        raise _UselessError(f"it is of version {version}, and this program knows {VERSION}")
    if thorough and (said := database.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
        raise _UselessError(f"it is corrupt: {said}")
    return False


def _pragma(database: sqlite3.Connection, name: str) -> int:
    return int(database.execute(f"PRAGMA {name}").fetchone()[0])


def _load(database: sqlite3.Connection) -> dict[Key, str]:
    rows = database.execute("SELECT kind, name, value FROM kept")
    return {(kind, name): value for kind, name, value in rows if all(type(each) is str for each in (kind, name, value))}


def _store(database: sqlite3.Connection, changes: Changes) -> None:
    """In the transaction that is under way."""
    for key, text in changes.items():
        if text is None:
            database.execute("DELETE FROM kept WHERE kind = ? AND name = ?", key)
        else:
            database.execute("INSERT OR REPLACE INTO kept (kind, name, value) VALUES (?, ?, ?)", (*key, text))


def _news(changes: Changes, rows: Rows) -> dict[Key, str | None]:
    """Those that change something."""
    return {key: text for key, text in changes.items() if rows.get(key) != text}


def _read_only(path: str) -> dict[Key, str]:
    """What a file holds that can't be opened for writing; nothing if that can't be read either."""
    if not os.path.isfile(path):
        return {}
    try:
        with closing(sqlite3.connect(f"file:{quote(path)}?immutable=1", uri=True, timeout=BUSY_S)) as database:
            return _load(database)
    except sqlite3.Error:
        return {}


def parsed(text: str | None) -> Any:
    """What a value holds; None for none, and for one that somebody else's hand has spoilt."""
    try:
        return json.loads(text or "null")
    except (ValueError, RecursionError):
        return None


def _set_aside(path: str) -> str | None:
    """Rename it, with what SQLite keeps beside it; the oldest of those set aside before go. None if it can't be."""
    folder, name = os.path.split(path)
    start = f"{name}.aside-"
    try:
        ends = (each.removeprefix(start) for each in os.listdir(folder) if each.startswith(start))
        taken = sorted(int(end) for end in ends if end.isdecimal())
        aside = f"{path}.aside-{taken[-1] + 1 if taken else 1}"
        os.rename(path, aside)
    except OSError:
        return None
    moves = [(path + end, aside + end) for end in BESIDE]
    old = [f"{path}.aside-{number}{end}" for number in taken[: 1 - KEPT_ASIDE] for end in ("", *BESIDE)]
    for act, *which in [(os.rename, *move) for move in moves] + [(os.unlink, each) for each in old]:
        try:
            act(*which)
        except OSError:
            pass  # there is none; or it is a directory, and not ours to empty
    return aside


def _means_corrupt(error: Exception) -> bool:
    """Of sqlite3's own classes, the bare one is for files that are no databases; the others are troubles of the day."""
    return type(error) is sqlite3.DatabaseError or str(error).startswith(("no such ", "table kept has"))


def _full(path: str) -> bool:
    try:
        return os.statvfs(os.path.dirname(path)).f_bavail == 0
    except OSError:
        return False


def _failure(path: str, error: Exception) -> Failure:
    what, said = f"{path} cannot be written, what it holds is remembered in memory only", str(error)
    if isinstance(error, OSError):
        return os_failure(error, what)
    if isinstance(error, _UselessError):
        return Failure(f"{what}: it is of no use ({said}) and cannot be renamed", code="not_ours", hint=f"rm {path}")
    words = {"full": "disk_full", "locked": "deadline", "readonly": "permission_denied", "unable": "permission_denied"}
    code = next((code for word, code in words.items() if word in said), "bad_answer")
    if "I/O" in said and _full(path):
        code = "disk_full"  # SQLite's word for no room for the file beside it
    return Failure(f"{what}: {said}", code=code, evidence=(f"{type(error).__name__}: {said}",))
