"""What the store takes: session files loaded into it, and a question of a week of a hundred million requests (Docker).

store-ingest   `invoke ingest` of --mb of session files, no index yet and a store that nobody has written to, against
               an empty Invoke task, which is taken off; in seconds, to be read as MB/s
store-again    the same once more, when there is nothing new
store-day      `invoke usage --source clickhouse --by day` of seven days, of a table of 100 M requests of one year that
               the engine itself has made (`INSERT SELECT FROM numbers`); the empty task is taken off
store-model    the same by model

The store is the stack's own, as `invoke up` starts it, with its limits (2 GB of memory). The 100 M rows take 5 GB of
disk while they are made; ids are random, sessions have a thousand requests each. How much of the table a question reads
is told by `EXPLAIN indexes = 1` of the very statement that the command sends.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from benchmarks.box import INVOKE, Box, boxed
from benchmarks.corpus import Made, make
from benchmarks.measure import Figure, in_turns, ms
from cc.settings import load
from cc.usage import store
from cc.usage.clickhouse import ClickHouse
from cc.usage.query import parse
from cc.usage.sources import sources
from cc.usage.store_schema import REQUESTS, migrate

INGEST_MB_S = 50
QUERY_S = 1.0
ROWS = 100_000_000
MAKING_S = 900.0
WEEK = ("--since", "2026-09-01", "--until", "2026-09-07")
FILL = """\
INSERT INTO cc_requests
WITH 1963392 + intDiv(number * 35040, 100000000) AS its_quarter
SELECT toInt32(its_quarter), 'msg_' || hex(sipHash64(number)), 'req_' || hex(sipHash64(number, 1)), '',
       its_quarter * 900000 + number % 900000,
       arrayElement(['claude-opus-5-5', 'claude-sonnet-5-5', 'claude-haiku-4-5', 'claude-opus-4-6'],
                    1 + sipHash64(number, 2) % 4),
       'session-' || toString(intDiv(number, 1000)), '/home/user/project-' || toString(intDiv(number, 1000) % 50),
       number % 100, number % 5000, number % 300, number % 50, number % 200000, NULL, 0, 0, sipHash64(number, 3), 1, 0
FROM numbers(100000000)
"""


def store_ingest(runs: int = 5, mb: int = 200) -> Iterator[Figure]:
    with boxed() as box, _corpus(box, mb) as made:
        _standing(box)
        homes = count()

        def cold() -> None:
            _store(box).change(f"TRUNCATE TABLE IF EXISTS {REQUESTS}", REQUESTS)
            _ingest(box, str(box.dir / f"home-{next(homes)}"))

        def again() -> None:
            if _ingest(box, box.env["CC_HOME"])["rows_written"]:
                raise SystemExit("store-again: a second ingest found something new")

        cold()
        took = in_turns({"empty": box.empty_task, "cold": cold, "again": again}, runs)
    over, megabytes = took["cold"] - took["empty"], made.bytes / 1e6
    limit = megabytes / INGEST_MB_S
    told = f"{made.messages:,} requests in {megabytes:.0f} MB: {ms(over)}, {megabytes / over:.0f} MB/s"
    yield Figure("store-ingest", over, "s", told, limit, f">= {INGEST_MB_S} MB/s", runs)
    yield Figure("store-again", took["again"] - took["empty"], "s", ms(took["again"] - took["empty"]), n=runs)


def store_query(runs: int = 5) -> Iterator[Figure]:
    with boxed() as box:
        _standing(box)
        client = _store(box)
        migrate(client)
        client.change(FILL, REQUESTS, timeout=MAKING_S)
        sides = {by: (lambda by=by: box.invoke("usage", "--source", "clickhouse", "--by", by, *WEEK, "--json"))
                 for by in ("day", "model")}  # fmt: skip
        took = in_turns({"empty": box.empty_task, **sides}, runs)
        messages = json.loads(sides["day"]())["total"]["messages"]
        read = _read(client)
    for by in sides:
        over = took[by] - took["empty"]
        told = f"{messages:,} of {ROWS:,} requests: {ms(over)}; {read}"
        yield Figure(f"store-{by}", over, "s", told, QUERY_S, f"<= {ms(QUERY_S)}", runs)


def _read(client: ClickHouse) -> str:
    """What of the table the week's question reads, in the engine's own words."""
    span = store.span_of([parse(since=WEEK[1], until=WEEK[3], tz="UTC")])
    statement = "EXPLAIN indexes = 1\n" + store.GROUPS + store.GROUPED
    bounds = {"first": span.first, "after": span.after}
    plan = "\n".join(line for (line,) in client.rows(statement, REQUESTS, 30.0, by_session=0, by_project=0, **bounds))
    found = re.search(r"PrimaryKey.*?Parts: (\S+).*?Granules: (\S+)", plan, re.DOTALL)
    return f"primary key: parts {found[1]}, granules {found[2]}" if found else "no primary key was used"


def _standing(box: Box) -> None:
    box.use_docker()
    box.invoke("up", "--service", "clickhouse")


def _store(box: Box) -> ClickHouse:
    client = sources(load(box.env), box.env).clickhouse
    if client is None:
        raise SystemExit("the box has no store")
    return client


def _ingest(box: Box, home: str) -> dict[str, int]:
    """`invoke ingest`, the index of session files in a home of its own, the store that of the box."""
    password = (Path(box.env["CC_HOME"]) / box.env["CC_PROJECT"] / "clickhouse.password").read_text().strip()
    env = {**box.env, "CC_HOME": home, "CC_CLICKHOUSE_PASSWORD": password}
    answer: dict[str, int] = json.loads(box.run(INVOKE, "ingest", "--json", env=env))
    return answer


@contextmanager
def _corpus(box: Box, mb: int) -> Iterator[Made]:
    """Session files that the box's commands read, in memory where there is room."""
    memory = Path("/dev/shm")
    room = memory.is_dir() and shutil.disk_usage(memory).free > mb * 1.5e6
    with tempfile.TemporaryDirectory(prefix="ccbench-corpus-", dir=memory if room else None) as directory:
        box.env["CLAUDE_CONFIG_DIR"] = directory
        yield make(Path(directory), mb=mb, files=3 * mb, large=None)
