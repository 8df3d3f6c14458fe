"""What the store's own table adds to session files and telemetry, as a difference of groups: pure. Imports groups,
store_rows.

    groups with the table's requests - groups without = what it adds        kept, while the store answers
    groups without + what it adds    = groups with the table's requests     while it does not

A difference and not the requests: a request of the table that telemetry knows, too, changes that one's project and adds
none, and one that a session file holds in part adds the rest. So its numbers may be below zero. There are at most as
many groups as requests that are taken beside the files one by one (store.py), and of most stores a hundredth of that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from cc.usage.groups import FIRST, LAST, MESSAGES, Group, Groups, messages_by_session
from cc.usage.store_rows import NO_QUARTER

NOTHING = (0,) * FIRST


class Asked(NamedTuple):
    """Quarters of an hour since 1970, the first and the one after the last, and when the store was asked for them."""

    first: int
    after: int
    as_of: float

    def holds(self, group: Group) -> bool:
        return self.first <= (NO_QUARTER if group.quarter is None else group.quarter) < self.after


class Added(msgspec.Struct, frozen=True):
    """What was told of the spans `asked`, none of which overlap, in the order of time.

    `known` is how many requests the session files held of each session in `groups` then.
    """

    asked: tuple[Asked, ...] = ()
    groups: Groups = {}
    known: Mapping[str, int] = {}

    def renewed(self, newer: Added) -> Added:
        """This, but of the spans that were asked for anew what is told now."""
        asked, groups = list(self.asked), self.groups
        for one in newer.asked:
            asked = [left for old in asked for left in _without(old, one)]
            groups = {key: sums for key, sums in groups.items() if not one.holds(key)}
        groups = {**groups, **newer.groups}
        sessions = {key.session for key in groups}
        known = {name: count for name, count in {**self.known, **newer.known}.items() if name in sessions}
        return Added(tuple(sorted([*asked, *newer.asked])), groups, known)

    def of(self, first: int, after: int, now_known: Mapping[str, int]) -> Added:
        """What is told of this span. A session that no file knew, and of which files hold as much now, has come to this
        machine, and is left to them."""
        span = Asked(first, after, 0.0)
        come = {
            name
            for name, number in messages_by_session(self.groups).items()
            if not self.known.get(name) and 0 < number <= now_known.get(name, 0)
        }
        groups = {key: sums for key, sums in self.groups.items() if span.holds(key) and key.session not in come}
        return Added(tuple(each for each in self.asked if _meet(each, span)), groups, self.known)

    def covers(self, first: int, after: int) -> bool:
        """Whether the store was asked for all of this span."""
        for asked in self.asked:
            if asked.first <= first < asked.after:
                first = asked.after
        return first >= after


def difference(whole: Groups, rest: Groups) -> Groups:
    """What has to be put to `rest` for it to be `whole`."""
    found: Groups = {}
    for key in {**whole, **rest}:
        pairs = zip(whole.get(key, NOTHING), rest.get(key, NOTHING), strict=False)
        sums = [one - other for one, other in pairs] + (whole.get(key) or rest[key])[FIRST:]
        if any(sums[:FIRST]):
            found[key] = sums
    return found


def put(groups: Groups, added: Iterable[tuple[Group, list[int]]]) -> Groups:
    """The groups with what is added. What was there when that was made and is no more takes nothing below zero."""
    found = dict(groups)
    for key, sums in added:
        mine = found.get(key, [*NOTHING, *sums[FIRST:]])
        both = [max(0, one + other) for one, other in zip(mine[:FIRST], sums[:FIRST], strict=True)]
        found[key] = [*both, min(mine[FIRST], sums[FIRST]), max(mine[LAST], sums[LAST])]
    return {key: sums for key, sums in found.items() if sums[MESSAGES] > 0}


def _meet(one: Asked, other: Asked) -> bool:
    return one.first < other.after and other.first < one.after


def _without(old: Asked, new: Asked) -> Iterable[Asked]:
    """What is left of the old span."""
    if not _meet(old, new):
        yield old
        return
    if old.first < new.first:
        yield old._replace(after=new.first)
    if new.after < old.after:
        yield old._replace(first=new.after)
