"""Five-hour blocks: where they begin, which is active, and where that leads."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from cc.usage import prices, tally
from cc.usage.blocks import Blocks
from cc.usage.groups import fold
from cc.usage.model import Block, Row, Totals, UsageQuery
from cc.usage.request import UNKNOWN, Request

UTC = timezone.utc
KOLKATA = ZoneInfo("Asia/Kolkata")  # half an hour beside the others: a full hour there is none of UTC


def at(moment: str) -> int:
    return round(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp() * 1000)


def request(when: str | None, **more: Any) -> Request:
    whole = Request(
        "m", "r", "claude-opus-5-5", at(when) if when else None, "s", "p", 10, 5, 0, 0, 0, None, False, False
    )
    return whole._replace(**more)


def rows(*requests: Request, now: str = "2030-01-01T00:00", tz: tzinfo = UTC) -> tuple[Row, ...]:
    groups = fold(requests)
    return tally.added_up(groups, "block", prices.load(), tz, {}, Blocks(groups, at(now)))[1]


@pytest.mark.parametrize(
    ("moments", "keys"),
    [
        ([], []),
        (["2026-11-24T10:59:59.999"], ["2026-11-24T10:00"]),
        (["2026-11-24T10:40", "2026-11-24T14:59:59.999"], ["2026-11-24T10:00"]),
        (["2026-11-24T10:40", "2026-11-24T15:00"], ["2026-11-24T10:00", "2026-11-24T15:00"]),
        (["2026-11-24T10:40", "2026-11-24T17:20"], ["2026-11-24T10:00", "2026-11-24T17:00"]),
        # the block that follows begins with its own first request, not with the end of the one before
        (["2026-11-24T10:40", "2026-11-24T16:10", "2026-11-24T20:59"], ["2026-11-24T10:00", "2026-11-24T16:00"]),
        (["2026-11-24T22:30", "2026-11-25T02:30"], ["2026-11-24T22:00"]),
        (["1970-01-01T00:00", "2026-11-24T10:40", "2099-12-31T23:59"],
         ["1970-01-01T00:00", "2026-11-24T10:00", "2099-12-31T23:00"]),
        (["2026-11-24T10:40", None], ["2026-11-24T10:00", UNKNOWN]),
    ],
)  # fmt: skip
def test_blocks_begin_with_the_hour_of_their_first_request(moments: list[str | None], keys: list[str]) -> None:
    for order in (moments, moments[::-1]):
        assert [row.key for row in rows(*map(request, order))] == keys
    assert sum(row.totals.messages for row in rows(*map(request, moments))) == len(moments)


def test_the_hour_is_one_of_utc_and_the_key_the_time_of_the_zone() -> None:
    (row,) = rows(request("2026-11-24T10:40"), request("2026-11-24T14:50"), tz=KOLKATA)
    assert row.key == "2026-11-24T15:30"
    assert row.as_dict(of_blocks=True)["start"] == "2026-11-24T10:00:00Z"
    assert row.as_dict(of_blocks=True)["end"] == "2026-11-24T15:00:00Z"


def test_a_block_is_the_same_whatever_part_of_it_is_asked_for() -> None:
    """A limit counts every model: filtered, a block must not begin with the first request that is left."""
    requests = [request("2026-11-24T10:40"), request("2026-11-24T13:10", model="claude-haiku-4-5")]
    groups = fold(requests)
    haiku = tally.chosen(groups, UsageQuery(model="claude-haiku-4-5"), {})
    _, (row,) = tally.added_up(haiku, "block", prices.load(), UTC, {}, Blocks(groups, 0))
    assert (row.key, row.totals.messages) == ("2026-11-24T10:00", 1)


@pytest.mark.parametrize(
    ("now", "active"),
    [
        ("2026-11-24T10:39", [True, False]), ("2026-11-24T14:59:59.999", [True, False]),
        ("2026-11-24T15:00", [False, False]), ("2026-11-25T12:00", [False, True]), ("2026-11-25T15:00", [False, False]),
        ("2026-11-24T09:59", [False, False]),
    ],
)  # fmt: skip
def test_active_is_the_block_that_has_begun_and_is_not_over(now: str, active: list[bool]) -> None:
    found = rows(request("2026-11-24T10:40"), request("2026-11-25T10:40"), now=now)
    assert [row.as_dict(of_blocks=True)["active"] for row in found] == active
    assert [row.as_dict(of_blocks=True)["projection"] is not None for row in found] == [
        each and now != "2026-11-24T10:39" for each in active
    ]


def block(now: timedelta | None) -> Block:
    start = at("2026-11-24T10:00")
    first = at("2026-11-24T10:30")
    return Block(
        start, start + 5 * 3_600_000, first, None if now is None else first + round(now.total_seconds() * 1000)
    )


@pytest.mark.parametrize("age", [None, timedelta(seconds=59), timedelta(hours=-1)])
def test_nothing_is_projected_for_a_block_that_is_over_or_too_young(age: timedelta | None) -> None:
    assert block(age).projected(Totals(1, 600)) is None


def test_a_projection_goes_on_as_it_went_since_the_first_request() -> None:
    led = block(timedelta(minutes=90)).projected(Totals(3, 9000, cost_usd=Decimal("1.5")))
    assert led is not None
    assert led.as_dict() == {
        "tokens_per_minute": 100, "cost_usd_per_hour": 1.0, "total_tokens": 9000 + 180 * 100, "cost_usd": 4.5,
    }  # fmt: skip


def test_of_an_unknown_cost_no_cost_is_projected() -> None:
    led = block(timedelta(minutes=90)).projected(Totals(3, 9000, cost_usd=None))
    assert led is not None
    assert (led.cost_usd, led.cost_per_hour, led.tokens) == (None, None, 27_000)


def test_what_is_in_no_block_has_the_fields_of_one_all_the_same() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    (row,) = rows(request(None), request("9999-12-31T23:30"), tz=berlin)  # a time that the zone's calendar has not
    told = row.as_dict(of_blocks=True)
    assert (row.key, row.totals.messages) == (UNKNOWN, 2)
    assert [told[name] for name in ("start", "end", "active", "projection")] == [None, None, False, None]
