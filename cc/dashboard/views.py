"""From readings to what the page says. Pure: the time and the places looked in are handed in; no markup.

    Readings(day, model, project) + what was asked ─> Page ─> templates/page.html

Nothing is invented: what is unknown, stale, partial or skipped has a sentence of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from cc import __version__
from cc.dashboard import text
from cc.dashboard.chart import Chart, chart, day_name
from cc.usage.model import Coverage, Reading, Row, Totals
from cc.usage.query import day_of
from cc.usage.words import kinds, odd_times, plural

if TYPE_CHECKING:
    from cc.dashboard.identity import Identity
    from cc.usage.model import UsageQuery

LABELS = {"clickhouse": "ClickHouse", "cache": "cached answer", "files": "session files", "empty": "no data"}
PERIODS = (("7 days", "6d"), ("30 days", "29d"), ("All", ""))
"""`since=6d` begins six days before today: seven days with today, which is what the label says."""
ROWS_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Readings:
    """One look at the sources, grouped in three ways."""

    day: Reading
    model: Reading
    project: Reading


@dataclass(frozen=True, slots=True)
class Place:
    """Where numbers were looked for, and what was there."""

    where: str
    found: str


@dataclass(frozen=True, slots=True)
class Figures:
    """One row. `share` is a percentage of all rows, None where no bar is drawn; `link` leads to that row alone."""

    key: str
    messages: str
    input: str
    output: str
    cache_write: str
    cache_read: str
    cost: str
    cost_note: str | None
    cost_rest: str | None
    share: float | None = None
    link: str | None = None


@dataclass(frozen=True, slots=True)
class Period:
    label: str
    link: str
    current: bool


@dataclass(frozen=True, slots=True)
class Filter:
    name: str
    value: str
    without: str


@dataclass(frozen=True, slots=True)
class Moment:
    exact: str
    age: str


@dataclass(frozen=True, slots=True)
class Nothing:
    """What is shown instead of numbers where there are none."""

    title: str
    looked_in: tuple[Place, ...]
    advice: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True)
class Page:
    """All that the template puts in place. `warnings` are why this is less than it could be, `notes` what to know."""

    title: str
    project: str
    version: str
    served: str
    source: str
    source_label: str
    as_of: Moment | None
    stale: bool
    coverage: str
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    periods: tuple[Period, ...]
    filters: tuple[Filter, ...]
    nothing: Nothing | None
    total: Figures
    chart: Chart | None
    days: tuple[Figures, ...]
    models: tuple[Figures, ...]
    projects: tuple[Figures, ...]
    share_of: str
    json_link: str


def page(
    readings: Readings,
    query: UsageQuery,
    asked: Mapping[str, str],
    me: Identity,
    *,
    now: datetime,
    places: Sequence[Place] = (),
) -> Page:
    """The page. `asked` is the words of the query string, which links keep; `now` knows its zone."""
    reading = readings.day
    total = _figures(Row("", reading.total))
    return Page(
        title=f"{total.cost} · Tokens and cost" if reading.total.messages else "Tokens and cost",
        project=me.project,
        version=__version__,
        served=" ".join(part for part in (me.server, f"on {me.bound}" if me.bound else "") if part),
        source=reading.source,
        source_label=source_label(reading),
        as_of=_moment(reading.as_of, now),
        stale=reading.stale,
        coverage=coverage_text(reading.coverage, query.tz),
        warnings=_warnings(reading),
        notes=_notes(reading),
        periods=tuple(
            Period(label, link(asked, {"since": since}), asked.get("since", "") == since) for label, since in PERIODS
        ),
        filters=_filters(asked),
        nothing=None if reading.total.messages else _nothing(reading, query, asked, places),
        total=total,
        chart=chart(
            readings.day.rows,
            now.astimezone(query.tz).date(),
            since=day_of(query.since, query.tz),
            until=day_of(query.until, query.tz),
        ),
        days=tuple(_figures(row) for row in reversed(readings.day.rows)),
        models=_table(readings.model, asked, "model"),
        projects=_table(readings.project, asked, "project"),
        share_of="bars: share of the cost" if _has_cost(reading.total) else "bars: share of the tokens",
        json_link=link(asked, {"by": "day"}, "/api/usage"),
    )


def source_label(reading: Reading) -> str:
    """The badge: the best source, and the files beside it where they were united with it."""
    label = LABELS.get(reading.source, reading.source)
    united = reading.source in ("clickhouse", "cache") and reading.coverage.files
    return f"{label} + session files" if united else label


def coverage_text(coverage: Coverage, tz: tzinfo | None) -> str:
    """14 files, 1,234 lines · 3 Feb 2026 – 24 Nov 2026. The days are those of `tz`."""
    said = [f"{plural(coverage.files, 'file')}, {plural(coverage.lines, 'line')}"]
    if coverage.only_telemetry or coverage.in_both:
        said.append(plural(coverage.only_telemetry + coverage.in_both, "request") + " from telemetry")
    days = [day_of(_moment_of(moment), tz) for moment in (coverage.first, coverage.last)]
    first, last = (f"{day_name(day)} {day.year}" if day else "" for day in days)
    if first and last:
        said.append(first if first == last else f"{first} – {last}")
    return " · ".join(said)


def cost_note(totals: Totals) -> str | None:
    """Why there is a dash where the cost should be."""
    models = totals.cost_unknown_models
    if models:
        return f"unknown model{'s' if len(models) > 1 else ''}: {text.listed(models)}"
    return None if totals.cost_usd is not None else "cost unknown"


def cost_rest(totals: Totals) -> str | None:
    """What is known of a cost that is not known as a whole."""
    if totals.cost_usd is not None or totals.cost_known_usd <= 0:
        return None
    return f"the rest {text.money(float(totals.cost_known_usd))}"


def link(asked: Mapping[str, str], changes: Mapping[str, str], path: str = "/") -> str:
    """The address that asks the same with these changes; an empty word leaves one out."""
    words = {name: word for name, word in {**asked, **changes}.items() if word}
    return f"{path}?{urlencode(words)}" if words else path


def _figures(row: Row, *, share: float | None = None, link: str | None = None) -> Figures:
    totals = row.totals
    return Figures(
        key=row.key,
        messages=text.count(totals.messages),
        input=text.count(totals.input_tokens),
        output=text.count(totals.output_tokens),
        cache_write=text.count(totals.cache_creation_tokens),
        cache_read=text.count(totals.cache_read_tokens),
        cost=text.money(None if totals.cost_usd is None else float(totals.cost_usd)),
        cost_note=cost_note(totals),
        cost_rest=cost_rest(totals),
        share=share,
        link=link,
    )


def _table(reading: Reading, asked: Mapping[str, str], name: str) -> tuple[Figures, ...]:
    """The largest rows, the many small ones as one. Shares are of the cost, or of the tokens if one cost is unknown."""
    costs = _has_cost(reading.total)
    whole = float(reading.total.cost_usd or 0) if costs else float(reading.total.tokens)
    shown = [
        _figures(
            row,
            share=_share(float(row.totals.cost_usd or 0) if costs else float(row.totals.tokens), whole),
            link=None if name in asked else link(asked, {name: row.key}),
        )
        for row in reading.rows[:ROWS_SHOWN]
    ]
    rest = reading.rows[ROWS_SHOWN:]
    if rest:
        label = plural(len(rest), f"{name} more", f"{name}s more")
        shown.append(_figures(Row(label, sum((row.totals for row in rest), Totals()))))
    return tuple(shown)


def _has_cost(total: Totals) -> bool:
    return total.cost_usd is not None and total.cost_usd > 0


def _share(part: float, whole: float) -> float:
    return round(100 * part / whole, 2) if whole else 0.0


def _warnings(reading: Reading) -> tuple[str, ...]:
    said = [reading.reason] if reading.reason else []
    if reading.tried:
        said[-1:] = [f"{said[-1]}. To see what runs and why not, type: context-cleaner status"] if said else []
    unreadable = reading.coverage.unreadable
    if unreadable:
        named = [f"{path} ({why})" for path, why in unreadable]
        said.append(f"Could not read {text.listed(named)}.")
    return tuple(said)


def _notes(reading: Reading) -> tuple[str, ...]:
    coverage = reading.coverage
    said = list(reading.notes)
    odd = odd_times(coverage.before_2020, coverage.in_the_future, coverage.timeless)
    if odd is not None:
        said.append(f"{odd[0].upper()}{odd[1:]}.")
    if coverage.skipped_lines:
        told = f": {kinds(coverage.skipped_by_kind)}"
        said.append(f"{plural(coverage.skipped_lines, 'line')} skipped, in whole or in part{told}.")
    if coverage.output_tokens_added:
        added = plural(coverage.output_tokens_added, "output token")
        said.append(f"Telemetry's final numbers added {added} to what the files say.")
    return tuple(said)


def _filters(asked: Mapping[str, str]) -> tuple[Filter, ...]:
    known = {since for _, since in PERIODS}
    return tuple(
        Filter(name, word, link(asked, {name: ""}))
        for name, word in asked.items()
        if word and not (name == "since" and word in known)
    )


def _nothing(reading: Reading, query: UsageQuery, asked: Mapping[str, str], places: Sequence[Place]) -> Nothing:
    if any(asked.values()) and (reading.coverage.last is not None or reading.coverage.timeless):
        held = coverage_text(reading.coverage, query.tz)
        return Nothing("No request matches", (), ((f"The sources hold {held}. Remove a filter to see them.", None),))
    return Nothing(
        "No sessions found yet",
        tuple(places),
        (
            ("Claude Code writes its sessions there as you work, and this page fills by itself.", None),
            ("If yours lie elsewhere, set before the start:", "CLAUDE_CONFIG_DIR"),
            ("To have Claude Code's telemetry here as well:", 'eval "$(context-cleaner env)"'),
        ),
    )


def _moment(moment: str, now: datetime) -> Moment | None:
    then = _moment_of(moment)
    return Moment(moment, text.age(then, now)) if then else None


def _moment_of(moment: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(moment.replace("Z", "+00:00")) if moment else None
    except ValueError:
        return None
