"""`ingest` into a real engine: twice is once, what changes is replaced, and what only the store knows is counted."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from cc.usage import store as questions
from tests.integration.box import path_without
from tests.integration.stores import Store, User, rows_of, settled
from tests.usage.rows import CLIENT_EVENTS, CLIENT_ROWS, RECORDED, SESSION, row

pytestmark = pytest.mark.docker

LOGS = {
    "of today": """\
CREATE TABLE otel_logs (Timestamp DateTime64(9), ServiceName LowCardinality(String), Body String, EventName String,
    ResourceAttributes Map(LowCardinality(String), String), LogAttributes Map(LowCardinality(String), String))
ENGINE = MergeTree ORDER BY (toStartOfFiveMinutes(Timestamp), ServiceName, Timestamp)""",
    "with TimestampTime": """\
CREATE TABLE otel_logs (Timestamp DateTime64(9), TimestampTime DateTime DEFAULT toDateTime(Timestamp),
    ServiceName LowCardinality(String), Body String, ResourceAttributes Map(LowCardinality(String), String),
    LogAttributes Map(LowCardinality(String), String))
ENGINE = MergeTree PARTITION BY toDate(TimestampTime) ORDER BY (ServiceName, TimestampTime)""",
    "the first": """\
CREATE TABLE otel_logs (Timestamp DateTime64(9), Body LowCardinality(String),
    LogAttributes Map(LowCardinality(String), LowCardinality(String)))
