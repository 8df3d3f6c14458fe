"""What is said of numbers, in tables: no server, no file."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from cc.dashboard import text, views
from cc.dashboard.asked import answers_to
from cc.dashboard.chart import chart
from cc.dashboard.identity import Identity, identity
from cc.usage.model import Attempt, Coverage, Reading, Row, Totals, UsageQuery

EVERYWHERE = "0.0.0.0"  # noqa: S104 - compared with, never bound
NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=timezone.utc)
TODAY = NOW.date()


def totals(cost: str | None = "1.00", *, tokens: int = 100, unknown: tuple[str, ...] = (), known: str = "0") -> Totals:
    if cost is None:
        return Totals(1, tokens, 0, 0, 0, None, unknown, Decimal(known))
    return Totals(1, tokens, 0, 0, 0, Decimal(cost))


def reading(
    *rows: Row,
    source: str = "files",
    reason: str | None = None,
    coverage: Coverage | None = None,
    tried: tuple[Attempt, ...] = (),
    notes: tuple[str, ...] = (),
) -> Reading:
    return Reading(
        source=source,  # type: ignore[arg-type]
        as_of="2026-11-24T11:59:57Z",
        stale=source == "cache",
        reason=reason,
        coverage=coverage or Coverage(files=2, lines=30, first="2026-02-03T08:00:00Z", last="2026-11-24T10:00:00Z"),
        total=sum((row.totals for row in rows), Totals()),
        rows=rows,
        degraded=bool(tried or (coverage and coverage.unreadable)),
        tried=tried,
        notes=notes,
    )


def page_of(one: Reading, asked: dict[str, str] | None = None) -> views.Page:
    query = UsageQuery(tz=timezone.utc)
    return views.page(views.Readings(one, one, one), query, asked or {}, Identity("p"), now=NOW)


@pytest.mark.parametrize(
    ("usd", "said"),
    [
        (None, "—"),
        (0.0, "$0.00"),
        (0.0001, "< $0.01"),
        (0.005, "$0.01"),
        (3.4461295, "$3.45"),
        (1234567.891, "$1,234,567.89"),
    ],
)
def test_money_is_said_to_the_cent_and_a_little_is_not_nothing(usd: float | None, said: str) -> None:
    assert text.money(usd) == said


@pytest.mark.parametrize(
    ("number", "said"),
    [(0, "0"), (999, "999"), (1000, "1.0 k"), (9949, "9.9 k"), (9960, "10 k"), (1234567, "1.2 M"), (10**13, "10 T")],
)
def test_a_number_is_short_where_there_is_little_room(number: int, said: str) -> None:
    assert text.short(number) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "just now"),
        (3, "3 s ago"),
        (59.4, "59 s ago"),
        (60, "1 min ago"),
        (3599, "59 min ago"),
        (3600, "1 h ago"),
        (47 * 3600, "47 h ago"),
        (49 * 3600, "2 days ago"),
        (-1, "just now"),
        (-60, "in the future by this machine's clock"),
    ],
)
def test_an_age_is_said_in_one_unit(seconds: float, said: str) -> None:
    assert text.age(NOW - timedelta(seconds=seconds), NOW) == said


@pytest.mark.parametrize(
    ("given", "note", "rest"),
    [
        (totals("1.00"), None, None),
        (totals(None, unknown=("x",)), "unknown model: x", None),
        (totals(None, unknown=("x", "y"), known="2.5"), "unknown models: x, y", "the rest $2.50"),
        (totals(None, unknown=tuple("abcdef")), "unknown models: a, b, c, d and 2 more", None),
        (totals(None), "cost unknown", None),
    ],
)
def test_an_unknown_cost_comes_with_its_reason(given: Totals, note: str | None, rest: str | None) -> None:
    assert (views.cost_note(given), views.cost_rest(given)) == (note, rest)


@pytest.mark.parametrize(
    ("header", "bound", "answered"),
    [
        (None, "127.0.0.1", True),
        ("localhost", "127.0.0.1", True),
        ("LocalHost:8110", "127.0.0.1", True),
        ("127.0.0.1:1", None, True),
        ("[::1]:8110", "127.0.0.1", True),
        ("::1", "127.0.0.1", False),
        ("box.lan:8110", "box.lan", True),
        ("box.lan:8110", "127.0.0.1", False),
        ("localhost.evil.example", "127.0.0.1", False),
        ("localhost:8110:evil", "127.0.0.1", False),
        ("localhost:8110@evil.example", "127.0.0.1", False),
        ("[localhost]", "127.0.0.1", False),
        ("[::1", "127.0.0.1", False),
        ("[::1]evil.example", "127.0.0.1", False),
        ("192.168.1.7:8110", EVERYWHERE, True),
        ("[fe80::1]:8110", "::", True),
        ("evil.example", EVERYWHERE, False),
        ("192.168.1.7", "127.0.0.1", False),
        ("0.0.0.0:8110", "127.0.0.1", False),
        ("", "127.0.0.1", False),
        ("", "", False),
    ],
)
def test_only_names_that_no_stranger_can_own_are_answered(
    header: str | None, bound: str | None, answered: bool
) -> None:
    assert answers_to(header, bound) is answered


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, Identity("of-settings")),
        ({"CC_OWNER": "p:1", "CC_DASHBOARD_BOUND": "[::1]:8110"}, Identity("p", "p:1", "[::1]:8110")),
        ({"CC_OWNER": "no-colon", "CC_DASHBOARD_SERVER": "flask"}, Identity("of-settings", "no-colon", None, "flask")),
    ],
)
def test_the_identity_is_what_the_environment_says(environ: dict[str, str], expected: Identity) -> None:
    assert identity(environ, "of-settings") == expected


@pytest.mark.parametrize(
    ("bound", "host"),
    [
        ("127.0.0.1:8110", "127.0.0.1"),
        ("[::1]:8110", "::1"),
        ("Box.Lan:80", "box.lan"),
        (f"{EVERYWHERE}:1", EVERYWHERE),
        (None, None),
    ],
)
def test_the_bound_host_is_without_port_and_brackets(bound: str | None, host: str | None) -> None:
    assert Identity("p", bound=bound).bound_host == host


def test_the_chart_is_thirty_days_up_to_today_with_the_empty_ones() -> None:
    drawn = chart([Row("2026-11-24", totals("2.00")), Row("2026-11-20", totals("0.50"))], TODAY)
    assert drawn is not None
    assert len(drawn.bars) == 30
    assert drawn.title == "Cost by day"
    assert drawn.top == "$2.00"
    assert drawn.period == "26 Oct – 24 Nov 2026"
    assert drawn.labels == ("26 Oct", "10 Nov", "24 Nov")
    assert [bar.height for bar in drawn.bars if bar.height] == [25.0, 100.0]
    assert drawn.bars[0].text == "26 Oct: nothing"
    assert drawn.bars[-1].text == "24 Nov: $2.00, 100 tokens, 1 request"
    assert drawn.note is None


def test_the_chart_turns_to_tokens_where_a_cost_is_unknown_and_says_why() -> None:
    drawn = chart(
        [Row("2026-11-24", totals(None, tokens=400, unknown=("x",))), Row("2026-11-23", totals("9", tokens=100))], TODAY
    )
    assert drawn is not None
    assert (drawn.title, drawn.top) == ("Tokens by day", "400 tokens")
    assert drawn.bars[-2].height == 25.0
    assert drawn.note == "Tokens and not cost, because the price of x is unknown."


def test_a_tiny_day_is_seen_next_to_a_huge_one() -> None:
    drawn = chart([Row("2026-11-24", totals("100000")), Row("2026-11-23", totals("0.01"))], TODAY)
    assert drawn is not None
    assert drawn.bars[-2].height == 1.0


def test_the_chart_goes_back_to_where_there_is_something() -> None:
    drawn = chart([Row("2025-06-10", totals())], TODAY)
    assert drawn is not None
    assert drawn.period == "12 May – 10 Jun 2025"
    assert drawn.note is not None
    assert drawn.note.startswith("Nothing in the last 30 days")


@pytest.mark.parametrize(
    ("day", "until", "bars"), [(date.min, None, 1), (date(1, 1, 5), date(1, 1, 9), 9), (date.max, None, 30)]
)
def test_a_day_at_the_end_of_the_calendar_is_drawn_too(day: date, until: date | None, bars: int) -> None:
    drawn = chart([Row(day.isoformat(), totals())], TODAY, until=until)
    assert drawn is not None
    assert (len(drawn.bars), sum(bar.height for bar in drawn.bars)) == (bars, 100.0)


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
@pytest.mark.parametrize("hours", [-5, 2])
def test_a_page_bears_a_row_that_a_zone_leads_out_of_the_calendar(at: str, hours: int) -> None:
    one = reading(Row(at[:10], totals()), coverage=Coverage(files=1, first=at, last=at))
    moment = datetime.fromisoformat(at.replace("Z", "+00:00"))
    query = UsageQuery(tz=timezone(timedelta(hours=hours)), since=moment, until=moment)
    shown = views.page(views.Readings(one, one, one), query, {}, Identity("p"), now=NOW)
    assert shown.coverage.endswith("1 Jan 1" if at.startswith("0001") else "31 Dec 9999")


@pytest.mark.parametrize(
    ("since", "until", "bars"),
    [(date(2026, 11, 18), None, 7), (None, date(2026, 11, 22), 30), (date(2020, 1, 1), None, 30), (TODAY, TODAY, 1)],
)
def test_the_chart_shows_no_day_that_was_not_asked_for(since: date | None, until: date | None, bars: int) -> None:
    day = until or TODAY
    drawn = chart([Row(day.isoformat(), totals())], TODAY, since=since, until=until)
    assert drawn is not None
    assert len(drawn.bars) == bars
    assert drawn.bars[-1].height == 100.0


def test_messages_without_a_time_are_on_no_day() -> None:
    assert chart([Row("unknown", totals())], TODAY) is None
    drawn = chart([Row("2026-11-24", totals()), Row("unknown", totals())], TODAY)
    assert drawn is not None
    assert [bar.height for bar in drawn.bars if bar.height] == [100.0]
    assert drawn.note is None


def test_a_chart_of_free_messages_is_one_of_tokens() -> None:
    drawn = chart([Row("2026-11-24", totals("0"))], TODAY)
    assert drawn is not None
    assert drawn.top == "100 tokens"


@pytest.mark.parametrize(
    ("coverage", "said"),
    [
        (Coverage(), "0 files, 0 lines"),
        (Coverage(files=1, lines=1), "1 file, 1 line"),
        (
            Coverage(files=1200, lines=34567, first="2026-02-03T08:00:00Z", last="2026-11-24T10:00:00.123Z"),
            "1,200 files, 34,567 lines · 3 Feb 2026 – 24 Nov 2026",
        ),
        (Coverage(only_telemetry=2, in_both=3), "0 files, 0 lines · 5 requests from telemetry"),
        (
            Coverage(files=1, lines=2, first="2026-02-03T08:00:00Z", last="2026-02-03T09:00:00Z"),
            "1 file, 2 lines · 3 Feb 2026",
        ),
        (Coverage(first="junk", last="junk"), "0 files, 0 lines"),
    ],
)
def test_the_coverage_is_one_line(coverage: Coverage, said: str) -> None:
    assert views.coverage_text(coverage, timezone.utc) == said


def test_days_are_those_of_the_zone_that_was_asked_for() -> None:
    late = "2026-11-23T23:30:00Z"
    east = timezone(timedelta(hours=1))
    assert views.coverage_text(Coverage(first=late, last=late), east).endswith("24 Nov 2026")
    assert views.coverage_text(Coverage(first=late, last=late), timezone.utc).endswith("23 Nov 2026")
    one = reading(Row("2026-11-24", totals()))
    since = datetime(2026, 11, 23, 23, 30, tzinfo=timezone.utc)
    shown = views.page(
        views.Readings(one, one, one), UsageQuery(since=since, tz=east), {"since": "x"}, Identity("p"), now=NOW
    )
    assert shown.chart is not None
    assert len(shown.chart.bars) == 1


@pytest.mark.parametrize(
    ("source", "files", "label"),
    [
        ("clickhouse", 3, "ClickHouse + session files"),
        ("clickhouse", 0, "ClickHouse"),
        ("cache", 3, "cached answer + session files"),
        ("files", 3, "session files"),
        ("empty", 0, "no data"),
    ],
)
def test_the_badge_names_every_source_that_contributed(source: str, files: int, label: str) -> None:
    assert views.source_label(reading(source=source, coverage=Coverage(files=files))) == label


def test_what_is_less_than_it_could_be_is_said() -> None:
    shown = page_of(
        reading(
            Row("2026-11-24", totals()),
            source="cache",
            reason="the store is gone",
            tried=(Attempt(0, "clickhouse", "connection_refused", "the store is gone"),),
            coverage=Coverage(
                skipped_lines=3,
                skipped_by_kind={"not_json": 2, "cut": 1},
                unreadable=(("/x", "permission denied"),),
                before_2020=1,
            ),
            notes=("the cache could not be written",),
        )
    )
    assert shown.stale
    assert shown.as_of == views.Moment("2026-11-24T11:59:57Z", "3 s ago")
    assert shown.warnings == (
        "the store is gone. To see what runs and why not, type: context-cleaner status",
        "Could not read /x (permission denied).",
    )
    assert shown.notes == (
        "the cache could not be written",
        "1 request is dated before 2020: that is wrong, and it is counted under that date.",
        "3 lines skipped, in whole or in part: 1 cut, 2 not json.",
    )


def test_a_filter_that_leaves_nothing_is_no_lack_of_sessions_also_where_none_has_a_time() -> None:
    for held in (
        Coverage(files=1, timeless=1),
        Coverage(files=1, first="2026-11-24T10:00:00Z", last="2026-11-24T10:00:00Z"),
    ):
        nothing = page_of(reading(coverage=held), {"since": "6d"}).nothing
        assert nothing is not None
        assert nothing.title == "No request matches"


def test_where_files_alone_are_unread_nobody_is_sent_to_the_stacks_status() -> None:
    shown = page_of(
        reading(source="empty", reason="no session file can be read", coverage=Coverage(unreadable=(("/x", "gone"),)))
    )
    assert shown.warnings == ("no session file can be read", "Could not read /x (gone).")


def test_a_calm_page_warns_of_nothing() -> None:
    shown = page_of(reading(Row("2026-11-24", totals()), source="clickhouse"))
    assert (shown.warnings, shown.notes, shown.stale, shown.nothing) == ((), (), False, None)


def test_the_many_small_rows_become_one_and_nothing_is_lost() -> None:
    shown = page_of(reading(*(Row(f"row {number}", totals("1.00")) for number in range(45))))
    assert len(shown.models) == 41
    assert (shown.models[-1].key, shown.models[-1].cost) == ("5 models more", "$5.00")
    assert shown.projects[-1].key == "5 projects more"
    assert shown.models[-1].link is None
    assert shown.models[0].share == pytest.approx(100 / 45, abs=0.01)


def test_links_keep_what_was_asked_and_change_one_thing() -> None:
    shown = page_of(reading(Row("a&b=c", totals())), {"since": "6d", "project": "p"})
    assert [(period.label, period.link, period.current) for period in shown.periods] == [
        ("7 days", "/?since=6d&project=p", True),
        ("30 days", "/?since=29d&project=p", False),
        ("All", "/?project=p", False),
    ]
    assert shown.models[0].link == "/?since=6d&project=p&model=a%26b%3Dc"
    assert shown.projects[0].link is None
    assert [(one.name, one.value, one.without) for one in shown.filters] == [("project", "p", "/?since=6d")]
    assert shown.json_link == "/api/usage?since=6d&project=p&by=day"
