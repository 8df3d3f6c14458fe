"""L7, rung by rung: what is united, what is named as the source, and that no rung shows less than the files hold."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date, datetime, timezone
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from cc.errors import ConfigError, Failure
from cc.usage import cache
from cc.usage.clickhouse import ClickHouse
from cc.usage.model import UsageQuery
from cc.usage.reader import Sources, read_usages
from tests.answering import Server, say
from tests.usage.asked import NOW, down, read
from tests.usage.indexed import sql
from tests.usage.rows import CLIENT_EVENTS, CLIENT_ROWS, answer, event, row, session_file, write

if TYPE_CHECKING:
    pass

ROOT = Path(__file__).resolve().parents[2]


def test_rung_0_unites_telemetry_with_the_files_and_its_numbers_are_final(sources: Sources, server: Server) -> None:
    server.reply = say(200, answer([event("r2", output_tokens=50), event("r9", output_tokens=7)]))
    reading = read(sources)
    assert (reading.source, reading.rung, reading.degraded, reading.stale) == ("clickhouse", 0, False, False)
    assert (reading.reason, reading.tried, reading.notes) == (None, (), ())
    assert (reading.total.messages, reading.total.output_tokens) == (3, 3 + 50 + 7)
    assert reading.coverage.as_dict()["requests"] == {
        "only_files": 1,
        "only_telemetry": 1,
        "in_both": 1,
        "output_tokens_added": 45,
        "by_model": [
            {
                "model": "claude-sonnet-4-5-20250929",
                "only_files": 1, "only_telemetry": 1, "in_both": 1, "output_in_files": 5, "output_final": 50,
            }
        ],
    }  # fmt: skip
    assert reading.as_of == "2026-11-24T10:00:00Z"


def test_telemetry_alone_is_enough(sources: Sources, server: Server) -> None:
    server.reply = say(200, answer([event("req_bar", input_tokens=321, cost_usd="0.0123")]))
    reading = read(replace(sources, roots=()), by="project")
    assert (reading.source, reading.total.input_tokens) == ("clickhouse", 321)
    assert reading.as_dict()["total"]["cost_usd"] == 0.0123
    assert [one.key for one in reading.rows] == ["unknown"]
    assert any("telemetry does not name projects" in note for note in reading.notes)


def test_the_client_its_files_and_its_telemetry_agree_to_the_micro_dollar(
    tmp_path: Path, sources: Sources, server: Server
) -> None:
    write(session_file(tmp_path), *CLIENT_ROWS)
    server.reply = say(200, answer(map(list, CLIENT_EVENTS)))
    for forced in ("auto", "clickhouse", "files", "cache"):
        reading = read(sources, source=forced)
        assert reading.as_dict()["total"] == {
            "messages": 2,
            "input_tokens": 203,
            "output_tokens": 83,
            "cache_creation_tokens": 400,
            "cache_read_tokens": 6000,
            "cost_usd": 0.005972,
            "cost_unknown_models": [],
            "cost_known_usd": 0.005972,
        }


@pytest.mark.parametrize(
    "reply",
    [
        say(200, answer([])),
        say(404, b"Code: 60. DB::Exception: Table otel.otel_logs does not exist."),
        say(200, b"junk"),
    ],
)
def test_a_store_that_is_empty_lacks_the_table_or_answers_junk_hides_nothing(
    sources: Sources, server: Server, reply: Any
) -> None:
    server.reply = reply
    reading = read(sources)
    assert (reading.source, reading.rung, reading.stale) == ("files", 2, False)
    assert (reading.total.messages, reading.total.output_tokens) == (2, 8)
    assert reading.reason


def test_an_empty_store_is_said_to_be_empty_and_is_no_degradation(sources: Sources, server: Server) -> None:
    server.reply = say(200, answer([]))
    reading = read(sources)
    assert reading.reason == "ClickHouse answered and holds no requests"
    assert (reading.degraded, reading.tried) == (False, ())


def test_rung_1_the_cached_rows_with_their_age_united_with_the_files(
    tmp_path: Path, sources: Sources, server: Server, port: int
) -> None:
    server.reply = say(200, answer([event("r2", output_tokens=50), event("r9", output_tokens=7)]))
    before = read(sources)
    write(session_file(tmp_path, "younger"), row("m3", "r3", output=100))
    reading = read(down(sources, port, later=720))
    assert (reading.source, reading.rung, reading.stale, reading.degraded) == ("cache", 1, True, True)
    assert reading.total.output_tokens == before.total.output_tokens + 100
    assert reading.as_of == "2026-11-24T10:00:00Z"
    assert reading.reason == (
        f"ClickHouse: connection refused at http://127.0.0.1:{port}; "
        "telemetry is what ClickHouse last answered, 12 min ago"
    )
    assert [(one.rung, one.name, one.error) for one in reading.tried] == [(0, "clickhouse", "connection_refused")]


def test_the_cache_serves_also_when_there_is_no_store_any_more(sources: Sources, server: Server) -> None:
    server.reply = say(200, answer([event("r9", output_tokens=7)]))
    read(sources)
    reading = read(replace(sources, clickhouse=None, no_clickhouse="Docker unavailable"))
    assert (reading.source, reading.total.output_tokens) == ("cache", 15)
    assert reading.reason is not None
    assert reading.reason.startswith("Docker unavailable; ")


def test_rung_2_the_files_with_the_reason_of_each_rung_above(sources: Sources, port: int) -> None:
    reading = read(down(sources, port))
    assert (reading.source, reading.rung, reading.stale, reading.degraded) == ("files", 2, False, True)
    assert reading.reason == (
        f"ClickHouse: connection refused at http://127.0.0.1:{port}; no earlier answer of ClickHouse is cached"
    )
    assert [one.as_dict()["error"] for one in reading.tried] == ["connection_refused", "not_satisfied"]


def damaged(content: bytes) -> list[bytes]:
    head, _, body = content.partition(b"\n")
    flipped = body.replace(b"50", b"51", 1)
    assert flipped != body
    other = head + b"\n" + body.replace(b'"groups":[]', b'"groups":{}', 1)
    assert other != content
    return [b"", b"\x00" * 100, content[:-1], content + b" ", head + b"\n" + flipped, other,
            b"cc-telemetry 9" + content[14:]]  # fmt: skip


def test_a_damaged_cache_is_not_believed_and_the_next_answer_replaces_it(
    sources: Sources, server: Server, port: int
) -> None:
    server.reply = say(200, answer([event("r9", output_tokens=50)]))
    read(sources)
    assert sources.cache_dir is not None
    path = sources.cache_dir / cache.NAME
    whole = path.read_bytes()
    for content in damaged(whole):
        path.write_bytes(content)
        reading = read(down(sources, port))
        assert (reading.source, reading.total.output_tokens) == ("files", 8)
        assert (reading.tried[1].error, str(path) in reading.tried[1].reason) == ("bad_answer", True)
    read(sources)
    assert path.read_bytes() == whole
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in sources.cache_dir.iterdir()] == [cache.NAME]


def test_the_cache_of_the_version_before_is_read_and_what_it_cannot_hold_is_said(sources: Sources, port: int) -> None:
    assert sources.cache_dir is not None
    sources.cache_dir.mkdir(parents=True)
    body = json.dumps({"as_of": NOW - 60, "rows": [event("r9", output_tokens=7)]}).encode()
    (sources.cache_dir / cache.NAME).write_bytes(b"cc-telemetry 1 %s\n%s" % (sha256(body).hexdigest().encode(), body))
    reading = read(down(sources, port))
    assert (reading.source, reading.total.output_tokens, reading.as_of) == ("cache", 15, "2026-11-24T09:59:00Z")
    assert reading.notes == ("the cache may lack some of what `ingest` wrote: ClickHouse was not asked for all of it",)


def test_the_cache_of_another_version_is_said_to_be_one(sources: Sources, port: int) -> None:
    assert sources.cache_dir is not None
    sources.cache_dir.mkdir(parents=True)
    (sources.cache_dir / cache.NAME).write_bytes(b"cc-telemetry 3 of tomorrow\n")
    assert "was written by another version" in read(down(sources, port)).tried[1].reason


def test_a_cache_that_is_no_file_or_cannot_be_made_costs_nothing_but_itself(
    tmp_path: Path, sources: Sources, server: Server, port: int
) -> None:
    server.reply = say(200, answer([event("r9", output_tokens=7)]))
    blocked = tmp_path / "a file"
    blocked.touch()
    reading = read(replace(sources, cache_dir=blocked / "cache"))
    assert (reading.source, reading.total.output_tokens) == ("clickhouse", 15)
    assert "could not be cached" in reading.notes[0]
    (tmp_path / "odd" / cache.NAME).mkdir(parents=True)
    for directory in (tmp_path / "odd", blocked):
        reading = read(replace(down(sources, port), cache_dir=directory))
        assert (reading.source, reading.total.output_tokens) == ("files", 8)


def test_a_cached_answer_without_requests_is_no_source(sources: Sources, server: Server, port: int) -> None:
    server.reply = say(200, answer([]))
    read(sources)
    reading = read(down(sources, port))
    assert (reading.source, reading.stale) == ("files", False)
    assert "holds nothing" in reading.tried[1].reason


def test_rung_3_empty_with_the_reason(tmp_path: Path, port: int) -> None:
    place = tmp_path / "nothing"
    sources = Sources((place,), ClickHouse((f"http://127.0.0.1:{port}",)), tmp_path / "cache", lambda: NOW)
    reading = read(sources, by="day")
    assert (reading.source, reading.rung, reading.rows, reading.total.messages) == ("empty", 3, (), 0)
    assert reading.total.cost_usd == 0
    assert reading.reason is not None
    assert reading.reason.endswith(f"no session files under {place}")
    write(session_file(place), {"type": "user"})
    reason = read(sources).reason or ""
    assert reason.endswith(f"the 1 session file under {place} holds no usage")
    assert "HOME is not set" in (read(replace(sources, roots=())).reason or "")


def test_without_a_store_configured_that_is_the_reason(sources: Sources) -> None:
    reading = read(replace(sources, clickhouse=None, cache_dir=None))
    assert (reading.source, reading.degraded) == ("files", True)
    assert (reading.reason or "").startswith("ClickHouse is not configured; ")


def test_a_forced_source_stands_alone(sources: Sources, server: Server) -> None:
    server.reply = say(200, answer([event("r2", output_tokens=50)]))
    from_files = read(sources, source="files")
    assert (from_files.source, from_files.total.output_tokens, from_files.reason) == ("files", 8, None)
    assert (from_files.degraded, server.asked) == (False, [])
    from_store = read(sources, source="clickhouse")
    assert (from_store.source, from_store.total.output_tokens, from_store.coverage.files) == ("clickhouse", 50, 0)
    from_cache = read(sources, source="cache")
    assert (from_cache.source, from_cache.total.output_tokens, from_cache.stale) == ("cache", 50, True)


def test_a_forced_source_that_cannot_be_read_is_a_failure(sources: Sources, port: int) -> None:
    for source, code in (("clickhouse", "connection_refused"), ("cache", "not_satisfied")):
        with pytest.raises(Failure) as caught:
            read(down(sources, port), source=source)
        assert (caught.value.code, caught.value.hint) == (
            code,
            "without --source, what the session files tell is counted, too",
        )
    with pytest.raises(Failure, match="ClickHouse is not configured"):
        read(replace(sources, clickhouse=None), source="clickhouse")


def test_damaged_events_are_told_of_and_the_rest_counts(sources: Sources, server: Server) -> None:
    server.reply = say(200, answer([event("r8", output_tokens=-5), event("r9", output_tokens=7)]))
    reading = read(sources)
    assert reading.total.output_tokens == 15
    assert reading.notes == ("1 telemetry event could not be used: damaged counts",)


@pytest.mark.parametrize("events", [[], [event("r2", output_tokens=50)]])
def test_a_damaged_index_is_told_also_where_requests_are_looked_at_one_by_one(
    sources: Sources, server: Server, events: list[Any]
) -> None:
    server.reply = say(200, answer(events))
    sources = replace(sources, index_dir=sources.roots[0] / "index")
    read(sources)
    (index,) = sources.index_dir.iterdir() if sources.index_dir is not None else ()
    sql(index, "UPDATE body SET rows = x'ff'")
    span = {} if events else {"since": datetime(2026, 1, 1, 0, 1, tzinfo=timezone.utc)}
    assert f"the index {index} was damaged in part: 1 session file was read again" in read(sources, **span).notes


def test_several_questions_take_one_look(sources: Sources, server: Server) -> None:
    server.reply = say(200, answer([event("r9")]))
    readings = read_usages([UsageQuery(by="day"), UsageQuery(by="model"), UsageQuery()], sources)
    assert [reading.by for reading in readings] == ["day", "model", None]
    assert len({reading.total for reading in readings}) == 1
    assert len(server.asked) == 1


def test_a_filter_that_nothing_passes_is_said(sources: Sources, server: Server) -> None:
    server.reply = say(200, answer([event("r9")]))
    reading = read(sources, model="gpt-5")
    assert (reading.source, reading.total.messages) == ("clickhouse", 0)
    (note,) = reading.notes
    assert note == (
        "none of the 3 requests known is of that model;"
        " --by model lists the names, and --model '*gpt-5*' is all that have it inside"
    )
    assert read(sources, project="*nowhere*", since=date(2026, 11, 23)).notes == (
        "none of the 3 requests known is of that time and project",
    )
    assert (reading.coverage.first, reading.coverage.last) == ("2026-11-23T12:00:00Z", "2026-11-23T12:00:01Z")


def test_of_one_request_alone_it_is_said_that_it_is_not_what_was_asked_for(sources: Sources, tmp_path: Path) -> None:
    write(session_file(tmp_path), row("m1", "r1"))
    (note,) = read(replace(sources, clickhouse=None), project="*nowhere*").notes
    assert note == "the one request known is not of that project"


def test_the_whole_reading_is_json_whatever_the_files_are_called(tmp_path: Path) -> None:
    folder = session_file(tmp_path).parent
    lone = json.dumps(row("m1", "r1", session="\ud800", cwd="/tmp/\u2028"))  # escaped, as the client writes it
    write(folder / "s.jsonl", lone.encode(), b"42")
    write(folder.parent / "-odd\udcff" / "odd\udcff.jsonl", row("m2", "r2", session=None, cwd=None))
    (folder / "odd\udcff.jsonl").symlink_to("nowhere")
    document = read(Sources((tmp_path,), now=lambda: NOW), by="session").as_dict()
    assert json.loads(json.dumps(document, ensure_ascii=False).encode()) == document
    assert document["total"]["messages"] == 2
    assert document["coverage"]["skipped_lines"] == 1
    assert document["coverage"]["skipped_by_kind"] == {"not_an_object": 1}
    assert document["coverage"]["unreadable"][0]["reason"] == "vanished, or a link that leads nowhere"


def test_what_could_not_be_read_degrades_the_answer_and_a_line_that_is_cut_does_not(tmp_path: Path) -> None:
    path = session_file(tmp_path)
    write(path, row("m1", "r1"))
    with path.open("ab") as file:
        file.write(b'{"type": "assi')
    files = Sources((tmp_path,), now=lambda: NOW)
    whole = read(files, source="files")
    assert (whole.degraded, whole.coverage.skipped_by_kind) == (False, {"cut": 1})
    path.with_name("gone.jsonl").symlink_to("nowhere")
    told = read(files, source="files").as_dict()
    assert (told["degraded"], told["tried"], told["total"]["messages"]) == (True, [], 1)


def test_a_users_prices_are_used_and_a_bad_list_is_an_error(sources: Sources, tmp_path: Path) -> None:
    own = tmp_path / "own.json"
    own.write_text('{"models": {"claude-sonnet-4-5": {"input": 1, "output": 1}}}')
    reading = read(replace(sources, clickhouse=None, prices=own))
    assert reading.as_dict()["total"]["cost_usd"] == 28 / 1e6
    assert (reading.prices_own, reading.notes) == (str(own), ())
    own.write_text("{")
    with pytest.raises(ConfigError):
        read(replace(sources, prices=own))


def test_what_a_users_prices_lack_is_said(sources: Sources, tmp_path: Path) -> None:
    own = tmp_path / "own.json"
    own.write_text('{"models": {"claude-sonnet-4-5": {"input": 1, "cache_read": 1, "cache_write_1h": 1}}}')
    reading = read(replace(sources, clickhouse=None, prices=own))
    assert reading.total.cost_unknown_models == ("claude-sonnet-4-5-20250929",)
    assert reading.notes == (
        "the prices of claude-sonnet-4-5-20250929 have no output, cache_write_5m: the cost of such tokens is unknown",
    )


def test_a_request_without_a_time_is_named_where_a_users_prices_all_have_a_date(
    sources: Sources, tmp_path: Path
) -> None:
    write(session_file(tmp_path), row("m1", "r1", model="mine", at=None), row("m2", "r2", model="mine"))
    own = tmp_path / "own.json"
    own.write_text('{"models": {"mine": {"from": "2026-11-01", "input": 1, "output": 1}}}')
    total = read(replace(sources, clickhouse=None, prices=own)).total.as_dict()
    assert (total["cost_usd"], total["cost_unknown_models"], total["cost_known_usd"]) == (None, ["mine"], 15 / 1e6)


def test_heavy_packages_are_imported_no_sooner_than_something_is_read() -> None:
    code = (
        "import sys; import cc.usage.reader, cc.usage.query, cc.usage.clickhouse;"
        "print([name for name in ('requests', 'sqlite3', 'urllib3') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_who_asks_session_files_alone_waits_for_nothing_of_the_store(tmp_path: Path) -> None:
    code = (
        "import os, sys; import cc.usage_command; from cc.settings import load; from cc.usage.query import parse;"
        "from cc.usage.reader import read_usage; from cc.usage.sources import sources;"
        "read_usage(parse(source='files'), sources(load(os.environ), os.environ, store=False));"
        "of_the_store = ('asking', 'cache', 'clickhouse', 'store', 'telemetry', 'unite');"
        "print([name for name in of_the_store if 'cc.usage.' + name in sys.modules])"
    )
    environ = {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, cwd=ROOT, env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_was_ingested_and_cannot_be_read_costs_only_itself(sources: Sources, server: Server) -> None:
    server.reply = say(200, answer([event("r9", output_tokens=7)]))
    server.ours = say(500, b"Code: 241. DB::Exception: Memory limit exceeded")
    reading = read(sources)
    assert (reading.source, reading.degraded, reading.total.output_tokens) == ("clickhouse", True, 3 + 5 + 7)
    assert (reading.rung, reading.stale, reading.tried) == (0, False, ())
    assert reading.notes[0].startswith("what `ingest` wrote to ClickHouse could not be read: ClickHouse: http://")
    with pytest.raises(Failure, match="Memory limit"):
        read(sources, source="clickhouse")


@pytest.mark.parametrize("rows", [b'[["one", "first"]]', b'[["1"]]'])
def test_a_table_of_that_name_that_is_not_ours_is_told(sources: Sources, server: Server, rows: bytes) -> None:
    server.reply = say(200, answer([]))
    server.ours = say(200, b'{"meta": [], "data": ' + rows + b', "rows": 1}')
    assert "rows of cc_migrations of another shape" in read(sources).notes[0]
