"""The days as bars. Pure: geometry and words, no markup.

A bar is a cost if every day's cost is known, else a number of tokens: a bar that left out what has no price would show
a cheap day that never was.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

from cc.dashboard import text
from cc.usage.model import Row, Totals
from cc.usage.words import plural

if TYPE_CHECKING:
    from collections.abc import Sequence

DAYS = 30
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
STEP = 10
"""The width of one day, in units of the drawing; its height is 100."""
LOWEST = 1.0
"""A day with anything in it must be seen, next to however large a one."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One day; `height` 0 draws nothing. Units of the drawing."""

    x: int
    y: float
    height: float
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """`top` is what a bar of full height stands for. `note` is what the bars leave out, or None."""

    title: str
    period: str
    summary: str
    top: str
    labels: tuple[str, ...]
    bars: tuple[Bar, ...]
    note: str | None

    @property
    def width(self) -> int:
        return STEP * len(self.bars)

    @property
    def inset(self) -> float:
        """What stays free on each side of a bar: more of it where the days are few and wide."""
        return 1.5 if len(self.bars) > 14 else 3.0

    @property
    def bar_width(self) -> float:
        return STEP - 2 * self.inset


def chart(rows: Sequence[Row], today: date, *, since: date | None = None, until: date | None = None) -> Chart | None:
    """The last 30 days, fewer if `since` says so; if nothing is in them, the 30 days up to the last with anything.

    None if no day is known at all. Rows whose key is no day (`unknown`) are left out: the coverage tells of them.
    """
    by_day = _days(rows)
    if not by_day:
        return None
    last = min(today, until) if until else today
    first = max(_first_of(last), since) if since else _first_of(last)
    earlier = not any(first <= day <= last for day in by_day)
    if earlier:
        last = max((day for day in by_day if day <= last), default=max(by_day))
        first = _first_of(last)
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    shown = [by_day.get(day, Totals()) for day in days]
    costs = all(totals.cost_usd is not None for totals in shown) and any(totals.cost_usd for totals in shown)
    values = [float(totals.cost_usd or 0) if costs else float(totals.tokens) for totals in shown]
    highest = max(values) or 1.0
    peak = days[values.index(max(values))]
    top = text.money(highest) if costs else f"{text.short(round(highest))} tokens"
    what = "Cost" if costs else "Tokens"
    period = f"{day_name(first)} – {day_name(last)} {last.year}"
    return Chart(
        title=f"{what} by day",
        period=period,
        summary=f"{what} by day, {period}. The highest: {top} on {day_name(peak)}.",
        top=top,
        labels=tuple(day_name(day) for day in dict.fromkeys((days[0], days[len(days) // 2], days[-1]))),
        bars=tuple(
            _bar(number, value / highest, f"{day_name(day)}: {_said(totals)}")
            for number, (day, value, totals) in enumerate(zip(days, values, shown, strict=True))
        ),
        note=_note(shown, costs=costs, earlier=earlier),
    )


def _first_of(last: date) -> date:
    """Of as many days as are drawn; fewer in the year 1, which has none before it."""
    return date.fromordinal(max(last.toordinal() - DAYS + 1, 1))


def day_name(day: date) -> str:
    """24 Nov: without the locale's doing, and without the year, which the period says."""
    return f"{day.day} {MONTHS[day.month - 1]}"


def _days(rows: Sequence[Row]) -> dict[date, Totals]:
    by_day: dict[date, Totals] = {}
    for row in rows:
        day = as_day(row.key)
        if day is not None:
            by_day[day] = by_day.get(day, Totals()) + row.totals
    return by_day


def as_day(key: str) -> date | None:
    """The day that a row's key names."""
    try:
        return date.fromisoformat(key)
    except ValueError:
        return None


def _bar(number: int, share: float, said: str) -> Bar:
    height = max(round(share * 100, 2), LOWEST) if share > 0 else 0.0
    return Bar(x=number * STEP, y=round(100 - height, 2), height=height, text=said)


def _said(totals: Totals) -> str:
    if not totals.messages:
        return "nothing"
    cost = "cost unknown" if totals.cost_usd is None else text.money(float(totals.cost_usd))
    return f"{cost}, {text.count(totals.tokens)} tokens, {plural(totals.messages, 'request')}"


def _note(shown: Sequence[Totals], *, costs: bool, earlier: bool) -> str | None:
    said = (
        [f"Nothing in the last {DAYS} days; these are the {DAYS} up to the last day with a request."] if earlier else []
    )
    unpriced = sorted({model for totals in shown for model in totals.cost_unknown_models})
    if not costs and unpriced:
        said.append(f"Tokens and not cost, because the price of {text.listed(unpriced)} is unknown.")
    return " ".join(said) or None
