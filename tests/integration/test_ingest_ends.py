"""`ingest` that is killed, interrupted, refused or left without store or disk: nothing is lost, nothing is double."""

from __future__ import annotations

import json
import random
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from cc.errors import Failure
from tests.integration.box import eventually
from tests.integration.stores import COMMAND_S, Store, User, engine, in_batches_of, rows_of, settled
from tests.usage.rows import CLIENT_ROWS, SESSION, row

pytestmark = pytest.mark.docker


def test_a_store_of_a_newer_version_is_refused_by_name_and_left_alone(user: User, store: Store) -> None:
    rows_of(user, SESSION, *CLIENT_ROWS)
    user.ingest()
    store.client.change("INSERT INTO cc_migrations (number, name) VALUES (99, 'tomorrow')", "")
    rows_of(user, SESSION, row("m1", "r1"))
    for words in (("ingest",), ("usage", "--source", "clickhouse")):
        refused = user.run(*words)
        assert refused.code == 1
        assert "step 99 ('tomorrow')" in refused.err
        assert "up to date" in refused.err
    beside = user.run("usage", "--json")
    assert beside.json["total"]["messages"] == 1
    assert "step 99" in beside.json["reason"]
    assert store.number("count()") == 2


def test_who_may_not_is_told_what_to_set(user: User) -> None:
    refused = user.run("ingest", "--json", env={"CC_CLICKHOUSE_PASSWORD": "wrong"})
    assert (refused.code, refused.json["error"]["type"]) == (1, "permission_denied")
    assert "CC_CLICKHOUSE_PASSWORD" in refused.json["error"]["hint"]


def test_strict_minds_a_file_that_could_not_be_read(user: User) -> None:
    path = rows_of(user, "s1", row("m1", "r1"), b'{"type": "assi')
    whole = user.run("ingest", "--strict", "--json")
    assert (whole.code, whole.json["degraded"], whole.json["skipped_by_kind"]) == (0, False, {"cut": 1})
    path.with_name("gone.jsonl").symlink_to("nowhere")
    assert user.run("ingest").code == 0
    lacking = user.run("ingest", "--strict", "--json")
    assert (lacking.code, lacking.json["degraded"], lacking.json["requests"]) == (3, True, 1)
    assert user.run("ingest", "--strict").code == user.run("ingest", "--strict", "--quiet").code == 3


def test_follow_takes_in_what_is_new_until_it_is_ended(user: User, store: Store) -> None:
    rows_of(user, "s1", row("m1", "r1"))
    process = user.start("ingest", "--follow", "--json")
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["rows_written"] == 1
    rows_of(user, "s1", row("m1", "r1"), row("m2", "r2"), row("m3", "r3"))
    assert json.loads(process.stdout.readline())["rows_written"] == 2
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=COMMAND_S)
    assert (process.returncode, out, err) == (130, "", "")
    assert store.number("count()") == 3


def test_follow_waits_for_a_store_that_is_out_of_reach_and_not_for_one_that_refuses(user: User) -> None:
    process = user.start("ingest", "--follow", env={"CC_CLICKHOUSE_URL": "http://127.0.0.1:1"})
    assert process.stderr is not None
    said = process.stderr.readline()
    assert said == "-- ClickHouse: connection refused at http://127.0.0.1:1; waiting for it\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=COMMAND_S)
    assert process.returncode == 143
    assert user.run("ingest", "--follow", env={"CC_CLICKHOUSE_PASSWORD": "wrong"}).code == 1


