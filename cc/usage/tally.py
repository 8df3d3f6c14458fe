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
from functools import cache
from itertools import islice

from cc.usage.blocks import Blocks
from cc.usage.groups import COST, FIRST, LAST, MESSAGES, QUARTER_HOUR, TOKENS, Group, Groups, messages_of
from cc.usage.model import OF_TIME, Block, By, Row, Totals, UsageQuery
from cc.usage.prices import ALWAYS, Prices, canonical
from cc.usage.query import begin_of, end_of
from cc.usage.request import UNKNOWN, Request

NO_NAMES: Mapping[str, str] = {}
DAY = 86_400
"""Seconds."""
QUARTER = QUARTER_HOUR // 1000
"""Seconds."""
QUARTERS = DAY // QUARTER
"""In a day."""

_Place = tuple[str, str, int | None, bool, bool, bool]
"""Key, model, when its prices began to be valid, and the group's `fast`, `long` and `priced`."""


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


def total(groups: Mapping[Group, list[int]], prices: Prices) -> Totals:
    """All of it in one."""
    return added_up(groups, None, prices)[0]


def added_up(
    groups: Mapping[Group, list[int]],
    by: By | None,
    prices: Prices,
    tz: tzinfo | None = None,
    names: Mapping[str, str] = NO_NAMES,
    blocks: Blocks | None = None,
) -> tuple[Totals, tuple[Row, ...]]:
    """All of it in one; and, if there is a `by`, one row a key. Times ascend; all else is sorted by cost, then by
    tokens, the most first.

    `blocks` are those of all requests, which these groups may be a part of; without them, those of these groups, at a
    time when none is active.
    """
    blocks = blocks or Blocks(groups if by == "block" else {}, -1)
    key_of = _key(by, tz, names, blocks)
    sums = _sums(groups, key_of, prices)
    of_all: dict[_Place, list[list[int]]] = {}
    for (_, model, at, fast, is_long, priced), numbers in sums.items():
        of_all.setdefault(("", model, at, fast, is_long, priced), []).append(numbers)
    whole = _priced({place: _sum(lists) for place, lists in of_all.items()}, prices).get("", Totals())
    if by is None:
        return whole, ()
    its: dict[str, Block] = {}
    if by == "block":
        its = {key_of(group): blocks.of(group.quarter) for group in groups if group.quarter is not None}
        its.pop(UNKNOWN, None)
    rows = [Row(key, totals, its.get(key)) for key, totals in _priced(sums, prices).items()]
    if by in OF_TIME:
        return whole, tuple(sorted(rows, key=lambda row: (row.key == UNKNOWN, row.key)))
    return whole, tuple(sorted(rows, key=lambda row: (-row.totals.cost_known_usd, -row.totals.tokens, row.key)))


def _sums(groups: Mapping[Group, list[int]], key_of: Callable[[Group], str], prices: Prices) -> dict[_Place, list[int]]:
    """Numbers per key, model, way of billing and period of prices, to be priced once: cost is linear, and the groups
    are many. A period begins at midnight, never within a quarter."""
    ways: dict[tuple[str, bool, bool, bool], tuple[list[int], dict[tuple[str, int | None], list[list[int]]]]] = {}
    for group, numbers in groups.items():
        way = group[1:5]
        of_way = ways.get(way)
        if of_way is None:
            since = [each.since for each in prices.periods(group.model)]
            of_way = ways[way] = ([] if since == [ALWAYS] else [ALWAYS, *since], {})
        since, lists = of_way
        quarter = group.quarter
        at = None if not since or quarter is None else since[bisect_right(since, quarter * QUARTER_HOUR) - 1]
        place = (key_of(group), at)
        its = lists.get(place)
        if its is None:
            lists[place] = [numbers]
        else:
            its.append(numbers)
    return {
        (key, model, at, fast, is_long, priced): _sum(its)
        for (model, fast, is_long, priced), (_, lists) in ways.items()
        for (key, at), its in lists.items()
    }


def _sum(lists: list[list[int]]) -> list[int]:
    """Number by number, but for the times."""
    return list(map(sum, islice(zip(*lists, strict=True), COST + 1)))


def _priced(sums: Mapping[_Place, list[int]], prices: Prices) -> dict[str, Totals]:
    found: dict[str, Totals] = {}
    for (key, model, at, fast, is_long, priced), numbers in sums.items():
        tokens = tuple(numbers[TOKENS])
        cost = numbers[COST] if priced else prices.cost_pico(model, tokens, fast=fast, long=is_long, at_ms=at)
        unknown = () if cost is not None else (f"{model} (fast)" if fast else model,)
        known = Decimal(cost or 0).scaleb(-12)
        given, output, for_5m, for_hour, read = tokens
        part = Totals(
            numbers[MESSAGES], given, output, for_5m + for_hour, read, None if cost is None else known, unknown, known
        )
        found[key] = found[key] + part if key in found else part
    return found


def _key(by: By | None, tz: tzinfo | None, names: Mapping[str, str], blocks: Blocks) -> Callable[[Group], str]:
    if by is None:
        return lambda group: ""
    if by == "model":
        return lambda group: group.model
    if by == "session":
        return lambda group: group.session
    if by == "project":
        return lambda group: names.get(group.project, group.project)
    return _block_key(tz, blocks) if by == "block" else _date_key(by, tz)


def _block_key(tz: tzinfo | None, blocks: Blocks) -> Callable[[Group], str]:
    known: dict[int | None, str] = {None: UNKNOWN}

    def key(group: Group) -> str:
        quarter = group.quarter
        found = known.get(quarter)
        if found is None:
            found = known[quarter] = _written(_local(blocks.of(quarter or 0).start // 1000, tz), "block")
        return found

    return key


def _date_key(by: By, tz: tzinfo | None) -> Callable[[Group], str]:
    """A zone is asked for its offset once a day (UTC) and not for each quarter of an hour: where it is the same at both
    ends of a day it was so all day. No zone ever changed there and back within one."""
    offset_at = cache(lambda day: _offset(_local(day * DAY, tz)))
    written = cache(lambda day: _written(_local(day * DAY, timezone.utc), by))

    @cache
    def dates_of(day: int) -> tuple[int, str, str] | None:
        """The first quarter of this day that belongs to the zone's next day, and what is written of those before it and
        of those from it on. None where the zone's offset changes."""
        offset = offset_at(day)
        if offset is None or offset != offset_at(day + 1):
            return None
        local = (day * DAY + offset) // DAY
        return -((offset - (local + 1) * DAY) // QUARTER), written(local), written(local + 1)

    def key(group: Group) -> str:
        quarter = group.quarter
        if quarter is None:
            return UNKNOWN
        dates = dates_of(quarter // QUARTERS)
        if dates is None:
            return _written(_local(quarter * QUARTER, tz), by)
        midnight, before, after = dates
        return before if quarter < midnight else after

    return key


def _offset(moment: datetime | None) -> int | None:
    """Seconds east of UTC, in whole ones: a zone of the 19th century had others."""
    offset = None if moment is None else moment.utcoffset()
    return None if offset is None or offset.microseconds else offset.days * DAY + offset.seconds


def _local(seconds: int, tz: tzinfo | None) -> datetime | None:
    try:
        return datetime.fromtimestamp(seconds, timezone.utc).astimezone(tz)
    except (OverflowError, ValueError, OSError):  # the years 1 and 9999 have neighbours that no calendar has
        return None


def _written(moment: datetime | None, by: By) -> str:
    """By isoformat, which writes four digits of every year, as strftime does not."""
    if moment is None:
        return UNKNOWN
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
