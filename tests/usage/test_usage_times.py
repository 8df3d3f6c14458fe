"""Times that cannot be: counted where they say, told of, and no part of the span."""

from __future__ import annotations

from datetime import date, datetime, timezone
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from tests.answering import Server, say
from tests.usage.asked import down, read
from tests.usage.rows import answer, event, row, session_file, write

if TYPE_CHECKING:
    from pathlib import Path

    from cc.usage.model import Reading
    from cc.usage.reader import Sources

ODD = ("0001-01-01T00:00:00+14:00", "1970-01-01T00:00:00Z", "2019-12-31T23:59:59.999Z", "2026-11-25T10:15:00Z",
       "2099-06-01T00:00:00Z", "9999-12-31T23:59:59-14:00")  # fmt: skip
SOUND = ("2020-01-01T00:00:00Z", "2026-11-25T10:00:00Z")  # the last of a clock that is a day ahead


def dated(path: Path, *moments: Any) -> Path:
    return write(path, *(row(f"m{number}", f"r{number}", at=moment) for number, moment in enumerate(moments)))


def odd_times(reading: Reading) -> tuple[int, int, int]:
    told = reading.as_dict()["coverage"]["odd_times"]
    assert list(told) == ["before_2020", "in_the_future", "none"]
    return told["before_2020"], told["in_the_future"], told["none"]


def test_times_that_cannot_be_are_counted_as_they_are_told_of_and_hide_no_span(
    tmp_path: Path, sources: Sources
) -> None:
    files = replace(sources, clickhouse=None)
    assert odd_times(read(files)) == (0, 0, 0)
    dated(session_file(tmp_path), *SOUND, *ODD, "yesterday", None)
    reading = read(files, by="day")
    assert odd_times(reading) == (3, 3, 2)
    assert (reading.coverage.first, reading.coverage.last) == SOUND
    assert reading.total.messages == len(SOUND) + len(ODD) + 2
    days = {one.key: one.totals.messages for one in reading.rows}
    assert (days["1970-01-01"], days["2099-06-01"], days["unknown"]) == (1, 1, 4)  # no calendar has two of these
    for since in (date(2026, 11, 23), datetime(2026, 11, 23, 11, 59, tzinfo=timezone.utc)):
        some = read(files, since=since)
        assert (odd_times(some), some.total.messages) == ((3, 3, 2), 4)


def test_where_no_time_can_be_the_span_is_what_they_say(tmp_path: Path, sources: Sources) -> None:
    dated(session_file(tmp_path), *ODD)
    coverage = read(replace(sources, clickhouse=None)).coverage
    assert (coverage.first, coverage.last) == ("1970-01-01T00:00:00Z", "2099-06-01T00:00:00Z")


def test_a_machine_whose_own_clock_is_before_2020_knows_no_future(tmp_path: Path, sources: Sources) -> None:
    dated(session_file(tmp_path), "1970-01-02T00:00:00Z", *SOUND)
    reading = read(replace(sources, clickhouse=None, now=lambda: 86_400.0))
    assert (odd_times(reading), reading.coverage.last) == ((1, 0, 0), SOUND[1])


def test_odd_times_are_told_of_telemetry_and_of_its_cached_answer(sources: Sources, server: Server, port: int) -> None:
    moments = {"r7": "1970-01-01T00:00:01Z", "r8": "2099-01-01T00:00:00Z", "r9": "nonsense"}
    server.reply = say(200, answer([event(name, **{"event.timestamp": at}) for name, at in moments.items()]))
    for reading in (read(sources), read(down(sources, port)), read(sources, source="clickhouse")):
        assert odd_times(reading)[:2] == (1, 1)


def test_times_of_the_reading_are_those_of_the_clock_that_was_given(sources: Sources) -> None:
    moment = datetime(2030, 1, 1, tzinfo=timezone.utc).timestamp()
    assert read(replace(sources, clickhouse=None, now=lambda: moment)).as_of == "2030-01-01T00:00:00Z"
