"""Groups become totals and rows: pure. Imports blocks, groups, model, prices, query, request.

Keys: day 2026-11-24, week 2026-W48 (ISO), month 2026-11, a block's start 2026-11-24T10:00, in the query's time zone;
model as its writer called it; project as its working directory; session id. What is not known has the key `unknown`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timezone, tzinfo
from decimal import Decimal
from fnmatch import fnmatchcase

from cc.usage.blocks import Blocks
from cc.usage.groups import COST, FIRST, LAST, MESSAGES, QUARTER_HOUR, TOKENS, Group, Groups, messages_of
from cc.usage.model import OF_TIME, Block, By, Row, Totals, UsageQuery
from cc.usage.prices import ALWAYS, Prices, canonical
from cc.usage.query import begin_of, end_of
from cc.usage.request import UNKNOWN, Request


def needs_requests(query: UsageQuery) -> bool:
    """Whether its span of time begins or ends within a quarter of an hour, so that groups can't tell what is in it."""
    return any(edge is not None and edge % QUARTER_HOUR for edge in _span(query))


def within(requests: Iterable[Request], query: UsageQuery) -> list[Request]:
    """The requests of the query's span of time. One without a time is in no span."""
    first, after = _span(query)
    if first is None and after is None:
        return list(requests)
    return [
        request
        for request in requests
        if request.at_ms is not None
        and (first is None or request.at_ms >= first)
        and (after is None or request.at_ms < after)
    ]


def whole_within(groups: Groups, query: UsageQuery) -> tuple[Groups, int]:
    """The groups all of which is in the query's span of time, and how many requests are in those that are in it in
    part."""
    first, after = _span(query)
    least, most = ALWAYS if first is None else first, -ALWAYS if after is None else after
    timed = [(group, sums) for group, sums in groups.items() if group.quarter is not None]
    meeting = {group: sums for group, sums in timed if sums[FIRST] < most and sums[LAST] >= least}
    whole = {group: sums for group, sums in meeting.items() if sums[FIRST] >= least and sums[LAST] < most}
    return whole, messages_of(meeting) - messages_of(whole)


def _span(query: UsageQuery) -> tuple[int | None, int | None]:
    return (
        None if query.since is None else begin_of(query.since, query.tz),
        None if query.until is None else end_of(query.until, query.tz),
    )


def chosen(groups: Mapping[Group, list[int]], query: UsageQuery, names: Mapping[str, str]) -> Groups:
    """Those that the query asks for, whose span of time must be one of quarters (`needs_requests`).

    `model` is a model's name as written, its listed name or a shell pattern of either; `project` a working directory,
    its last part, the folder of the session files, or a pattern of one.
    """
    found = dict(groups)
    first, after = _span(query)
    if first is not None or after is not None:
        least = None if first is None else first // QUARTER_HOUR
        most = None if after is None else after // QUARTER_HOUR
        found = {
            key: sums
            for key, sums in found.items()
            if key.quarter is not None
            and (least is None or key.quarter >= least)
            and (most is None or key.quarter < most)
        }
    if query.model is not None:
        wanted = _matcher(query.model, lambda model: (model, canonical(model)))
        found = {key: sums for key, sums in found.items() if wanted(key.model)}
    if query.project is not None:
        wanted = _matcher(query.project, lambda folder: _called(folder, names))
        found = {key: sums for key, sums in found.items() if wanted(key.project)}
    return found


def grouped(
    groups: Mapping[Group, list[int]],
    by: By,
    prices: Prices,
    tz: tzinfo | None,
    names: Mapping[str, str],
    blocks: Blocks | None = None,
) -> tuple[Row, ...]:
    """One row a key. Times ascend; all else is sorted by cost, then by tokens, the most first.

    `blocks` are those of all requests, which these groups may be a part of; without them, those of these groups, at a
    time when none is active.
    """
    blocks = blocks or Blocks(groups if by == "block" else {}, -1)
    sums = _Sums(prices)
    key_of = _key(by, tz, names, blocks)
    found: dict[str, Block] = {}
    for group, numbers in groups.items():
        key = key_of(group)
        sums.add(key, group, numbers)
        if by == "block" and group.quarter is not None and key != UNKNOWN:
            found[key] = blocks.of(group.quarter)
    rows = [Row(key, totals, found.get(key)) for key, totals in sums.totals().items()]
    if by in OF_TIME:
        return tuple(sorted(rows, key=lambda row: (row.key == UNKNOWN, row.key)))
    return tuple(sorted(rows, key=lambda row: (-row.totals.cost_known_usd, -row.totals.tokens, row.key)))


