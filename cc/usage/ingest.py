"""The session files' requests into the store: what differs there is written, and nothing else is remembered anywhere.

    the files' rows  ─ one number a session ─┐
    the store's rows ─ one number a session ─┴─> the sessions that differ ─> their rows, and what is to go, in batches

The store itself says what it has, so that it may be killed at any moment: what was written is found the next time, and
what was not is written then. A batch is one insert, of which all is there or nothing; a session that it holds in part
still differs. Sessions that no file and no index knows are left as they are: other machines may have written them, or
this one before their files were deleted. Imports transcripts, clickhouse, store_schema, store_rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from cc.errors import Failure
from cc.usage import transcripts
from cc.usage.clickhouse import ClickHouse, without_password
from cc.usage.groups import Groups
from cc.usage.reader import Progress, Sources, no_progress
from cc.usage.request import Request
from cc.usage.store import TIMEOUT_S, in_questions
from cc.usage.store_rows import Key, Stored, deleted, stored
from cc.usage.store_schema import REQUESTS, migrate
from cc.usage.transcripts import Transcripts

NO_STORE = "context-cleaner up --service clickhouse starts this stack's own store"
BATCH_ROWS = 20_000

PRINTS = """\
SELECT session, toString(count()), toString(groupBitXor(fingerprint)) FROM cc_requests FINAL GROUP BY session"""
LAST_VERSION = "SELECT toString(max(version)) FROM cc_requests"
KEYS = """\
SELECT toString(quarter), message_id, request_id, row_id, toString(fingerprint) FROM cc_requests FINAL
WHERE session IN {sessions:Array(String)}"""
INSERT = "INSERT INTO cc_requests FORMAT JSONCompactEachRow"

Print = tuple[int, int]
"""Of one session: how many rows, and their fingerprints in one number."""


@dataclass
class Ingested:
    """What came of it, and while it runs what has come of it so far. `rows` are those to be written, all told."""

    store: str = ""
    requests: int = 0
    sessions: int = 0
    differing: int = 0
    migrations: int = 0
    rows: int = 0
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

    `reading` is told of bytes read and to be read, `writing` of rows. `known` is what the files told when they were
    last written: if they tell nothing else, the store is not asked what it has.

    The store is asked first: who has none need not wait for the files to be read. Raises Failure as `ingest` does.
    """
    if sources.clickhouse is None:
        raise Failure(sources.no_clickhouse, code="tool_missing", hint=NO_STORE)
    try:
        store = sources.clickhouse.first_in_reach()
        files = transcripts.read(sources.roots, sources.index_dir, reading)
        if files.groups != known:
            ingest(files.requests, files.project_names, store, came, writing)
    except Failure as failure:
        failure.hint = failure.hint or NO_STORE
        raise
    return files


def ingest(
    requests: Iterable[Request],
    names: Mapping[str, str],
    store: ClickHouse,
    came: Ingested,
    progress: Progress = no_progress,
) -> None:
    """Make the store, of one URL, hold these settled requests, each once, and tell `came` on the way.

    Raises Failure: what the store's client raises, and `bad_config` for a store that a newer version has changed.
    """
    came.store = without_password(store.urls[0])
    came.migrations = migrate(store)
    rows = stored(requests, names)
    prints = _prints(rows)
    came.requests, came.sessions = len(rows), len(prints)
    there = {session: (int(count), int(number)) for session, count, number in store.rows(PRINTS, REQUESTS, TIMEOUT_S)}
    differing = {session for session, mine in prints.items() if there.get(session) != mine}
    came.differing = len(differing)
    batches = in_batches(*_difference(rows, differing, store, there))
    came.rows = sum(map(len, batches))
    if batches:
        _write(batches, int(store.rows(LAST_VERSION, REQUESTS, TIMEOUT_S)[0][0]) + 1, store, came, progress)


def _prints(rows: Iterable[Stored]) -> dict[str, Print]:
    found: dict[str, Print] = {}
    for row in rows:
        count, number = found.get(row.session, (0, 0))
        found[row.session] = (count + 1, number ^ row.fingerprint)
    return found


def _difference(
    rows: Iterable[Stored], differing: set[str], store: ClickHouse, there: Mapping[str, Print]
) -> tuple[list[Stored], list[Key]]:
    """The rows that the store has not, or otherwise, and the keys that it has and that are no more.

    A key that now is another session's is among the rows: that session differs, too.
    """
    mine = {row.key: row for row in rows if row.session in differing}
    gone = []
    for names in in_questions(sorted(session for session in differing if session in there)):
        for quarter, message, request, row_id, fingerprint in store.rows(KEYS, REQUESTS, TIMEOUT_S, sessions=names):
            key = Key(int(quarter), message, request, row_id)
            row = mine.get(key)
            if row is None:
                gone.append(key)
            elif row.fingerprint == int(fingerprint):
                del mine[key]
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


def _write(
    batches: Iterable[Sequence[Stored | Key]], version: int, store: ClickHouse, came: Ingested, progress: Progress
) -> None:
    encode = msgspec.json.Encoder().encode_lines
    for batch in batches:
        lines = [deleted(each, version) if isinstance(each, Key) else each.written(version) for each in batch]
        store.change(INSERT, REQUESTS, encode(lines))
        removed = sum(isinstance(each, Key) for each in batch)
        came.removed += removed
        came.written += len(batch) - removed
        progress(came.written + came.removed, came.rows)
