"""Every message once, some whole sessions at a time, so that not all are in memory at once.

    groups of each file ──> the sessions, in the order of time, about as many requests at a time as are wanted
    what is contested ────> settled as a whole (settle.py), and held: ids that stand in several files are few

Sessions of which one has copied messages of another come together: what is the one's now may have been the other's.
Imports index, groups, ledger, packed, request, settle.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

import msgspec

from cc.usage.entries import Entry
from cc.usage.groups import MESSAGES
from cc.usage.ledger import Ledger
from cc.usage.packed import ids_in, unpack_rows
from cc.usage.request import Request
from cc.usage.settle import RowsOf

FILES_AT_ONCE = 100


class _Together(msgspec.Struct):
    """Sessions that come at once. `first` is the first quarter of an hour, `entries` are places of files."""

    names: set[str] = set()
    first: int = 2**63
    requests: int = 0
    entries: set[int] = set()
    settled: list[Request] = []

    def take(self, other: _Together) -> None:
        self.names |= other.names
        self.first = min(self.first, other.first)
        self.requests += other.requests
        self.entries |= other.entries
        self.settled += other.settled


def portions(
    entries: Sequence[Entry], disputing: Sequence[Entry], contested: set[int], rows_of: RowsOf, most: int
) -> Iterator[list[Request]]:
    """All requests, about `most` at a time, and more where sessions belong together that have more.

    `entries`, in path order, are all files; `disputing` those with an id that is `contested`. Raises what `rows_of`
    raises.
    """
    ledger, linked = Ledger[Request](), _Linked()
    for entry, data in _packed(disputing, rows_of):
        for request, row_id in unpack_rows(data, entry.known).pairs():
            ids = ids_in((request, row_id), entry.tied)
            if not contested.isdisjoint(ids):
                ledger.add(request, row_id)
                linked.add(request.session, ids)
    sessions: dict[str, _Together] = {}
    for place, entry in enumerate(entries):
        for group, sums in entry.known.groups:
            one = _of(sessions, linked.root(group.session), group.session)
            one.first = min(one.first, -(2**63) if group.quarter is None else group.quarter)
            one.requests += sums[MESSAGES]
            one.entries.add(place)
    for request in ledger.settle():
        one = _of(sessions, linked.root(request.session), request.session)
        one.settled.append(request)
        one.requests += 1
    disputed = dict.fromkeys((entry.path for entry in disputing), contested)
    waiting = _Together()
    for one in sorted(sessions.values(), key=lambda each: each.first):
        waiting.take(one)
        if waiting.requests >= most:
            yield _requests(waiting, entries, disputed, rows_of)
            waiting = _Together()
    if waiting.requests:
        yield _requests(waiting, entries, disputed, rows_of)


def _of(sessions: dict[str, _Together], root: str, name: str) -> _Together:
    found = sessions.setdefault(root, _Together())
    found.names.add(name)
    return found


def _requests(
    wanted: _Together, entries: Sequence[Entry], disputed: Mapping[bytes, set[int]], rows_of: RowsOf
) -> list[Request]:
    """`disputed` is of the files that have some what is contested."""
    found = wanted.settled
    for entry, data in _packed((entries[place] for place in sorted(wanted.entries)), rows_of):
        others = disputed.get(entry.path)
        found += [
            row[0]
            for row in unpack_rows(data, entry.known).pairs()
            if row[0].session in wanted.names and (others is None or others.isdisjoint(ids_in(row, entry.tied)))
        ]
    return found


def _packed(entries: Iterable[Entry], rows_of: RowsOf) -> Iterator[tuple[Entry, bytes]]:
    left = iter(entries)
    while some := list(islice(left, FILES_AT_ONCE)):
        packed = rows_of(some)
        for entry in some:
            yield entry, packed[entry.path]


class _Linked:
    """Which sessions belong together: those whose rows have an id in common."""

    def __init__(self) -> None:
        self._above: dict[str, str] = {}
        self._first: dict[int, str] = {}

    def add(self, session: str, ids: Iterable[int]) -> None:
        for one in ids:
            other, mine = self.root(self._first.setdefault(one, session)), self.root(session)
            if other != mine:
                self._above[mine] = other

    def root(self, session: str) -> str:
        while (above := self._above.get(session)) is not None:
            self._above[session] = self._above.get(above, above)
            session = above
        return session