def total(groups: Mapping[Group, list[int]], prices: Prices) -> Totals:
    """All of it in one."""
    sums = _Sums(prices)
    for group, numbers in groups.items():
        sums.add("", group, numbers)
    return sums.totals().get("", Totals())


class _Sums:
    """Tokens are summed per model, way of billing and period of prices first and priced once: cost is linear, and the
    groups are many.
    """

    def __init__(self, prices: Prices) -> None:
        self._prices = prices
        self._sums: dict[tuple[str, str, int | None, bool, bool, bool], list[int]] = {}
        self._since: dict[str, list[int]] = {}

    def add(self, key: str, group: Group, numbers: list[int]) -> None:
        at = self._period(group)
        place = (key, group.model, at, group.fast, group.long, group.priced)
        sums = self._sums.get(place)
        if sums is None:
            self._sums[place] = numbers[: COST + 1]
            return
        for at_place in range(COST + 1):
            sums[at_place] += numbers[at_place]

    def _period(self, group: Group) -> int | None:
        """When the prices began that are valid for this group; periods begin at midnight, never within a quarter."""
        if group.quarter is None:
            return None
        since = self._since.get(group.model)
        if since is None:
            since = self._since[group.model] = [ALWAYS, *(each.since for each in self._prices.periods(group.model))]
        return since[bisect_right(since, group.quarter * QUARTER_HOUR) - 1]

    def totals(self) -> dict[str, Totals]:
        found: dict[str, Totals] = {}
        for (key, model, at, fast, is_long, priced), sums in self._sums.items():
            tokens = tuple(sums[TOKENS])
            cost = sums[COST] if priced else self._prices.cost_pico(model, tokens, fast=fast, long=is_long, at_ms=at)
            unknown = () if cost is not None else (f"{model} (fast)" if fast else model,)
            known = Decimal(cost or 0).scaleb(-12)
            given, output, for_5m, for_hour, read = tokens
            part = Totals(
                sums[MESSAGES], given, output, for_5m + for_hour, read, None if cost is None else known, unknown, known
            )
            found[key] = found[key] + part if key in found else part
        return found


def _key(by: By, tz: tzinfo | None, names: Mapping[str, str], blocks: Blocks) -> Callable[[Group], str]:
    if by == "model":
        return lambda group: group.model
    if by == "session":
        return lambda group: group.session
    if by == "project":
        return lambda group: names.get(group.project, group.project)
    known: dict[int | None, str] = {None: UNKNOWN}

    def key(group: Group) -> str:
        found = known.get(group.quarter)
        if found is None:
            quarter = group.quarter or 0
            began = blocks.of(quarter).start if by == "block" else quarter * QUARTER_HOUR
            moment = _local(began // 1000, tz)
            found = known[group.quarter] = UNKNOWN if moment is None else _written(moment, by)
        return found

    return key


def _local(seconds: int, tz: tzinfo | None) -> datetime | None:
    try:
        return datetime.fromtimestamp(seconds, timezone.utc).astimezone(tz)
    except (OverflowError, ValueError, OSError):  # the years 1 and 9999 have neighbours that no calendar has
        return None


def _written(moment: datetime, by: By) -> str:
    """By isoformat, which writes four digits of every year, as strftime does not."""
    if by == "week":
        year, week, _ = moment.isocalendar()
        return f"{year:04}-W{week:02}"
    text = moment.isoformat(timespec="minutes")
    return text[: {"month": 7, "day": 10}.get(by, 16)]


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
