"""What is to run and what was seen of it, kept from one supervisor to the next: registry.db, SQLite.

    kept    kind     | name     | value, JSON
            service  | NAME     | a ServiceRecord
            breaker  | WHAT     | what cc.engine.breaker's as_dict gave
            alert    | NAME     | when and why the watchdog gave that service up

It is a memory, never the truth: whoever reads it probes what it names. So nothing here may cost the daemon more than a
moment. Every change is one transaction, every wait for somebody else's lock has an end, and what cannot be written is
kept in this process until the disk lets us. A file that is of no use (corrupt, of another version, another program's,
a directory) is set aside under another name and a new one begun from what is known; one that was deleted while in use
is written anew. Both are told as fallbacks, and trouble with the disk once.

One table of JSON, as every reader wants whole records and a column more must not mean a file set aside. What other
processes commit is taken in at the next read: the commands of a project share its breakers. The file is open only for
as long as a change takes (1 ms; a second of them would be many): SQLite maps the file beside it into memory, and who
truncates that under an open connection ends the process with SIGBUS. May import the leaves, the engine and resources.
"""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import asdict, replace
from typing import Any
from urllib.parse import quote

from cc.clock import Clock, SystemClock, wall_time
from cc.engine.outcome import Fallback
from cc.errors import Failure
from cc.files import os_failure
from cc.supervisor.states import AlertRecord, ServiceRecord, State

NAME = "registry.db"
VERSION = 1
APPLICATION = 0x63635231  # "ccR1": any other SQLite file is somebody else's
BUSY_S = 0.5
RETRY_S = 5.0  # between two tries at a disk that refused
KEPT_ASIDE = 3
CLAIMS_LIFE = frozenset({State.STARTING, State.RUNNING, State.BACKOFF, State.STOPPING, State.EXITED})
BESIDE = ("-wal", "-shm")  # what SQLite keeps beside a file

Key = tuple[str, str]  # kind, name
Mark = tuple[int, int, int, int]  # device, inode, bytes, time of change


class Registry:
    """Safe to use from several threads; the wait for any call is bounded, and none raises for what the disk does.

    `fallbacks` are those taken in opening it. `trouble` is why it is kept in memory only just now, None while it is on
    disk. `tell` is called with each new trouble, once, and with every fallback after that.
    """

    def __init__(
        self,
        directory: str,
        *,
        boot_id: str | None = None,
        tell: Callable[[Failure | Fallback], None] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.path = os.path.join(directory, NAME)
        self.boot_id = read_boot_id() if boot_id is None else boot_id
        self.fallbacks: tuple[Fallback, ...] = ()
        self.trouble: Failure | None = None
        self._tell = tell or (lambda told: None)
        self._clock = clock or SystemClock()
        self._lock = threading.RLock()
        self._kept: dict[Key, str] = {}
        self._pending: dict[Key, str | None] = {}  # not on disk yet; None: to be removed
        self._mark: Mark | None = None  # of the file when it was last open
        self._try_again_at = 0.0
        with self._lock:
            self._exchange()

    def services(self) -> tuple[ServiceRecord, ...]:
        """All of them, by name. A pid of an earlier boot is none, and what it claimed alive is unknown."""
        return tuple(filter(None, (self._service(*kept) for kept in self._read("service"))))

    def service(self, name: str) -> ServiceRecord | None:
        text = dict(self._read("service", name)).get(name)
        return None if text is None else self._service(name, text)

    def put(self, record: ServiceRecord) -> None:
        """Write it, in the place of what was known of that name."""
        told = asdict(record) | {"boot_id": self.boot_id, "state": record.state.value}
        self._write({("service", record.name): json.dumps(told)})

    def change(self, name: str, **changes: Any) -> ServiceRecord:
        """Change these fields of a service, which is new if it was not known. Returns the whole."""
        with self._lock:
            record = replace(self.service(name) or ServiceRecord(name), **changes)
            self.put(record)
            return record

    def remove(self, name: str) -> None:
        """Forget it, and its alert."""
        self._write({("service", name): None, ("alert", name): None})

    def breaker(self, what: str) -> dict[str, Any] | None:
        """What `keep_breaker` kept, perhaps in another process; None if nothing was, or it makes no sense."""
        kept = _parsed(dict(self._read("breaker", what)).get(what))
        return kept if isinstance(kept, dict) else None

    def keep_breaker(self, what: str, kept: Mapping[str, Any]) -> None:
        """Keep a breaker's `as_dict()` for the next command."""
        self._write({("breaker", what): json.dumps(dict(kept))})

    def alert(self, service: str, reason: str) -> None:
        """Keep that a service was given up: one alert for each, the last."""
        self._write({("alert", service): json.dumps({"at": round(wall_time(), 3), "reason": reason})})

    def alerts(self) -> tuple[AlertRecord, ...]:
        """By service."""
        told = ((name, _parsed(text)) for name, text in self._read("alert"))
        return tuple(AlertRecord(name, each.get("at", 0.0), each.get("reason", "")) for name, each in told if each)

    def clear_alert(self, service: str) -> None:
        """It is well again, or somebody has seen to it."""
        self._write({("alert", service): None})

    def close(self) -> None:
        """A last try at what is not on disk yet."""
        with self._lock:
            self._try_again_at = 0.0
            if self._pending:
                self._exchange()

    def _service(self, name: str, text: str) -> ServiceRecord | None:
        try:
            told = {**_parsed(text), "name": name}
            record = ServiceRecord(**{field: told[field] for field in ServiceRecord.__slots__ if field in told})
            record = replace(record, state=State(record.state))
        except (TypeError, ValueError):
            return None  # somebody else's hand was in it: that service is found anew
        if record.boot_id == self.boot_id:
            return record
        state = State.UNKNOWN if record.state in CLAIMS_LIFE else record.state
        return replace(record, state=state, pid=None, start_time=None)

    def _read(self, kind: str, name: str | None = None) -> Iterable[tuple[str, str]]:
        with self._lock:
            self._refresh()
            if name is not None:
                return [(name, self._kept[kind, name])] if (kind, name) in self._kept else []
            return sorted((each, text) for (its, each), text in self._kept.items() if its == kind)

    def _write(self, changes: Mapping[Key, str | None]) -> None:
        with self._lock:
            self._refresh()
            new = {key: text for key, text in changes.items() if self._kept.get(key) != text}
            self._pending.update(new)
            for key, text in new.items():
                if text is None:
                    del self._kept[key]
                else:
                    self._kept[key] = text
            if self._pending:
                self._exchange()

    # How it gets on disk and back; all with the lock held.

    def _refresh(self) -> None:
        """Take in what other processes wrote, and what could not be written before onto the disk."""
        if self.trouble is not None or _mark(self.path) != self._mark:
            self._exchange()

    def _exchange(self) -> None:
        """What is pending onto the disk; what is on it, if others wrote there, into memory."""
        if self.trouble is not None and self._clock.now() < self._try_again_at:
            return
        try:
            try:
                self._open_and_exchange()
            except _UselessError as useless:
                if (aside := _set_aside(self.path)) is None:
                    raise
                self._mark = None
                self._pending = {**self._kept, **self._pending}
                self._open_and_exchange()
                self._say(f"{self.path} was of no use ({useless}): set aside as {aside}, and a new one begun")
        except (_UselessError, sqlite3.Error, OSError) as error:
            self._failed(error)
            if self._mark is None and not self._kept:
                self._kept = _read_only(self.path)
            return
        if self.trouble is not None:
            self.trouble = None
            self._say(f"{self.path} is written again", rung=0)

    def _open_and_exchange(self) -> None:
        """Raises _UselessError, sqlite3.Error, OSError."""
        before = _make(self.path)
        strange = self._mark is None or before[:2] != self._mark[:2]
        try:
            with closing(sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None)) as database:
                empty = _check(database, thorough=strange)
                lost = bool(self._kept) and self._mark is not None and (strange or empty)
                if lost:
                    self._pending = {**self._kept, **self._pending}
                if self._pending:
                    _store(database, self._pending)
                if before != self._mark:
                    self._kept = _load(database)
        except sqlite3.DatabaseError as error:
            raise _UselessError(str(error)) if _means_corrupt(error) else error from error
        self._pending = {}
        self._mark = _mark(self.path)
        if lost:
            self._say(f"{self.path} was taken away while in use: written anew")

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


