"""The session files' requests into the store: what differs there is written, and nothing else is remembered anywhere.

    some sessions' requests at a time (portions.py) ─ one number a session ─┐
    the store's rows ──────────────────────────────── one number a session ─┴─> the sessions that differ
                                                       ─> their rows, and what is to go, in batches

The store itself says what it has, so that it may be killed at any moment: what was written is found the next time, and
what was not is written then. A batch is one insert, of which all is there or nothing; a session that it holds in part
still differs. What no file and no index knows, a session or requests of one, is left as it is: other machines may have
written it, or this one before a file was deleted, or an index lost, or in use for a moment. Only what has something
else in its place goes. Imports errors, transcripts, clickhouse, groups, packed, reader,
store, store_rows, store_schema.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from cc.errors import Failure
from cc.usage import transcripts
from cc.usage.clickhouse import ClickHouse, without_password
from cc.usage.groups import Groups, messages_of
from cc.usage.packed import AwayError, ChangedError, DamagedPartsError
from cc.usage.reader import Progress, Sources, no_progress
from cc.usage.store import TIMEOUT_S, in_questions
from cc.usage.store_rows import Key, Stored, deleted, stored
from cc.usage.store_schema import REQUESTS, migrate
from cc.usage.transcripts import Transcripts

NO_STORE = "context-cleaner up --service clickhouse starts this stack's own store"
BATCH_ROWS = 20_000
"""Of one insert, and of what is compared at a time: as many requests are in memory, and not all."""

PRINTS = """\
SELECT session, toString(count()), toString(groupBitXor(fingerprint)) FROM cc_requests FINAL GROUP BY session"""
LAST_VERSION = "SELECT toString(max(version)) FROM cc_requests"
KEYS = """\
SELECT session, toString(quarter), message_id, request_id, row_id, toString(fingerprint) FROM cc_requests FINAL
WHERE session IN {sessions:Array(String)}"""
INSERT = "INSERT INTO cc_requests FORMAT JSONCompactEachRow"

Print = tuple[int, int]
"""Of one session: how many rows, and their fingerprints in one number."""


class Ingested(msgspec.Struct):
    """What came of it, and while it runs what has come of it so far. Of the `requests` so many are `stored`."""

    store: str = ""
    requests: int = 0
    sessions: int = 0
    differing: int = 0
    migrations: int = 0
    stored: int = 0
    written: int = 0
    removed: int = 0

    @property
    def changed(self) -> bool:
        return bool(self.migrations or self.written or self.removed)


def ingest_files(
    sources: Sources,
    came: Ingested,
    reading: Progress = no_progress,
    writing: Progress = no_progress,
    known: Groups | None = None,
) -> Transcripts:
    """Make the store hold what the session files tell, and give what they tell.

    `reading` is told of bytes read and to be read, `writing` of requests stored and to be stored. `known` is what the
    files told when they were last written: if they tell nothing else, the store is not asked what it has.

    The store is asked first: who has none need not wait for the files to be read. Raises Failure as `ingest` does.
    """
    if sources.clickhouse is None:
        raise Failure(sources.no_clickhouse, code="tool_missing", hint=NO_STORE)
    try:
        store = sources.clickhouse.first_in_reach()
        files = transcripts.read(sources.roots, sources.index_dir, reading)
        while files.groups != known:
            try:
                ingest(files, store, came, writing)
                break
            except (DamagedPartsError, AwayError, ChangedError) as error:  # of the index; what is in the store stays
                files = files.anew(error)
    except Failure as failure:
        failure.hint = failure.hint or NO_STORE
        raise
    return files


def ingest(files: Transcripts, store: ClickHouse, came: Ingested, progress: Progress = no_progress) -> None:
    """Make the store, of one URL, hold these files' requests, each once, and tell `came` on the way.

    Raises Failure: what the store's client raises, and `bad_config` for a store that a newer version has changed;
    DamagedPartsError, AwayError, ChangedError as the files' index does.
    """
    portions = files.portions(BATCH_ROWS)
    came.store = without_password(store.urls[0])
    came.migrations += migrate(store)
    came.requests, came.sessions, came.differing, came.stored = messages_of(files.groups), 0, 0, 0
    there = {session: (int(count), int(number)) for session, count, number in store.rows(PRINTS, REQUESTS, TIMEOUT_S)}
    writer = _Writer(store)
    for requests in portions:
        rows = stored(requests, files.project_names)
        prints = _prints(rows)
        differing = {session for session, mine in prints.items() if there.get(session) != mine}
        came.sessions += len(prints)
        came.differing += len(differing)
        comes, gone = _difference(rows, differing, store, there)
        came.stored += len(rows) - len(comes)
        progress(came.stored, came.requests)
        for batch in in_batches(comes, gone):
            removed = writer.write(batch)
            came.removed += removed
            came.written += len(batch) - removed
            came.stored += len(batch) - removed
            progress(came.stored, came.requests)


def _prints(rows: Iterable[Stored]) -> dict[str, Print]:
    found: dict[str, Print] = {}
    for row in rows:
        count, number = found.get(row.session, (0, 0))
        found[row.session] = (count + 1, number ^ row.fingerprint)
    return found


def _difference(
    rows: Iterable[Stored], differing: set[str], store: ClickHouse, there: Mapping[str, Print]
) -> tuple[list[Stored], list[Key]]:
    """The rows that the store has not, or otherwise, and the keys that it has and in whose place there are others.

    A key that now is another session's is among the rows: that session differs, too.
    """
    mine = {row.key: row for row in rows if row.session in differing}
    others = []
    for names in in_questions(sorted(session for session in differing if session in there)):
        for session, *ids, fingerprint in store.rows(KEYS, REQUESTS, TIMEOUT_S, sessions=names):
            key = Key(int(ids[0]), *ids[1:])
            row = mine.get(key)
            if row is None:
                others.append((session, key))
            elif row.fingerprint == int(fingerprint):
                del mine[key]
    known = {name for row in rows for name in row.key[1:3]}
    timed = {(row.session, row.key.quarter) for row in mine.values() if row.key.row_id}  # they have no ids
    gone = [
        key
        for session, key in others
        if ((session, key.quarter) in timed if key.row_id else (key.message_id or key.request_id) in known)
    ]
    return list(mine.values()), gone


def in_batches(rows: Sequence[Stored], gone: Sequence[Key]) -> list[list[Stored | Key]]:
    """What is to be written, in the order of the table, so that its parts hardly overlap.

    A key that goes stands beside what comes in its place, a row of the same message or request, and in its batch: at no
    moment are there both, or none.
    """
    comes: dict[str, Key] = {}
    for row in rows:
        for name in filter(None, row.key[1:3]):
            comes[name] = row.key
    whole: list[tuple[Key, Stored | Key]] = [(row.key, row) for row in rows]
    whole += [(comes.get(key.message_id) or comes.get(key.request_id) or key, key) for key in gone]
    whole.sort(key=lambda each: each[0])
    found: list[list[Stored | Key]] = []
    last = None
    for place, each in whole:
        if not found or (len(found[-1]) >= BATCH_ROWS and place != last):
            found.append([])
        found[-1].append(each)
        last = place
    return found


class _Writer:
    """Every batch is of a higher version than all before it."""

    def __init__(self, store: ClickHouse) -> None:
        self._store, self._version = store, 0
        self._encode = msgspec.json.Encoder().encode_lines

    def write(self, batch: Sequence[Stored | Key]) -> int:
        """Write it, and say how many of it are keys that go. Raises Failure."""
        if not self._version:
            self._version = int(self._store.rows(LAST_VERSION, REQUESTS, TIMEOUT_S)[0][0])
        self._version += 1
        lines = [deleted(each, self._version) if isinstance(each, Key) else each.written(self._version)
                 for each in batch]  # fmt: skip
        self._store.change(INSERT, REQUESTS, self._encode(lines))
        return sum(isinstance(each, Key) for each in batch)
