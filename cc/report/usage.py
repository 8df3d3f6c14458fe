"""`usage` for people: totals first, then the days as a line, the table, and where the numbers come from."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone, tzinfo
from decimal import Decimal
from itertools import chain

from cc.dashboard.chart import chart
from cc.dashboard.text import short
from cc.report.console import painted
from cc.report.printable import one_line
from cc.report.screen import Screen
from cc.report.table import columns_of, table, wrapped
from cc.report.usage_explained import explained_text
from cc.usage.model import OF_TIME, Coverage, Reading, Row, Totals, UsageQuery
from cc.usage.query import day_of
from cc.usage.words import not_used, odd_times, plural

HEADERS = ("requests", "input", "output", "cache write", "cache read", "cost USD")
SPARE = (1, 4, 5, 2, 3)
"""What a narrow terminal gives up, one after the other; the cost stays."""
ROWS_SHOWN = 40
"""On a terminal, unless more are asked for."""
LEAST_BAR, MOST_BAR = 8, 40


def usage_text(
    reading: Reading,
    query: UsageQuery,
    now: datetime,
    screen: Screen,
    *,
    limit: int | None = None,
    by_day: Sequence[Row] = (),
    explain: bool = False,
) -> str:
    """The text. A cost that is not known is a dash, and its models are named.

    `explain`: which source knew what. `limit` is how many rows are shown, the rest being added up in one; 0: all.
    `by_day` are the days that are drawn.
    """
    if limit is None:
        limit = 0 if screen.width is None else ROWS_SHOWN
    parts = [_totals(reading.total, screen), _days(by_day, query, now, screen)]
    if reading.rows:
        parts.append(_table(reading, screen, limit))
    if explain:
        parts.append([explained_text(reading.coverage, screen.width)])
    parts.append(list(chain.from_iterable(_active(row, screen, query.tz) for row in reading.rows)))
    parts.append(list(chain.from_iterable(_wrapped(one_line(line), screen) for line in provenance(reading))))
    return screen.text("\n\n".join("\n".join(part) for part in parts if part))


def _totals(total: Totals, screen: Screen) -> list[str]:
    cost = "cost unknown" if total.cost_usd is None else f"{_money(total.cost_usd)} USD"
    lines = _listed([plural(total.messages, "request"), plural(total.tokens, "token"), cost], screen)
    if screen.colour:
        lines = [painted("hint", line) for line in lines]
    lines += _listed([f"{name} {count}" for name, count in zip(HEADERS[1:5], _cells(total)[1:5], strict=True)], screen)
    if total.cost_unknown_models:
        models = ", ".join(total.cost_unknown_models)
        rest = f"; the rest cost {_money(total.cost_known_usd)} USD" if total.cost_known_usd else ""
        lines += _wrapped(one_line(f"no price is known for: {models}{rest}"), screen)
    return lines


def _listed(numbers: Sequence[str], screen: Screen) -> list[str]:
    """Numbers and their names, between which no line ends."""
    together = ", ".join(each.replace(" ", "\u00a0") for each in numbers)
    return [line.replace("\u00a0", " ") for line in _wrapped(together, screen)]


def _days(by_day: Sequence[Row], query: UsageQuery, now: datetime, screen: Screen) -> list[str]:
    """The last days as a line; nothing where it does not fit, or where there is but one day to show."""
    edges = {"since": day_of(query.since, query.tz), "until": day_of(query.until, query.tz)}
    days = chart(by_day, now.astimezone(query.tz).date(), **edges)
    shares = [bar.height / 100 for bar in days.bars] if days else []
    line = f"|{screen.sparkline(shares)}|"
    if days is None or screen.width is None or len(line) > screen.width or sum(share > 0 for share in shares) < 2:
        return []
    said = one_line(days.summary if days.note is None else f"{days.summary} {days.note}")
    if len(line) + 2 + len(said) <= screen.width:
        return [f"{line}  {said}"]
    return [line, *_wrapped(said, screen)]


def _table(reading: Reading, screen: Screen, limit: int) -> list[str]:
    by = reading.by or ""
    rows, rest = _split(reading.rows, limit, latest=by in OF_TIME)
    keys = [row.key + ("*" if row.block is not None and row.block.now is not None else "") for row in rows]
    cells: dict[bool, list[tuple[str, ...]]] = {
        brief: [(key, *_cells(row.totals, brief=brief)) for key, row in zip(keys, rows, strict=True)]
        for brief in (False, True)
    }
    bars = _shares([row.totals for row in rows])
    if rest:
        added = sum((row.totals for row in rest), Totals())
        place = 0 if by in OF_TIME else len(rows)
        label = f"{len(rest):,} {'earlier' if by in OF_TIME else 'more'}"
        for brief, lines in cells.items():
            lines.insert(place, (label, *_cells(added, brief=brief)))
        bars.insert(place, 0.0)
    return _drawn((by, *HEADERS), cells, bars, screen)


def _split(rows: Sequence[Row], limit: int, *, latest: bool) -> tuple[Sequence[Row], Sequence[Row]]:
    """What is shown, and what is not: of times the earlier ones, of all else the smaller ones."""
    if not limit or len(rows) <= limit:
        return rows, ()
    return (rows[-limit:], rows[:-limit]) if latest else (rows[:limit], rows[limit:])


def _shares(shown: Sequence[Totals]) -> list[float]:
    """Of the highest: in cost if that of each is known, else in tokens."""
    costs = all(totals.cost_usd is not None for totals in shown) and any(totals.cost_usd for totals in shown)
    values = [float(totals.cost_usd or 0) if costs else float(totals.tokens) for totals in shown]
    highest = max(values) or 1.0
    return [value / highest for value in values]


def _drawn(
    headers: tuple[str, ...], cells: dict[bool, list[tuple[str, ...]]], bars: Sequence[float], screen: Screen
) -> list[str]:
    """The best that fits: whole numbers and bars, short numbers and bars, the same without; then keys give way, and at
    last columns.
    """
    right = range(1, len(headers))
    if screen.width is None:
        return table(headers, cells[False], right=right).split("\n")
    for bar in (LEAST_BAR + 2, 0):
        for lines in cells.values():
            room = screen.width - bar
            text = table(headers, lines, right=right, width=room).split("\n")
            if max(map(columns_of, text)) <= room and not any("…" in line for line in text):
                return _with_bars(text, bars, screen) if bar else text
    return table(headers, cells[True], right=right, width=screen.width, spare=SPARE).split("\n")


def _with_bars(text: list[str], bars: Sequence[float], screen: Screen) -> list[str]:
    width = max(map(columns_of, text))
    most = min((screen.width or 0) - width - 2, MOST_BAR)
    above = len(text) - len(bars)
    drawn = [screen.bar(share, most) for share in bars]
    if screen.colour:
        drawn = [painted("ok", bar) if bar else "" for bar in drawn]
    padded = [line + " " * (width - columns_of(line)) for line in text[above:]]
    rows = [f"{line}  {bar}".rstrip() for line, bar in zip(padded, drawn, strict=True)]
    return [*text[:above], *rows]


def _active(row: Row, screen: Screen, tz: tzinfo | None) -> list[str]:
    """What is known of the active block, and where it leads."""
    block = row.block
    if block is None or block.now is None:
        return []
    until = datetime.fromtimestamp(block.end / 1000, timezone.utc).astimezone(tz)
    left = (block.end - block.now) // 60_000
    said = f"* active until {until:%H:%M}, {left // 60} h {left % 60:02} min from now"
    led = block.projected(row.totals)
    if led is not None:
        rate, cost = f"{led.tokens_per_minute:,} tokens a minute", f"{short(led.tokens)} tokens"
        if led.cost_per_hour is not None:
            rate, cost = f"{rate} and {_money(led.cost_per_hour)} USD an hour", f"{cost} and {_money(led.cost_usd)} USD"
        said += f"; so far {rate}; if it goes on so (a projection), {cost} by then"
    return _wrapped(said, screen)


def _wrapped(line: str, screen: Screen) -> list[str]:
    return wrapped(line, screen.width)


def _cells(totals: Totals, *, brief: bool = False) -> tuple[str, ...]:
    count = short if brief else "{:,}".format
    cost = totals.cost_usd
    return (
        count(totals.messages),
        count(totals.input_tokens),
        count(totals.output_tokens),
        count(totals.cache_creation_tokens),
        count(totals.cache_read_tokens),
        f"{cost:,.0f}" if brief and cost is not None and cost >= 10_000 else _money(cost),
    )


def _money(cost: Decimal | None) -> str:
    """To the cent; below a cent to the micro-dollar, so that little is not shown as nothing."""
    if cost is None:
        return "-"
    if cost >= Decimal("0.01") or not cost:
        return f"{cost:,.2f}"
    return f"{cost:.6f}" if cost >= Decimal("0.000001") else "<0.000001"


def provenance(reading: Reading) -> list[str]:
    """Where the numbers come from, and what could not be read."""
    coverage = reading.coverage
    united = ", united with session files" if reading.source in ("clickhouse", "cache") and coverage.files else ""
    stale = ", stale" if reading.stale else ""
    reason = f" ({reading.reason})" if reading.reason else ""
    degraded = ", degraded" if reading.degraded else ""
    lines = [f"source: {reading.source}{stale}{degraded}, as of {reading.as_of}{reason}{united}"]
    span = " to ".join(dict.fromkeys(filter(None, (coverage.first, coverage.last))))
    held = [plural(coverage.files, "file"), plural(coverage.lines, "line"), *([span] if span else [])]
    lines.append(f"coverage: {', '.join(held)}")
    odd = odd_times(coverage.before_2020, coverage.in_the_future, coverage.timeless)
    lines += [] if odd is None else [f"times: {odd}"]
    lines += _compared(coverage)
    if reading.prices_as_of and reading.total.messages:
        own = f" and {reading.prices_own} over it" if reading.prices_own else ""
        lines.append(f"prices: the list of {reading.prices_as_of}{own}, where the client itself put no cost")
    lines += not_used(coverage.skipped_by_kind, coverage.unreadable)
    lines += reading.notes
    return lines


def _compared(coverage: Coverage) -> list[str]:
    """Of the sources with each other, and of what is counted with what the clients themselves say."""
    lines = []
    if coverage.in_both or coverage.only_telemetry:
        requests = plural(coverage.in_both, "request")
        alone = f"{coverage.only_telemetry:,} only there, {coverage.only_files:,} only in files"
        added = plural(coverage.output_tokens_added, "output token")
        lines.append(f"telemetry: {requests} in both, {alone}; its final numbers added {added}")
    sessions, differ = coverage.client_totals.get("sessions", 0), coverage.client_totals.get("differ", ())
    if sessions:
        said = f"clients state the cost of {plural(sessions, 'session')}: "
        if not differ:
            said += "as counted"
        for one in differ[:1]:
            client, counted = _stated(one["client_usd"]), _stated(one["counted_usd"])
            said += (
                f"{len(differ):,} other than counted, most of all {one['session']} ({client} said, {counted} counted)"
            )
        lines.append(said)
    return lines


def _stated(cost: float | None) -> str:
    return "unknown" if cost is None else f"{_money(Decimal(str(cost)))} USD"
