"""Requests that every table counts alike, as one: pure. Imports request.

A group is all requests of a quarter of an hour, a model, a way of billing, a session and a project. Days, weeks and
months of any zone are made of quarters (every zone's offset is a multiple of one), so that hundreds of thousands of
requests are added up once, and tables are made of some thousands of groups.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from cc.usage.request import Fields

QUARTER_HOUR = 900_000
"""Milliseconds."""

CALENDAR = range(-69_039_552, 281_558_112)
"""Quarters of an hour: the years 1 to 9999. A zone may lead out of them, and a store may hold anything."""

LONG_CONTEXT = 200_000
"""Tokens. A request that was given more may be billed at rates of its own (prices.json, `long`)."""

MESSAGES, COST, FIRST, LAST = 0, 6, 7, 8
TOKENS = slice(1, 6)
"""Places in the numbers of a group; TOKENS in the order of `request.counts_of`."""


class Group(NamedTuple):
    """What the requests of one group have in common.

    `quarter` is quarters of an hour since 1970, None without a usable time. `priced`: the client said what they cost.
    `long`: more than LONG_CONTEXT tokens were given, cached or not.
    """

    quarter: int | None
    model: str
    fast: bool
    long: bool
    priced: bool
    session: str
    project: str


MOST_COST = 2**62

Groups = dict[Group, list[int]]
"""Of each group nine numbers: messages, five kinds of tokens, pico-dollars, and the first and the last millisecond."""


Pool = list[tuple[Group, list[int]]]
"""The same as pairs; of a key there may be several (`pairs_of`)."""


def fold(requests: Iterable[Fields]) -> Groups:
    """The groups of these requests, in the order in which they were first seen.

    Most are of the group of the one before: those are added up apart, and their sum is added to the group when another
    comes. To look up the group of each takes half as long again.
    """
    found: Groups = {}
    sums: list[int] = []  # of the group of the one before
    begin = end = 0  # milliseconds of its quarter; nothing is between them where the next one's group must be looked up
    model_before = session_before = project_before = ""
    fast_before = long_before = False
    messages = all_given = all_output = all_5m = all_hour = all_read = first = last = 0
    for request in requests:
        _, _, model, at, session, project, given, output, for_5m, for_hour, read, cost, fast, _ = request
        is_long = given + for_5m + for_hour + read > LONG_CONTEXT
        if (
            at is None
            or not begin <= at < end
            or model is not model_before  # one that is equal and another object is only looked up
            or is_long is not long_before
            or session is not session_before
            or project is not project_before
            or cost is not None
            or fast is not fast_before
        ):
            if messages:
                _add(sums, (messages, all_given, all_output, all_5m, all_hour, all_read), first, last)
                messages = all_given = all_output = all_5m = all_hour = all_read = 0
            quarter = None if at is None else at // QUARTER_HOUR
            first = last = at or 0
            key = (quarter, model, fast, is_long, cost is not None, session, project)
            of_key = found.get(key)  # type: ignore[call-overload]  # a tuple equals the Group of its parts
            if of_key is None:
                of_key = found[Group(*key)] = [0, 0, 0, 0, 0, 0, 0, first, last]
            sums = of_key
            sums[COST] += cost or 0
            begin = end = 0
            if quarter is not None and cost is None:
                begin, end = quarter * QUARTER_HOUR, (quarter + 1) * QUARTER_HOUR
                model_before, session_before, project_before = model, session, project
                fast_before, long_before = fast, is_long
        messages += 1
        all_given += given
        all_output += output
        all_5m += for_5m
        all_hour += for_hour
        all_read += read
        if at is not None:
            if at < first:
                first = at
            elif at > last:
                last = at
    if messages:
        _add(sums, (messages, all_given, all_output, all_5m, all_hour, all_read), first, last)
    return found


def _add(sums: list[int], numbers: Sequence[int], first: int, last: int) -> None:
    for place, number in enumerate(numbers):
        sums[place] += number
    sums[FIRST] = min(sums[FIRST], first)
    sums[LAST] = max(sums[LAST], last)


def pairs_of(groups: Mapping[Group, list[int]]) -> Pool:
    """The same as pairs, each number in 64 bits: of a cost too large for that the rest goes into pairs of the same key,
    which `merge` adds up again."""
    found = []
    for key, sums in groups.items():
        rest = sums[COST]
        found.append((key, sums if rest <= MOST_COST else [*sums[:COST], MOST_COST, *sums[COST + 1 :]]))
        while (rest := rest - MOST_COST) > 0:
            found.append((key, [*[0] * COST, min(rest, MOST_COST), *sums[COST + 1 :]]))
    return found


def merge(into: Groups, other: Iterable[tuple[Group, list[int]]]) -> None:
    """Add these groups to `into`. The numbers given stay as they are."""
    for key, sums in other:
        mine = into.get(key)
        if mine is None:
            into[key] = sums
            continue
        mine = into[key] = list(mine)
        _add(mine, sums[:FIRST], sums[FIRST], sums[LAST])


def messages_of(groups: Mapping[Group, list[int]]) -> int:
    """How many requests there are in all."""
    return _messages(groups.values())


def messages_by_session(groups: Mapping[Group, list[int]]) -> dict[str, int]:
    """How many requests there are of each session."""
    found: dict[str, int] = {}
    for group, sums in groups.items():
        found[group.session] = found.get(group.session, 0) + sums[MESSAGES]
    return found


class Times(NamedTuple):
    """How many requests are dated `before` and `after` what can be, and how many have no usable time.

    `span` is the first and the last millisecond of the others, or of all that are dated if there are no others; None if
    no calendar has one of them.
    """

    span: tuple[int, int] | None = None
    before: int = 0
    after: int = 0
    none: int = 0


def times_of(groups: Mapping[Group, list[int]], first: int, last: int) -> Times:
    """When these were; what can be is from the quarter of an hour `first` to `last`."""
    timed = [sums for key, sums in groups.items() if key.quarter is not None]
    none = 0 if len(timed) == len(groups) else messages_of(groups) - _messages(timed)
    span = _span(timed)
    if span is None or (span[0] // QUARTER_HOUR >= first and span[1] // QUARTER_HOUR <= last):
        return Times(span, none=none)
    before = [sums for sums in timed if sums[FIRST] // QUARTER_HOUR < first]
    after = [sums for sums in timed if sums[LAST] // QUARTER_HOUR > last]
    others = [sums for sums in timed if first <= sums[FIRST] // QUARTER_HOUR <= last]
    others = others or [sums for sums in timed if sums[FIRST] // QUARTER_HOUR in CALENDAR]
    return Times(_span(others), _messages(before), _messages(after), none)


def _span(timed: Sequence[Sequence[int]]) -> tuple[int, int] | None:
    return (min(sums[FIRST] for sums in timed), max(sums[LAST] for sums in timed)) if timed else None


def _messages(timed: Iterable[Sequence[int]]) -> int:
    return sum(sums[MESSAGES] for sums in timed)
