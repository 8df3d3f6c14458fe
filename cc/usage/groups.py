"""Requests that every table counts alike, as one: pure. Imports request.

A group is all requests of a quarter of an hour, a model, a way of billing, a session and a project. Days, weeks and
months of any zone are made of quarters (every zone's offset is a multiple of one), so that hundreds of thousands of
requests are added up once, and tables are made of some thousands of groups.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from cc.usage.request import Request

QUARTER_HOUR = 900_000
"""Milliseconds."""

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


def fold(requests: Iterable[Request]) -> Groups:
    """The groups of these requests, in the order in which they were first seen."""
    found: Groups = {}
    for request in requests:
        _, _, model, at, session, project, given, output, for_5m, for_hour, read, cost, fast, _ = request
        quarter = None if at is None else at // QUARTER_HOUR
        is_long = given + for_5m + for_hour + read > LONG_CONTEXT
        key = (quarter, model, fast, is_long, cost is not None, session, project)
        sums = found.get(key)  # type: ignore[call-overload]  # a tuple equals the Group of its parts
        moment = at or 0
        if sums is None:
            found[Group(*key)] = [1, given, output, for_5m, for_hour, read, cost or 0, moment, moment]
            continue
        sums[0] += 1
        sums[1] += given
        sums[2] += output
        sums[3] += for_5m
        sums[4] += for_hour
        sums[5] += read
        sums[6] += cost or 0
        if moment < sums[7]:
            sums[7] = moment
        elif moment > sums[8]:
            sums[8] = moment
    return found


def pairs_of(groups: Mapping[Group, list[int]]) -> list[tuple[Group, list[int]]]:
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
        for place in range(FIRST):
            mine[place] += sums[place]
        mine[FIRST] = min(mine[FIRST], sums[FIRST])
        mine[LAST] = max(mine[LAST], sums[LAST])


def messages_of(groups: Mapping[Group, list[int]]) -> int:
    """How many requests there are in all."""
    return sum(sums[MESSAGES] for sums in groups.values())


def messages_by_session(groups: Mapping[Group, list[int]]) -> dict[str, int]:
    """How many requests there are of each session."""
    found: dict[str, int] = {}
    for group, sums in groups.items():
        found[group.session] = found.get(group.session, 0) + sums[MESSAGES]
    return found


def span_of(groups: Mapping[Group, list[int]]) -> tuple[int, int] | None:
    """The first and the last millisecond of those whose time is known; None if it is of none."""
    timed = [sums for key, sums in groups.items() if key.quarter is not None]
    if not timed:
        return None
    return min(sums[FIRST] for sums in timed), max(sums[LAST] for sums in timed)
