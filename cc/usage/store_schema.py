"""The tables of our own in the store, made and changed by numbered steps. Imports clickhouse, errors.

    cc_migrations   which steps were taken: number, name, when
    cc_requests     the session files' requests (store_rows.py says what a row is)

A step may be killed half way and taken again, and two may take it at once: each of its statements says IF NOT EXISTS,
and it is written down when all of them are done. A store whose steps this version does not know is left alone.
"""

from __future__ import annotations

import msgspec

from cc.errors import Failure
from cc.usage.clickhouse import ClickHouse, NoTableError, without_password

MIGRATIONS = "cc_migrations"
REQUESTS = "cc_requests"


class Migration(msgspec.Struct, frozen=True):
    """One step. Its statements can be run again at any time."""

    number: int
    name: str
    statements: tuple[str, ...]


STEPS = (
    Migration(
        1,
        "requests of session files",
        (
            """\
CREATE TABLE IF NOT EXISTS cc_requests
(
    quarter Int32,
    message_id String,
    request_id String,
    row_id String,
    at_ms Int64,
    model LowCardinality(String),
    session String,
    project LowCardinality(String),
    input_tokens UInt32,
    output_tokens UInt32,
    cache_write_5m UInt32,
    cache_write_1h UInt32,
    cache_read UInt32,
    cost_pico Nullable(Int64),
    fast UInt8,
    sidechain UInt8,
    fingerprint UInt64,
    version UInt64,
    is_deleted UInt8,
    at DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(at_ms, 'UTC')
)
ENGINE = ReplacingMergeTree(version, is_deleted)
ORDER BY (quarter, message_id, request_id, row_id)
""",
        ),
    ),
)
"""No partitions: what is inserted at once is then one part, of which all is there or nothing.

The quarter of an hour comes first, because nearly every question is of a span of time, and the identity after it,
because rows of one identity replace each other only where they lie side by side.
"""

MADE = """\
CREATE TABLE IF NOT EXISTS cc_migrations (number UInt32, name String, taken DateTime DEFAULT now())
ENGINE = MergeTree ORDER BY number
"""
WRITE_DOWN = "INSERT INTO cc_migrations (number, name) FORMAT JSONCompactEachRow"
TAKEN = "SELECT toString(number), name FROM cc_migrations"


def taken(store: ClickHouse) -> int:
    """The number of the last step that the store has seen, 0 of a store that has nothing of ours.

    Raises Failure: what the store's client raises, and `bad_config` for a store that a newer version has changed.
    """
    try:
        rows = store.rows(TAKEN, MIGRATIONS)
    except NoTableError:
        return 0
    where, known = ", ".join(map(without_password, store.urls)), STEPS[-1].number
    try:
        last, name = max(((int(number), name) for number, name in rows), default=(0, ""))
    except ValueError as error:
        raise Failure(f"ClickHouse: {where}: rows of {MIGRATIONS} of another shape", code="bad_answer") from error
    if last > known:
        raise Failure(
            f"ClickHouse: the tables at {where} are of step {last} ({name!r}), and this version knows {known} steps",
            code="bad_config",
            hint="bring context-cleaner up to date",
        )
    return last


def migrate(store: ClickHouse) -> int:
    """Take the steps that are still to be taken, and say how many. Raises Failure as `taken` does."""
    last = taken(store)
    missing = [step for step in STEPS if step.number > last]
    if missing:
        store.change(MADE, MIGRATIONS)
    for step in missing:
        for statement in step.statements:
            store.change(statement, REQUESTS)
        row = f'[{step.number},"{step.name}"]'.encode()
        store.change(WRITE_DOWN, MIGRATIONS, row)
    return len(missing)