def read_boot_id() -> str:
    """A text that is new after each start of the machine; "" where it can't be had."""
    if sys.platform == "linux":
        try:
            with open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as file:
                return file.read().strip()
        except OSError:
            return ""
    else:
        import subprocess  # as in cc.shell.identity: bounded, and asked once

        asked = ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"]
        try:
            return subprocess.run(asked, capture_output=True, text=True, timeout=5, check=False).stdout.strip()
        except (OSError, subprocess.TimeoutExpired):
            return ""


def _mark(path: str) -> Mark | None:
    """Differs when somebody has written to the file, or put another in its place. None if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _make(path: str) -> Mark:
    """An empty file, 0600, if there is none. Raises _UselessError for what SQLite must not open, OSError."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise _UselessError("it is no regular file")  # opening a pipe would wait for ever
    except FileNotFoundError:
        if os.path.islink(path):
            raise _UselessError("it is a link to nothing") from None
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    return _mark(path) or (0, 0, 0, 0)


def _check(database: sqlite3.Connection, *, thorough: bool) -> bool:
    """That it is ours, of this version and, if asked, whole. Makes the table in an empty one, and says so."""
    database.execute("PRAGMA synchronous = NORMAL")
    version, application = _pragma(database, "user_version"), _pragma(database, "application_id")
    if version == application == 0 and not _pragma(database, "schema_version"):
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


def _store(database: sqlite3.Connection, changes: Mapping[Key, str | None]) -> None:
    """All of them, or none."""
    with database:
        database.execute("BEGIN IMMEDIATE")
        for key, text in changes.items():
            if text is None:
                database.execute("DELETE FROM kept WHERE kind = ? AND name = ?", key)
            else:
                database.execute("INSERT OR REPLACE INTO kept (kind, name, value) VALUES (?, ?, ?)", (*key, text))


def _read_only(path: str) -> dict[Key, str]:
    """What a file holds that can't be opened for writing; nothing if that can't be read either."""
    if not os.path.isfile(path):
        return {}
    try:
        with closing(sqlite3.connect(f"file:{quote(path)}?immutable=1", uri=True, timeout=BUSY_S)) as database:
            return _load(database)
    except sqlite3.Error:
        return {}


def _parsed(text: str | None) -> Any:
    try:
        return json.loads(text or "null")
    except ValueError:
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
    what, said = f"{path} cannot be written, services are remembered in memory only", str(error)
    if isinstance(error, OSError):
        return os_failure(error, what)
    if isinstance(error, _UselessError):
        return Failure(f"{what}: it is of no use ({said}) and cannot be renamed", code="not_ours", hint=f"rm {path}")
    words = {"full": "disk_full", "locked": "deadline", "readonly": "permission_denied", "unable": "permission_denied"}
    code = next((code for word, code in words.items() if word in said), "bad_answer")
    if "I/O" in said and _full(path):
        code = "disk_full"  # SQLite's word for no room for the file beside it
    return Failure(f"{what}: {said}", code=code, evidence=(f"{type(error).__name__}: {said}",))
