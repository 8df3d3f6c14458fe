"""`usage` as people read it: on a terminal of any width, and in a pipe."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from cc.report.printable import ESCAPES
from cc.report.screen import Screen
from cc.report.table import columns_of
from cc.report.usage import usage_text
from cc.usage.explain import Explained
from cc.usage.model import Block, Coverage, Reading, Row, Totals, UsageQuery

NOW = datetime(2026, 11, 24, 10, 0, tzinfo=timezone.utc)
PIPE = Screen()
HOUR = timedelta(hours=1)


def totals(cost: str | None = "0", **more: Any) -> Totals:
    return Totals(1200, 1000, 200, 30, 4_000_000, None if cost is None else Decimal(cost), **more)


def reading(total: Totals | None = None, **more: Any) -> Reading:
    given = {
        "source": "files", "as_of": "2026-11-24T10:00:00Z", "stale": False, "reason": None, "by": "day",
        "coverage": Coverage(files=3, lines=1234), "total": total or totals(), **more,
    }  # fmt: skip
    return Reading(**given)


def shown(given: Reading, screen: Screen = PIPE, query: UsageQuery | None = None, **more: Any) -> str:
    return usage_text(given, query or UsageQuery(tz=timezone.utc), NOW, screen, **more)


def days(*numbers: int, cost: str = "1") -> tuple[Row, ...]:
    return tuple(Row((date(2026, 11, 24) - timedelta(number)).isoformat(), totals(cost)) for number in numbers)


def test_the_totals_come_first_then_the_rows_then_where_they_come_from() -> None:
    rows = (Row("2026-11-23", totals("1")), Row("2026-11-24", totals("2")))
    assert shown(reading(totals("3"), rows=rows)).splitlines() == [
        "1,200 requests, 4,001,230 tokens, 3.00 USD",
        "input 1,000, output 200, cache write 30, cache read 4,000,000",
        "",
        "day           requests    input    output    cache write    cache read    cost USD",
        "----------  ----------  -------  --------  -------------  ------------  ----------",
        "2026-11-23       1,200    1,000       200             30     4,000,000        1.00",
        "2026-11-24       1,200    1,000       200             30     4,000,000        2.00",
        "",
        "source: files, as of 2026-11-24T10:00:00Z",
        "coverage: 3 files, 1,234 lines",
    ]


def test_without_rows_there_is_no_table() -> None:
    empty = reading(Totals(), coverage=Coverage(), source="empty", reason="no session files under /x")
    assert shown(empty).splitlines() == [
        "0 requests, 0 tokens, 0.00 USD",
        "input 0, output 0, cache write 0, cache read 0",
        "",
        "source: empty, as of 2026-11-24T10:00:00Z (no session files under /x)",
        "coverage: 0 files, 0 lines",
    ]


@pytest.mark.parametrize(
    ("cost", "said"),
    [
        (None, "-"), ("0", "0.00"), ("0.01", "0.01"), ("1234.567", "1,234.57"), ("0.0099", "0.009900"),
        ("0.000001", "0.000001"), ("0.00000008", "<0.000001"),
    ],
)  # fmt: skip
def test_money_is_said_to_the_cent_little_of_it_finer_and_none_known_as_a_dash(cost: str | None, said: str) -> None:
    row = shown(reading(rows=(Row("x", totals(cost)),))).splitlines()[5]
    assert row.split() == ["x", "1,200", "1,000", "200", "30", "4,000,000", said]


def test_models_without_a_price_are_named_with_what_the_rest_cost() -> None:
    text = shown(reading(totals(None, cost_unknown_models=("x", "y"), cost_known_usd=Decimal("1.5"))))
    assert text.splitlines()[0] == "1,200 requests, 4,001,230 tokens, cost unknown"
    assert "no price is known for: x, y; the rest cost 1.50 USD" in text.splitlines()


def test_of_a_cost_that_is_unknown_as_a_whole_there_is_no_rest() -> None:
    text = shown(reading(totals(None, cost_unknown_models=("x",))))
    assert text.splitlines()[2] == "no price is known for: x"


def test_a_span_of_one_moment_is_that_moment() -> None:
    moment = "2026-11-24T10:00:00Z"
    text = shown(reading(coverage=Coverage(files=1, lines=1, first=moment, last=moment)))
    assert text.splitlines()[-1] == f"coverage: 1 file, 1 line, {moment}"


def test_where_the_numbers_come_from_and_what_could_not_be_read_is_said() -> None:
    coverage = Coverage(
        files=3, lines=1234, skipped_lines=5, skipped_by_kind={"cut": 4, "not_json": 1},
        unreadable=(("/a\x1b[2J", "Permission denied"),), first="2026-01-01T00:00:00Z", last="2026-02-01T00:00:00Z",
    )  # fmt: skip
    more = {"coverage": coverage, "notes": ("note",), "prices_as_of": "2026-11-23", "prices_own": "/home/prices.json"}
    text = shown(reading(source="cache", stale=True, reason="ClickHouse is down", **more))
    assert text.split("\n\n")[-1].splitlines() == [
        "source: cache, stale, as of 2026-11-24T10:00:00Z (ClickHouse is down), united with session files",
        "coverage: 3 files, 1,234 lines, 2026-01-01T00:00:00Z to 2026-02-01T00:00:00Z",
        "prices: the list of 2026-11-23 and /home/prices.json over it, where the client itself put no cost",
        "skipped: 5 lines, in whole or in part (4 cut, 1 not json)",
        "not read: /a\ufffd[2J: Permission denied",
        "note",
    ]


def test_of_very_many_that_could_not_be_read_the_first_are_named_and_all_are_counted() -> None:
    unreadable = tuple((f"/{number}", "permission denied") for number in range(1500))
    lines = shown(reading(coverage=Coverage(unreadable=unreadable))).split("\n\n")[-1].splitlines()
    assert lines[2:] == [*(f"not read: /{n}: permission denied" for n in range(10)),
                         "not read: 1,490 more, which --json names"]  # fmt: skip


def compared(**more: Any) -> list[str]:
    return shown(reading(coverage=Coverage(**more))).split("\n\n")[-1].splitlines()[2:]


def test_what_telemetry_and_files_tell_of_each_other_is_said() -> None:
    assert compared(only_files=5, only_telemetry=3, in_both=1200, output_tokens_added=1) == [
        "telemetry: 1,200 requests in both, 3 only there, 5 only in files; its final numbers added 1 output token"
    ]
    assert compared(only_files=5) == []


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        ((1, 0, 0), "1 request is dated before 2020: that is wrong, and it is counted under that date"),
        ((0, 1200, 0), "1,200 requests are dated in the future: that is wrong, and they are counted under those dates"),
        ((0, 0, 2), "2 requests have no usable time: they are on no day (`unknown`) and in no span of time"),
    ],
)
def test_times_that_cannot_be_are_told_of(odd: tuple[int, int, int], said: str) -> None:
    before, future, timeless = odd
    assert compared(before_2020=before, in_the_future=future, timeless=timeless) == [f"times: {said}"]


@pytest.mark.parametrize(
    ("differ", "said"),
    [
        ([], "as counted"),
        (
            [{"session": "s1", "client_usd": 1.25, "counted_usd": 0.005972}, {"session": "s2"}],
            "2 other than counted, most of all s1 (1.25 USD said, 0.005972 USD counted)",
        ),
        (
            [{"session": "s1", "client_usd": 1.25, "counted_usd": None}],
            "1 other than counted, most of all s1 (1.25 USD said, unknown counted)",
        ),
    ],
)
def test_what_clients_say_that_their_sessions_cost_is_held_against_what_is_counted(
    differ: list[dict[str, Any]], said: str
) -> None:
    found = compared(client_totals={"sessions": 3, "differ": differ})
    assert found == [f"clients state the cost of 3 sessions: {said}"]
    assert compared(client_totals={"sessions": 0, "differ": []}) == []


KEYS = (
    "2026-11-24", "0b5d1c3e-7d8e-4a9f-9c1b-2f3e4d5c6b7a", "\x1b[2J=cmd|\n", "/home/ada/" + "日本語" * 20,
    "/home/ada/a-very-long-directory-name/with/many/levels/of/nesting/project",
)  # fmt: skip


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("unicode", [True, False])
def test_everything_fits_the_terminal(width: int, key: str, unicode: bool) -> None:
    large = Totals(10**6, 10**9, 10**9, 10**10, 10**12, Decimal("123456.78"))
    differ = ({"session": "s" * 36, "client_usd": 1.5, "counted_usd": 123456.5},)
    known = Coverage(
        by_model=(Explained(key, 10**6, 10**6, 10**6, 10**9, 10**9 + 1),), client_totals={"differ": differ}
    )
    given = reading(
        large, rows=(Row(key, large), Row("b", totals("5"))), reason="one reason after another " * 9, coverage=known
    )
    text = shown(given, Screen(width, colour=True, unicode=unicode), by_day=days(0, 3), explain=True)
    plain = re.sub(ESCAPES, "", text)
    assert max(map(columns_of, plain.splitlines())) <= width
    assert "\x1b[2J" not in text
    assert plain.replace("\ufffd", "?").isascii() or unicode or not key.isascii()
    assert "1,012,000,000,000 tokens" in plain  # the totals are exact, whatever the table has room for


@pytest.mark.parametrize(("width", "cell", "bars"), [(60, "12 M", False), (80, "12 M", True), (90, "12,000,000", True)])
def test_narrow_tables_have_short_numbers_and_wide_ones_bars(width: int, cell: str, bars: bool) -> None:
    row = Row("2026-11-24", Totals(1200, 1_000_000, 12_000_000, 345_678, 987_654_321, Decimal("98.76")))
    line = shown(reading(rows=(row,)), Screen(width)).split("\n\n")[1].splitlines()[-1]
    assert cell in line
    assert ("█" in line) == bars


def test_bars_are_shares_of_the_highest_cost_or_of_tokens_where_a_cost_is_unknown() -> None:
    priced = (Row("a", totals("4")), Row("b", totals("1")), Row("c", totals("0")))
    assert [line.count("█") for line in shown(reading(rows=priced), Screen(120)).splitlines()[5:8]] == [40, 10, 0]
    unpriced = (Row("a", Totals(1, 4000, cost_usd=None)), Row("b", Totals(1, 2000, cost_usd=Decimal(9))))
    assert [line.count("█") for line in shown(reading(rows=unpriced), Screen(140)).splitlines()[5:7]] == [40, 20]


def test_a_pipe_gets_no_bars_no_line_of_days_and_every_row() -> None:
    rows = tuple(Row(f"s{number}", totals("1")) for number in range(5000))
    text = shown(reading(rows=rows, by="session"), by_day=days(0, 1))
    assert not set(text) & set("█▏▁|\x1b")
    assert "s4999" in text


@pytest.mark.parametrize(("limit", "left"), [(None, 40), (5, 5), (0, 100), (100, 100)])
def test_a_terminal_gets_the_largest_rows_and_the_rest_in_one(limit: int | None, left: int) -> None:
    rows = tuple(Row(f"s{number}", totals(str(100 - number))) for number in range(100))
    table = shown(reading(rows=rows, by="session"), Screen(120), limit=limit).split("\n\n")[1].splitlines()[2:]
    assert [line.split()[0] for line in table[:left]] == [f"s{number}" for number in range(left)]
    assert len(table) == left + (left < 100)
    if left < 100:
        rest = sum(100 - number for number in range(left, 100))
        words = table[-1].split()
        assert words[:2] == [str(100 - left), "more"]
        assert words[2:] == [f"{1200 * (100 - left):,}", f"{1000 * (100 - left):,}", f"{200 * (100 - left):,}",
                             f"{30 * (100 - left):,}", f"{4_000_000 * (100 - left):,}", f"{rest:,}.00"]  # fmt: skip


def test_of_times_the_latest_are_shown_and_the_earlier_in_one() -> None:
    table = shown(reading(rows=days(*range(99, -1, -1))), Screen(120), limit=2).split("\n\n")[1].splitlines()[2:]
    assert [line.split()[:2] for line in table] == [["98", "earlier"], ["2026-11-23", "1,200"], ["2026-11-24", "1,200"]]


def test_the_last_days_are_drawn_with_their_gaps_and_the_highest_named() -> None:
    rows = (*days(9, 8, cost="4"), *days(5, cost="8"), *days(0, cost="1"))
    text = shown(reading(rows=rows), Screen(120), UsageQuery(since=date(2026, 11, 14), tz=timezone.utc), by_day=rows)
    line = text.split("\n\n")[1]
    assert line == "| ▅▅  █    ▂|  Cost by day, 14 Nov – 24 Nov 2026. The highest: $8.00 on 19 Nov."


@pytest.mark.parametrize("numbers", [(), (0,), (0, 400)])
def test_one_day_in_sight_is_no_line(numbers: tuple[int, ...]) -> None:
    assert "|" not in shown(reading(rows=days(0)), Screen(120), by_day=days(*numbers))


def test_days_of_1970_and_2099_leave_the_line_at_today() -> None:
    odd = (Row("1970-01-01", totals("1")), *days(1, 0), Row("2099-12-31", totals("900")), Row("unknown", totals("1")))
    line = shown(reading(rows=odd), Screen(120), by_day=odd).split("\n\n")[1]
    assert line.startswith(f"|{' ' * 28}██|")
    assert "26 Oct – 24 Nov 2026" in line


def test_days_to_come_do_not_hide_those_before_the_last_month() -> None:
    odd = (*days(41, 40), Row("2099-12-31", totals("900")))
    text = shown(reading(rows=odd), Screen(120), by_day=odd).split("\n\n")[1]
    assert "16 Sep – 15 Oct 2026" in text
    assert "Nothing in the last 30 days" in text


def active(minutes: int) -> Row:
    start = NOW - timedelta(hours=2)
    return Row(
        "2026-11-24T08:00",
        Totals(2, 6000, cost_usd=Decimal(3)),
        Block(ms(start), ms(start + 5 * HOUR), ms(NOW - timedelta(minutes=minutes)), ms(NOW)),
    )


def ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def test_the_active_block_is_marked_and_where_it_leads_is_called_a_projection() -> None:
    text = shown(reading(rows=(active(60),), by="block"))
    assert "2026-11-24T08:00*" in text
    assert (
        "* active until 13:00, 3 h 00 min from now; so far 100 tokens a minute and 3.00 USD an hour; if it goes on so "
        "(a projection), 24 k tokens and 12.00 USD by then"
    ) in text.splitlines()


def test_of_a_block_that_has_just_begun_nothing_is_projected() -> None:
    assert "* active until 13:00, 3 h 00 min from now" in shown(reading(rows=(active(0),), by="block")).splitlines()


def test_colour_paints_the_totals_and_the_bars_and_nothing_else() -> None:
    given = reading(rows=days(1, 0))
    coloured = shown(given, Screen(120, colour=True))
    assert "\x1b[1m1,200 requests" in coloured
    assert "\x1b[32m█" in coloured
    assert re.sub(ESCAPES, "", coloured) == shown(given, Screen(120))
