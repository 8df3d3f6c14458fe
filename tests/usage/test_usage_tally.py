"""Rows of a table, filters, and the words that ask for them: pure, in tables."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from msgspec.structs import replace

from cc.errors import UsageError
from cc.usage import prices, tally
from cc.usage.groups import CALENDAR, QUARTER_HOUR, Times, fold, merge, messages_of, times_of
from cc.usage.model import GROUPINGS, Coverage, Reading, Totals, UsageQuery, rfc3339
from cc.usage.query import begin_of, end_of, parse, parse_moment, parse_zone
from cc.usage.request import UNKNOWN, Request

PRICES = prices.load()
BERLIN = ZoneInfo("Europe/Berlin")
KATHMANDU = ZoneInfo("Asia/Kathmandu")  # a quarter of an hour beside the others
NAMES = {"-srv-app": "/srv/app"}
NOW = datetime(2026, 11, 24, 10, 0, tzinfo=timezone.utc)


def at(moment: str) -> int:
    return round(datetime.fromisoformat(moment).timestamp() * 1000)


def request(when: str | None = "2026-11-24T10:00:00+00:00", **more: Any) -> Request:
    whole = Request(
        "m", "r", "claude-opus-5-5", at(when) if when else None, "s", "-srv-app", 10, 5, 0, 0, 0, None, False, False
    )
    return whole._replace(**more)


def keys(by: Any, *requests: Request, tz: Any = timezone.utc, names: dict[str, str] | None = None) -> list[str]:
    return [row.key for row in tally.added_up(fold(requests), by, PRICES, tz, names or {})[1]]


@pytest.mark.parametrize(
    ("by", "tz", "when", "key"),
    [
        ("day", timezone.utc, "2026-11-24T22:59:59+00:00", "2026-11-24"),
        ("day", BERLIN, "2026-11-24T22:59:59.999+00:00", "2026-11-24"),
        ("day", BERLIN, "2026-11-24T23:00:00+00:00", "2026-11-25"),
        ("day", BERLIN, "2026-10-25T00:30:00+00:00", "2026-10-25"),  # the night that has one hour more
        ("day", KATHMANDU, "2026-11-24T18:14:59+00:00", "2026-11-24"),
        ("day", KATHMANDU, "2026-11-24T18:15:00+00:00", "2026-11-25"),
        ("day", timezone(timedelta(hours=-11)), "2026-11-24T10:00:00+00:00", "2026-11-23"),
        ("week", timezone.utc, "2026-11-24T10:00:00+00:00", "2026-W48"),
        ("week", timezone.utc, "2027-01-03T10:00:00+00:00", "2026-W53"),  # ISO: the week belongs to its Thursday
        ("week", timezone.utc, "2026-01-05T10:00:00+00:00", "2026-W02"),
        ("month", BERLIN, "2026-11-30T23:30:00+00:00", "2026-12"),
        ("day", timezone.utc, "1970-01-01T00:00:00+00:00", "1970-01-01"),
        ("day", timezone.utc, "2099-12-31T23:00:00+00:00", "2099-12-31"),
        ("day", timezone.utc, "0999-02-03T10:00:00+00:00", "0999-02-03"),
        ("month", timezone.utc, "0999-02-03T10:00:00+00:00", "0999-02"),
        ("day", BERLIN, "9999-12-31T23:30:00+00:00", UNKNOWN),
        ("day", timezone.utc, None, UNKNOWN),
        ("week", timezone.utc, None, UNKNOWN),
    ],
)
def test_keys_of_time(by: str, tz: Any, when: str | None, key: str) -> None:
    assert keys(by, request(when), tz=tz) == [key]


@pytest.mark.parametrize(
    ("zone", "around"),
    [
        ("Europe/Berlin", "2026-10-25"),
        ("America/New_York", "2026-03-08"),
        ("Australia/Lord_Howe", "2026-04-05"),  # half an hour
        ("Africa/Cairo", "2026-04-24"),  # at midnight: a day that begins at one o'clock
        ("Pacific/Apia", "2011-12-30"),  # a day that never was
        ("Asia/Kathmandu", "1985-12-31"),
        ("America/New_York", "1883-11-18"),  # from the sun's time to the railway's
    ],
)
@pytest.mark.parametrize("by", ["day", "week", "month"])
def test_each_quarter_of_an_hour_is_of_the_date_that_its_zone_had(zone: str, around: str, by: Any) -> None:
    tz = ZoneInfo(zone)
    first = at(f"{around}T00:00:00+00:00") - 3 * 86_400_000
    expected: dict[str, int] = {}
    requests = []
    for quarter in range(6 * 96):
        requests.append(request()._replace(at_ms=first + quarter * 900_000))
        moment = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(milliseconds=first + quarter * 900_000)
        key = moment.astimezone(tz).strftime({"day": "%Y-%m-%d", "week": "%G-W%V", "month": "%Y-%m"}[by])
        expected[key] = expected.get(key, 0) + 1
    _, rows = tally.added_up(fold(requests), by, PRICES, tz)
    assert {row.key: row.totals.messages for row in rows} == expected


def test_times_ascend_and_the_unknown_comes_last() -> None:
    moments = ["2026-11-24T10:00:00+00:00", None, "2026-11-23T10:00:00+00:00", "2026-12-01T10:00:00+00:00"]
    assert keys("day", *map(request, moments)) == ["2026-11-23", "2026-11-24", "2026-12-01", UNKNOWN]


def test_other_keys_are_sorted_by_cost_then_by_tokens_the_most_first() -> None:
    requests = [
        request(session="cheap"),
        request(session="unpriced, many", model="claude-unheard-of", input_tokens=10**6),
        request(session="dear", output_tokens=10**6),
        request(session="unpriced, few", model="claude-unheard-of"),
    ]
    assert keys("session", *requests) == ["dear", "cheap", "unpriced, many", "unpriced, few"]


def test_a_project_is_called_by_its_readable_name_and_two_folders_of_one_name_are_one() -> None:
    requests = [request(), request(project="-other-root-app"), request(project="-nameless")]
    names = {"-srv-app": "/srv/app", "-other-root-app": "/srv/app"}
    assert keys("project", *requests, names=names) == ["/srv/app", "-nameless"]


def test_rows_add_up_to_the_total_whatever_they_are_grouped_by() -> None:
    requests = [
        request(f"2026-{month:02}-{day:02}T10:00:00+00:00", model=model, session=str(day), cost_pico=cost, fast=fast)
        for month in (1, 11)
        for day in (1, 15)
        for model in ("claude-opus-5-5", "claude-haiku-4-5-20251001", "claude-unheard-of")
        for cost in (None, 123_456_789)
        for fast in (False, True)
    ]
    total = tally.total(fold(requests), PRICES)
    for by in GROUPINGS:
        whole, rows = tally.added_up(fold(requests), by, PRICES)
        assert sum((row.totals for row in rows), Totals()) == whole == total
    assert total.messages == len(requests)
    assert total.cost_unknown_models == (
        "claude-haiku-4-5-20251001 (fast)",
        "claude-opus-5-5 (fast)",
        "claude-unheard-of",
        "claude-unheard-of (fast)",
    )


def test_a_cost_that_is_unknown_in_part_is_null_and_what_is_known_stands_beside_it() -> None:
    total = tally.total(fold([request(), request(model="claude-unheard-of")]), PRICES).as_dict()
    assert total["cost_usd"] is None
    assert total["cost_unknown_models"] == ["claude-unheard-of"]
    assert total["cost_known_usd"] == (10 * 4 + 5 * 20) / 1e6


def test_each_request_costs_what_was_valid_at_its_time() -> None:
    whole = {
        "model": "claude-opus-4-6",
        "input_tokens": 10**6,
        "output_tokens": 0,
    }  # a long context
    early = request("2026-03-12T23:59:59.999+00:00", **whole)
    late = request("2026-03-13T00:00:00+00:00", **whole)
    assert tally.total(fold([early, late, late]), PRICES).cost_usd == 10 + 5 + 5
    assert tally.total(fold([request(None, **whole)]), PRICES).cost_usd is None


def test_no_tokens_cost_nothing_whatever_the_model() -> None:
    total = tally.total(fold([request(model="claude-unheard-of", input_tokens=0, output_tokens=0)]), PRICES)
    assert (total.cost_usd, total.cost_unknown_models) == (0, ())


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, [0, 1, 2]),
        ({"since": date(2026, 11, 24)}, [1]),
        ({"until": date(2026, 11, 24)}, [0, 1]),
        ({"since": date(2026, 11, 23), "until": date(2026, 11, 23)}, [0]),
        ({"since": datetime(2026, 11, 24, 10, tzinfo=timezone.utc)}, [1]),
        ({"since": datetime(2026, 11, 24, 10, 0, 1, tzinfo=timezone.utc)}, []),
        ({"until": datetime(2026, 11, 24, 10, tzinfo=timezone.utc)}, [0, 1]),
        ({"model": "claude-opus-5-5"}, [0]),
        ({"model": "claude-haiku-4-5"}, [1]),
        ({"model": "claude-haiku-4-5-20251001"}, [1]),
        ({"model": "claude-haiku"}, []),
        ({"model": "*haiku*"}, [1]),
        ({"model": "claude-sonnet-4-5[1m]"}, [2]),
        ({"project": "/srv/app"}, [0, 1]),
        ({"project": "app"}, [0, 1]),
        ({"project": "-srv-app"}, [0, 1]),
        ({"project": "/srv/*"}, [0, 1]),
        ({"project": "ap"}, []),
        ({"project": UNKNOWN}, [2]),
    ],
)
def test_filters(query: dict[str, Any], found: list[int]) -> None:
    requests = [
        request("2026-11-23T10:00:00+00:00"),
        request(model="claude-haiku-4-5-20251001"),
        request(None, model="claude-sonnet-4-5[1m]", project=UNKNOWN),
    ]
    asked = UsageQuery(tz=timezone.utc, **query)
    exactly = tally.within(requests, asked)
    timeless = replace(asked, since=None, until=None)
    of_time = [fold([one]) for one in requests if tally.chosen(fold(exactly), timeless, NAMES).keys() & fold([one])]
    assert of_time == [fold([requests[place]]) for place in found]
    if not tally.needs_requests(asked):
        chosen = tally.chosen(fold(requests), asked, NAMES)
        assert chosen == fold(requests[place] for place in found)


def test_a_span_that_ends_within_a_quarter_of_an_hour_needs_the_requests_themselves() -> None:
    assert not tally.needs_requests(UsageQuery(since=date(2026, 11, 24), until=date(2026, 11, 24), tz=BERLIN))
    assert not tally.needs_requests(UsageQuery(since=datetime(2026, 11, 24, 10, 15, tzinfo=KATHMANDU)))
    assert tally.needs_requests(UsageQuery(since=datetime(2026, 11, 24, 10, 16, tzinfo=timezone.utc)))
    assert tally.needs_requests(UsageQuery(until=datetime(2026, 11, 24, 10, 15, tzinfo=timezone.utc)))  # inclusive


def test_groups_add_up_and_keep_the_first_and_the_last_moment() -> None:
    requests = [
        request("2026-11-24T10:14:59.999+00:00"), request("2026-11-24T10:00:00+00:00"), request(None),
        request("2026-11-24T10:15:00+00:00"), request("2026-11-24T10:07:00+00:00", input_tokens=199_990, cache_read=10),
        request("2026-11-24T10:07:00+00:00", input_tokens=199_990, cache_read=11),
    ]  # fmt: skip
    whole = fold(requests)
    parts = fold(requests[:2])
    merge(parts, fold(requests[2:]).items())
    assert parts == whole
    assert messages_of(whole) == len(requests)
    span = at("2026-11-24T10:00:00+00:00"), at("2026-11-24T10:15:00+00:00")
    assert times_of(whole, CALENDAR[0], CALENDAR[-1]) == Times(span, none=1)
    assert [key.long for key in whole] == [False, False, False, True]
    assert times_of(fold([request(None)]), CALENDAR[0], CALENDAR[-1]) == Times(none=1)


FIRST, LAST = "2026-11-24T10:00:00+00:00", "2026-11-24T10:29:59.999+00:00"
BEFORE, AFTER = "2026-11-24T09:59:59.999+00:00", "2026-11-24T10:30:00+00:00"
OUT_OF_EVERY_CALENDAR = ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00")


@pytest.mark.parametrize(
    ("moments", "span", "odd"),
    [
        ((), None, (0, 0, 0)),
        ((FIRST, LAST), (FIRST, LAST), (0, 0, 0)),
        ((BEFORE, BEFORE, FIRST, LAST, AFTER), (FIRST, LAST), (2, 1, 0)),
        ((BEFORE, AFTER, None), (BEFORE, AFTER), (1, 1, 1)),
        ((*OUT_OF_EVERY_CALENDAR, None, FIRST), (FIRST, FIRST), (1, 1, 1)),
        ((*OUT_OF_EVERY_CALENDAR, BEFORE), (BEFORE, BEFORE), (2, 1, 0)),
        (OUT_OF_EVERY_CALENDAR, None, (1, 1, 0)),
    ],
)
def test_the_span_is_of_times_that_can_be_if_there_are_any(
    moments: tuple[str | None, ...], span: tuple[str, str] | None, odd: tuple[int, int, int]
) -> None:
    found = times_of(fold(map(request, moments)), at(FIRST) // QUARTER_HOUR, at(LAST) // QUARTER_HOUR)
    assert found == Times(None if span is None else (at(span[0]), at(span[1])), *odd)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-24", date(2026, 11, 24)),
        (" 2026-11-24 ", date(2026, 11, 24)),
        ("2026-11-24T10:00:00Z", NOW),
        ("2026-11-24T11:00:00+01:00", NOW),
        ("2026-11-24T11:00", NOW),  # of the zone that was asked for
        ("36h", NOW - timedelta(hours=36)),
        ("0d", date(2026, 11, 24)),
        ("7d", date(2026, 11, 17)),
        ("2w", date(2026, 11, 10)),
        ("today", date(2026, 11, 24)),
        ("yesterday", date(2026, 11, 23)),
    ],
)
def test_moments(text: str, moment: date | datetime) -> None:
    assert parse_moment(text, field="since", now=NOW, tz=BERLIN) == moment


@pytest.mark.parametrize(
    ("text", "minutes"), [("+02:00", 120), ("-0330", -210), ("+5", 300), ("+05:45", 345), ("UTC", 0)]
)
def test_a_zone_by_its_offset(text: str, minutes: int) -> None:
    zone = parse_zone(text)
    assert zone is not None
    assert zone.utcoffset(None) == timedelta(minutes=minutes)


def test_a_day_begins_at_midnight_of_the_zone_also_when_the_clock_is_put_back() -> None:
    day = date(2026, 10, 25)
    assert end_of(day, BERLIN) - begin_of(day, BERLIN) == 25 * 3_600_000
    assert begin_of(day, BERLIN) == at("2026-10-24T22:00:00+00:00")


@pytest.mark.parametrize(
    ("field", "word"),
    [
        ("since", "tomorrow"),
        ("since", "7"),
        ("until", "2026-13-01"),
        ("until", "999999w"),
        ("since", "2026-11-24T25:00:00Z"),
        ("by", "hour"),
        ("source", "file"),
        ("tz", "Europe/Nowhere"),
        ("tz", "../../etc/passwd"),
        ("tz", "Europe"),
        ("tz", "+25"),
        ("tz", "+02:07"),
    ],
)
def test_a_bad_word_is_an_error_that_names_its_field_and_says_what_to_type(field: str, word: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(**{field: word}, now=NOW)  # type: ignore[arg-type]
    assert caught.value.field == field
    assert word in caught.value.message
    assert caught.value.hint
    assert caught.value.exit_code == 2


def test_since_after_until_is_an_error_and_the_same_day_is_not() -> None:
    assert parse(since="2026-11-24", until="2026-11-24", now=NOW).since == date(2026, 11, 24)
    with pytest.raises(UsageError, match="later than"):
        parse(since="2026-11-25", until="2026-11-24", now=NOW)


def test_words_not_given_are_the_defaults() -> None:
    assert parse(by="", since=None, until="", model="", source=None, tz="local") == UsageQuery()


def test_the_extremes_of_the_calendar_are_moments_too() -> None:
    for zone in (BERLIN, timezone.utc, None):
        assert begin_of(date.min, zone) < begin_of(date(1970, 1, 2), zone) < end_of(date.max, zone)


def test_a_reading_is_the_document_of_the_contract() -> None:
    total = Totals(2, 203, 83, 400, 6000, Decimal("0.005972"))
    reading = Reading("files", rfc3339(NOW), False, "no store", Coverage(files=1, lines=29), total, "day")
    document = reading.as_dict()
    assert {"source", "as_of", "stale", "reason", "coverage", "total", "by", "rows"} <= set(document)
    assert {"files", "lines", "skipped_lines", "first", "last"} <= set(document["coverage"])
    assert document["as_of"] == "2026-11-24T10:00:00Z"
    assert document["total"] == {
        "messages": 2,
        "input_tokens": 203,
        "output_tokens": 83,
        "cache_creation_tokens": 400,
        "cache_read_tokens": 6000,
        "cost_usd": 0.005972,
        "cost_unknown_models": [],
        "cost_known_usd": 0.005972,
    }