ENGINE = MergeTree ORDER BY Timestamp""",
}


def test_the_client_and_the_store_agree_to_the_micro_dollar_and_twice_is_once(user: User, store: Store) -> None:
    rows_of(user, SESSION, *CLIENT_ROWS)
    first = user.ingest()
    assert (first["status"], first["requests"], first["rows_written"], first["store"]) == ("changed", 2, 2, store.url)
    again = user.ingest()
    assert (again["status"], again["sessions_that_differed"], again["rows_written"]) == ("ok", 0, 0)
    assert user.run("ingest").out.startswith("ok: nothing new")
    assert store.number("count()") == 2
    told = user.usage("clickhouse", "model")
    assert told["total"]["cost_usd"] == 0.005972
    assert told == user.usage("files", "model")
    shutil.rmtree(user.claude)
    shutil.rmtree(user.env["CC_HOME"])
    assert user.usage("clickhouse", "model") == told


@pytest.mark.parametrize("recorded", ["transcripts/sniffly", "transcripts/ccusage", "client/projects"])
def test_the_store_tells_what_the_recorded_files_tell(user: User, recorded: str) -> None:
    if (RECORDED / recorded).is_dir():
        shutil.copytree(RECORDED / recorded, user.claude / "projects")
    else:
        rows_of(user, SESSION, *CLIENT_ROWS)
    user.ingest()
    for by in ("day", "month", "model", "project", "session"):
        assert user.usage("clickhouse", by) == user.usage("files", by)


def test_a_request_that_is_settled_otherwise_later_is_replaced_and_what_no_file_tells_any_more_stays(
    user: User, store: Store
) -> None:
    rows_of(user, "s1", row("m1", "r1", output=1, session="s1"), row("m2", "r2", session="s1"), row(None, None),
            row("m3", "r3", session="s1"), row(None, "r5", session="s1"))  # fmt: skip
    user.ingest()
    later = [row("m1", "r1", output=9, session="s1", at="2026-11-23T15:00:00.000Z"), row("m2", "r2", session="s1"),
             row(None, None, output=6), row("m4", "r4", session="s1"), row("m5", "r5", session="s1")]  # fmt: skip
    rows_of(user, "s1", *later)
    came = user.ingest()
    # m1 has another quarter now, what has no id other numbers, and r5 a message; m3 was asked once, and is not lost
    assert (came["rows_written"], came["rows_removed"]) == (4, 3)
    assert store.number("sum(output_tokens)") == 9 + 6 + 4 * 5
    assert user.usage("clickhouse", "session") == user.usage("auto", "session")
    again = user.ingest()
    assert (again["status"], again["rows_written"], again["rows_removed"]) == ("ok", 0, 0)


def test_a_copy_that_turns_out_to_be_another_sessions_counts_once(user: User, store: Store) -> None:
    rows_of(user, "s2", row("m1", "r1", session="s2"), row("m2", "r2", session="s2"))
    user.ingest()
    rows_of(user, "s1", row("m1", "r1", session="s1"))  # the earlier one, of which s2 had a copy
    user.ingest()
    assert store.number("count()") == 2
    assert user.usage("clickhouse", "session") == user.usage("files", "session")


def test_sessions_that_no_file_knows_stay_in_the_store_and_count_beside_the_files(user: User, store: Store) -> None:
    file = rows_of(user, "s1", row("m1", "r1", session="s1"), row("m2", "r2", session="s1", output=7))
    user.ingest()
    file.unlink()
    shutil.rmtree(user.env["CC_HOME"])  # and with it the index that would know them
    rows_of(user, "s2", row("m2", "r2", session="s2", output=7), row("m3", "r3", session="s2"))
    both = user.usage("auto", "session")
    assert (both["total"]["messages"], both["total"]["output_tokens"]) == (3, 5 + 7 + 5)
    came = user.ingest()
    assert (came["rows_written"], came["rows_removed"]) == (2, 0)
    assert user.usage("clickhouse", "session")["total"] == both["total"]


def test_what_is_known_no_more_for_a_moment_stays_in_the_store(user: User, store: Store) -> None:
    """Of a file that was deleted the index alone knows, and another process may have it just now."""
    rows_of(user, "s1", row("m1", "r1", session="s1"))
    agent = rows_of(user, "agent-1", row("m2", "r2", session="s1", output=7))
    user.ingest()
    agent.unlink()
    rows_of(user, "s1", row("m1", "r1", session="s1", output=9), row("m3", "r3", session="s1"))
    (index,) = (Path(user.env["CC_HOME"])).rglob("sessions-*.db")
    with closing(sqlite3.connect(index, isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        came = user.ingest()
    assert (came["rows_written"], came["rows_removed"], len(came["notes"])) == (2, 0, 1)
    assert store.number("sum(output_tokens)") == 9 + 7 + 5
    assert user.ingest()["status"] == "ok"


def test_what_is_missing_of_a_session_that_the_files_know_in_part_is_added(user: User) -> None:
    rows_of(user, "s1", row("m1", "r1"), row(None, None, output=3))
    agent = rows_of(user, "agent-1", row("m2", "r2", output=7))  # of the same session
    user.ingest()
    whole = user.usage("files", "session")
    agent.unlink()
    shutil.rmtree(user.env["CC_HOME"])
    assert user.usage("files", "session") != whole
    assert user.usage("auto", "session") == whole


GROUPINGS = ("day", "week", "month", "model", "project", "session", "block")


def test_without_the_store_the_cache_tells_what_the_store_told_beside_the_files(user: User, store: Store) -> None:
    rows_of(user, "s1", row("m1", "r1", session="s1"), row("m2", "r2", session="s1", output=7, at=None))
    rows_of(user, "s2", row("m3", "r3", session="s2", output=3, at="2026-11-20T12:00:00.000Z"),
            row("m4", "r4", session="s2", at="2026-11-24T12:07:00.000Z"))  # fmt: skip
    rows_of(user, "s3", row("m5", "r5", session="s3", output=50), row("m6", "r6", session="s3"))
    user.ingest()
    shutil.rmtree(user.claude)
    shutil.rmtree(user.env["CC_HOME"])  # of s1 and s2, and of half of s3, the store alone knows
    rows_of(user, "s3", row("m5", "r5", session="s3", output=1))
    rows_of(user, "s4", row("m7", "r7", session="s4"))
    event = {"request_id": "r3", "session.id": "s2", "model": "claude-sonnet-4-5-20250929", "input_tokens": "10",
             "output_tokens": "30", "event.name": "api_request"}  # fmt: skip
    store.client.change(LOGS["of today"], "")
    record = {"Timestamp": "2026-11-20 12:00:09.000000000", "LogAttributes": event}
    store.client.change("INSERT INTO otel_logs FORMAT JSONEachRow", "", json.dumps(record).encode())
    away = {"CC_CLICKHOUSE_URL": "http://127.0.0.1:1"}
    with_store = {by: user.usage("auto", by) for by in GROUPINGS}
    assert with_store["day"]["total"]["messages"] == 7
    assert with_store["day"]["total"]["output_tokens"] == 5 + 7 + 30 + 5 + 50 + 5 + 5
    for by in GROUPINGS:
        done = user.run("usage", "--json", "--by", by, env=away).json
        assert {"total": done["total"], "rows": done["rows"]} == with_store[by]
        assert (done["source"], done["rung"], done["degraded"], done["stale"]) == ("cache", 1, True, True)
        assert "telemetry, and what no session file knows, is what ClickHouse last answered, " in done["reason"]
        assert done["notes"] == []
    for span in (("--since", "2026-11-22"), ("--until", "2026-11-23"), ("--since", "2026-11-24T12:06:00Z")):
        done = user.run("usage", "--json", *span, env=away).json
        assert done["total"] == user.usage("auto", "day", *span)["total"], span
    assert user.run("usage", "--strict", env=away).code == 3
    cut = user.run("usage", "--json", "--since", "2026-11-24T12:06:00Z", env=away).json
    assert cut["total"]["messages"] == 1


def test_without_docker_the_store_is_read_at_its_address_and_nothing_is_degraded(user: User, tmp_path: Path) -> None:
    rows_of(user, "s1", row("m1", "r1", session="s1"), row("m2", "r2", session="s1"))
    user.ingest()
    shutil.rmtree(user.claude)
    shutil.rmtree(user.env["CC_HOME"])
    bare = {"PATH": path_without(tmp_path, "docker", "docker-compose", "dockerd"), "DOCKER_HOST": "unix:///no.sock"}
    done = user.run("usage", "--strict", "--json", env=bare)
    told = done.json
    assert (done.code, told["source"], told["degraded"], told["reason"]) == (0, "clickhouse", False, None)
    assert told["total"]["messages"] == 2
    assert "Docker" not in user.run("usage", env=bare).out


def test_a_session_that_has_come_to_this_machine_meanwhile_is_not_counted_beside_the_cache(user: User) -> None:
    file = rows_of(user, "s1", row("m1", "r1", session="s1"), row("m2", "r2", session="s1"))
    user.ingest()
    there = file.read_bytes()
    file.unlink()
    shutil.rmtree(user.env["CC_HOME"])
    assert user.usage("auto")["total"]["messages"] == 2
    file.write_bytes(there)
    done = user.run("usage", "--json", env={"CC_CLICKHOUSE_URL": "http://127.0.0.1:1"}).json
    assert done["total"]["messages"] == 2


def test_a_question_of_a_span_counts_what_the_store_alone_has_of_it(user: User) -> None:
    old = rows_of(user, "old", row("m1", "r1", session="s1", at="2026-11-20T12:00:00.000Z"))
    user.ingest()
    old.unlink()
    shutil.rmtree(user.env["CC_HOME"])
    rows_of(user, "new", row("m2", "r2", session="s1"), row("m3", "r3", session="s1"))
    assert user.usage("auto", "day", "--until", "2026-11-21")["total"]["messages"] == 1


@pytest.mark.parametrize("schema", LOGS)
def test_telemetry_of_every_exporters_schema_is_united_with_what_was_ingested(
    user: User, store: Store, schema: str
) -> None:
    store.client.change(LOGS[schema], "")
    names = ("request_id", "session.id", "model", "input_tokens", "output_tokens", "cache_read_tokens",
             "cache_creation_tokens", "cost_usd", "event.name")  # fmt: skip
    told = [dict(zip(names, (*each[:7], each[9], ""), strict=True)) for each in CLIENT_EVENTS]
    told += [{**told[0], "request_id": "r9", "output_tokens": "9", "event.name": "api_request"}]
    for each in told:
        body = "" if each["event.name"] else "claude_code.api_request"
        record = {"Timestamp": "2026-11-23 23:57:51.330000000", "Body": body, "LogAttributes": each}
        store.client.change("INSERT INTO otel_logs FORMAT JSONEachRow", "", json.dumps(record).encode())
    cut = [{**each, "message": {**each["message"], "usage": {**each["message"]["usage"], "output_tokens": 1}}}
           for each in CLIENT_ROWS]  # fmt: skip
    rows_of(user, SESSION, *cut, row("m8", "r8", output=8))
    rows_of(user, "other", row("m7", "r7", output=7, session="other"))
    user.ingest()
    alone = user.usage("clickhouse", "session")
    assert alone["total"]["output_tokens"] == 41 + 42 + 9 + 8 + 7
    assert alone == user.usage("auto", "session")
    day = user.run("usage", "--json", "--source", "clickhouse", "--since", "2026-11-23", "--until", "2026-11-23").json
    counted = day["coverage"]["requests"]
    assert [(each["model"], each["only_files"], each["in_both"]) for each in counted.pop("by_model")] == [
        ("claude-opus-5-5", 0, 2),
        ("claude-sonnet-4-5-20250929", 2, 0),
    ]
    assert counted == {
        "only_files": 2,
        "only_telemetry": 1,
        "in_both": 2,
        "output_tokens_added": 40 + 41,
    }
    assert user.usage("clickhouse", "day", "--since", "2026-11-24")["total"]["messages"] == 0


def test_a_store_that_holds_much_of_others_is_said_to_and_does_not_keep_the_user_waiting(
    user: User, store: Store
) -> None:
    rows_of(user, SESSION, *CLIENT_ROWS)
    user.ingest()
    store.client.change(
        "INSERT INTO cc_requests (quarter, message_id, session, version) "
        "SELECT 0, toString(number), 'theirs-' || toString(number % 9000), 1 FROM numbers(9000)",
        "",
    )
    beside = user.run("usage", "--json").json
    assert beside["total"]["messages"] == 2
    assert "9,000 requests of 9,000 sessions are not all in session files" in beside["notes"][0]
    assert (beside["degraded"], user.run("usage", "--strict").code) == (True, 3)
    assert user.usage("clickhouse")["total"]["messages"] == 2 + 9000
    week = user.run("usage", "--json", "--since", "2026-11-20").json
    assert (week["total"]["messages"], week["degraded"], week["notes"]) == (2, False, [])


def test_a_question_of_a_week_reads_a_week(store: Store, user: User) -> None:
    settled(user, 0)
    user.ingest()
    store.client.change(
        "INSERT INTO cc_requests (quarter, message_id, at_ms, version) "
        "SELECT number, toString(number), number * 900000, 1 FROM numbers(2000000)",
        "",
    )
    params = {"first": 1_999_000, "after": 2_000_000, "by_session": 0, "by_project": 0}
    plan = "\n".join(
        line
        for (line,) in store.client.rows("EXPLAIN indexes = 1\n" + questions.GROUPS + questions.GROUPED, "", **params)
    )
    assert "PrimaryKey" in plan
    assert "quarter" in plan.partition("PrimaryKey")[2]
    read, there = re.findall(r"Granules: (\d+)/(\d+)", plan)[0]
    assert int(read) * 50 < int(there)
