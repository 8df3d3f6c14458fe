"""Requests become totals and rows: pure. Imports model, prices, query, request.

Keys: day 2026-11-24, week 2026-W48 (ISO), month 2026-11, in the query's time zone; model as its writer called it;
project as its working directory; session id. What is not known has the key `unknown`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timezone, tzinfo
from decimal import Decimal
from fnmatch import fnmatchcase
from operator import attrgetter

from cc.usage.model import By, Row, Totals, UsageQuery
from cc.usage.prices import Prices, canonical
from cc.usage.query import begin_of, end_of
from cc.usage.request import UNKNOWN, Request

QUARTER_HOUR = 900_000
"""In milliseconds: every zone's offset is a multiple of it, so all moments of one have the same day."""


def chosen(requests: Iterable[Request], query: UsageQuery, names: Mapping[str, str]) -> list[Request]:
    """Those that the query asks for. A request without a time is in no span of time.

    `model` is a model's name as written, its listed name or a shell pattern of either; `project` a working directory,
    its last part, the folder of the session files, or a pattern of one.
    """
    found = requests
    if query.since is not None or query.until is not None:
        first = begin_of(query.since, query.tz) if query.since is not None else None
        after = end_of(query.until, query.tz) if query.until is not None else None
        found = [
            request
            for request in found
            if request.at_ms is not None
            and (first is None or request.at_ms >= first)
            and (after is None or request.at_ms < after)
        ]
    if query.model is not None:
        wanted = _matcher(query.model, lambda model: (model, canonical(model)))
        found = [request for request in found if wanted(request.model)]
    if query.project is not None:
        wanted = _matcher(query.project, lambda folder: _called(folder, names))
        found = [request for request in found if wanted(request.project)]
    return list(found)


def grouped(
    requests: Iterable[Request], by: By, prices: Prices, tz: tzinfo | None, names: Mapping[str, str]
) -> tuple[Row, ...]:
    """One row a key. Times ascend; all else is sorted by cost, then by tokens, the most first."""
    sums = _Sums(prices)
    key_of = _key(by, tz, names)
    for request in requests:
        sums.add(key_of(request), request)
    rows = [Row(key, totals) for key, totals in sums.totals().items()]
    if by in ("day", "week", "month"):
        return tuple(sorted(rows, key=lambda row: (row.key == UNKNOWN, row.key)))
    return tuple(sorted(rows, key=lambda row: (-row.totals.cost_known_usd, -row.totals.tokens, row.key)))


def total(requests: Iterable[Request], prices: Prices) -> Totals:
    """All of it in one."""
    sums = _Sums(prices)
    for request in requests:
        sums.add("", request)
    return sums.totals().get("", Totals())


class _Sums:
    """Tokens are summed per model first and priced once: cost is linear, and the requests are many."""

    def __init__(self, prices: Prices) -> None:
        self._prices = prices
        self._sums: dict[tuple[str, str, bool, bool], list[int]] = {}

    def add(self, key: str, request: Request) -> None:
        cost = request.cost_pico
        place = (key, request.model, request.fast, cost is not None)
        sums = self._sums.get(place)
        if sums is None:
            sums = self._sums[place] = [0, 0, 0, 0, 0, 0, 0]
        sums[0] += 1
        sums[1] += request.input_tokens
        sums[2] += request.output_tokens
        sums[3] += request.cache_write_5m
        sums[4] += request.cache_write_1h
        sums[5] += request.cache_read
        sums[6] += cost or 0

    def totals(self) -> dict[str, Totals]:
        found: dict[str, Totals] = {}
        for (key, model, fast, has_cost), sums in self._sums.items():
            cost = sums[6] if has_cost else self._prices.cost_pico(model, tuple(sums[1:6]), fast=fast)
            unknown = () if cost is not None else (f"{model} (fast)" if fast else model,)
            known = Decimal(cost or 0).scaleb(-12)
            part = Totals(
                sums[0], sums[1], sums[2], sums[3] + sums[4], sums[5], None if cost is None else known, unknown, known
            )
            found[key] = found[key] + part if key in found else part
        return found


def _key(by: By, tz: tzinfo | None, names: Mapping[str, str]) -> Callable[[Request], str]:
    if by == "model":
        return attrgetter("model")
    if by == "session":
        return attrgetter("session")
    if by == "project":
        return lambda request: names.get(request.project, request.project)
    known: dict[int, str] = {}
    write = {"day": _day, "week": _week, "month": _month}[by]

    def key(request: Request) -> str:
        if request.at_ms is None:
            return UNKNOWN
        quarter = request.at_ms // QUARTER_HOUR
        found = known.get(quarter)
        if found is None:
            found = known[quarter] = write(quarter * QUARTER_HOUR // 1000, tz)
        return found

    return key


def _local(seconds: int, tz: tzinfo | None) -> datetime | None:
    try:
        return datetime.fromtimestamp(seconds, timezone.utc).astimezone(tz)
    except (OverflowError, ValueError, OSError):  # the years 1 and 9999 have neighbours that no calendar has
        return None


def _day(seconds: int, tz: tzinfo | None) -> str:
    moment = _local(seconds, tz)
    return moment.strftime("%Y-%m-%d") if moment else UNKNOWN


def _week(seconds: int, tz: tzinfo | None) -> str:
    moment = _local(seconds, tz)
    if moment is None:
        return UNKNOWN
    year, week, _ = moment.isocalendar()
    return f"{year}-W{week:02}"


def _month(seconds: int, tz: tzinfo | None) -> str:
    moment = _local(seconds, tz)
    return moment.strftime("%Y-%m") if moment else UNKNOWN


def _matcher(wanted: str, names_of: Callable[[str], tuple[str, ...]]) -> Callable[[str], bool]:
    """Is one of the names of this thing the wanted one? Remembered: there are many requests and few names."""
    pattern = any(letter in wanted for letter in "*?[") and not wanted.endswith("]")
    known: dict[str, bool] = {}

    def matches(name: str) -> bool:
        found = known.get(name)
        if found is None:
            names = names_of(name)
            found = known[name] = wanted in names or (pattern and any(fnmatchcase(one, wanted) for one in names))
        return found

    return matches


def _called(folder: str, names: Mapping[str, str]) -> tuple[str, ...]:
    readable = names.get(folder, folder)
    return (readable, readable.rstrip("/").rpartition("/")[2], folder)