def test_follow_outlives_a_store_that_goes_away_and_comes_back(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with engine("-p", f"127.0.0.1:{port}:8123") as store:  # one that stays the same when it is started again
        user = User(tmp_path, f"http://127.0.0.1:{port}")
        rows_of(user, "s1", row("m1", "r1"))
        process = user.start("ingest", "--follow", "--json")
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["rows_written"] == 1
        subprocess.run(["docker", "kill", store.container], check=True, capture_output=True)
        rows_of(user, "s1", row("m1", "r1"), row("m2", "r2"), row("m3", "r3"))
        said = process.stderr.readline()
        assert said.startswith("-- ClickHouse: ")
        assert said.endswith("; waiting for it\n")
        subprocess.run(["docker", "start", store.container], check=True, capture_output=True)
        assert json.loads(process.stdout.readline())["rows_written"] == 2
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=COMMAND_S)
        assert process.returncode == 130
        assert user.usage("clickhouse") == user.usage("files")


def test_a_store_out_of_reach_ends_it_with_what_to_type(user: User) -> None:
    refused = user.run("ingest", env={"CC_CLICKHOUSE_URL": "http://127.0.0.1:1"})
    assert (refused.code, refused.out) == (1, "")
    assert "connection refused at http://127.0.0.1:1" in refused.err
    assert "context-cleaner up --service clickhouse" in refused.err


def test_a_disk_that_is_full_is_named_and_the_rest_comes_when_there_is_room(tmp_path: Path) -> None:
    with engine("--tmpfs", "/var/lib/clickhouse:size=24m") as store:
        user = User(tmp_path, store.url)
        store.client.change("CREATE TABLE filler (a String CODEC(NONE)) ENGINE = MergeTree ORDER BY tuple()", "")
        rows_of(user, "s1", *(row(f"m{number}", f"r{number}", session="s1") for number in range(5000)))
        assert fill(store) == "disk_full"
        full = user.run("ingest", "--json")
        assert (full.code, full.json["error"]["type"]) == (1, "disk_full"), full.err
        store.client.change("DROP TABLE filler SYNC", "")
        eventually(lambda: user.run("ingest").code == 0, what="room")
        assert user.usage("clickhouse") == user.usage("files")


def fill(store: Store) -> str:
    """Until nothing more goes in; the code of the failure."""
    while True:
        try:
            store.client.change("INSERT INTO filler SELECT randomString(100000) FROM numbers(10)", "")
        except Failure as failure:
            return failure.code


def test_after_kill_9_at_20_random_moments_nothing_is_lost_and_nothing_is_double(user: User, store: Store) -> None:
    moments = random.Random(9)  # noqa: S311 - moments, no secret
    settled(user, 0)
    began = time.monotonic()
    user.start("ingest", program=in_batches_of(25)).communicate(timeout=COMMAND_S)
    takes = time.monotonic() - began  # on this machine, as busy as it is
    in_the_middle = 0
    for turn in range(1, 21):
        settled(user, turn)
        process = user.start("ingest", program=in_batches_of(25))
        try:
            process.communicate(timeout=takes * moments.uniform(0.1, 1.0))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        assert store.number("count() - uniqExact(message_id)") == 0  # asked at once: the last batch may still arrive
        new = store.number(f"countIf(output_tokens = {turn + 1})")
        in_the_middle += 0 < new < 20 * (50 + turn)
    assert in_the_middle >= 3  # else the moments prove nothing
    last = user.ingest()
    assert last["requests"] == 20 * (50 + 20)
    assert store.number("count()") == last["requests"]
    for by in ("day", "session"):
        assert user.usage("clickhouse", by) == user.usage("files", by)
    assert user.ingest()["status"] == "ok"


def _there(store: Store) -> bool:
    return store.ask(
        "SELECT toString(count()) FROM system.tables WHERE database = 'otel' AND name = 'cc_requests'"
    ) == [["1"]]


def test_an_interruption_between_two_batches_says_how_far_it_was(user: User, store: Store) -> None:
    settled(user, 60)
    process = user.start("ingest", "--json", program=in_batches_of(5))
    eventually(lambda: _there(store) and store.number("count()") > 0, what="the first batch")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=COMMAND_S)
    assert process.returncode == 130, err
    assert f"of {20 * 110:,} requests are in the store" in json.loads(out)["error"]["message"]
    assert user.ingest()["rows_written"] < 20 * 110
    assert store.number("count()") == 20 * 110
