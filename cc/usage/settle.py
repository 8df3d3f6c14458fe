"""Each message once over all files, without looking at each of them: imports groups, index, ledger, packed,
request.

Nearly all messages stand in one file only. A file's own are grouped as it is read; only rows with an id that stands
elsewhere too (`contested`) are put side by side in one ledger, in path order. What two rows have in common is an id, so
whatever the ledger could make one of is among them. One id a row is enough, its message's, but where a row somewhere
has no message's: then the request ids that it may share count, too (`Entry.tied`).
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from cc.usage.entries import Entry
from cc.usage.groups import Groups, Pool, fold, merge, pairs_of
from cc.usage.ledger import Ledger
from cc.usage.packed import ids_in, unpack_ids, unpack_rows
from cc.usage.request import Request

FEW = 32

RowsOf = Callable[[Collection[Entry]], dict[bytes, bytes]]
"""The packed rows of entries, by path."""


def standing_twice(all_ids: Iterable[array[int]]) -> set[int]:
    """The ids that stand more than once, in one file or in several."""
    seen: set[int] = set()
    twice: set[int] = set()
    for ids in all_ids:
        before = len(seen)
        if not seen.isdisjoint(ids):
            twice.update(seen.intersection(ids))
        seen.update(ids)
        if len(seen) - before != len(ids):  # some are not new: of another file, or of this one
            own: set[int] = set()
            twice.update(one for one in ids if one in own or own.add(one))  # type: ignore[func-returns-value]
    return twice


def any_stands_in(ids: set[int], packed: bytes) -> bool:
    """Whether one of these ids is among packed ones, of which no numbers are made to look for a few."""
    if len(ids) > FEW:
        return not ids.isdisjoint(unpack_ids(packed))
    for one in ids:
        wanted = array("I", (one,)).tobytes()
        at = packed.find(wanted)
        while at >= 0 and at % len(wanted):
            at = packed.find(wanted, at + 1)
        if at >= 0:
            return True
    return False


def disputes_the_same(ids: array[int], before: array[int], contested: set[int]) -> bool:
    """Whether a file has the same contested ids as before, each as often, and no other id more than once."""
    disputed = [one for one in ids if one in contested]
    if len(ids) - len(disputed) != len(set(ids) - contested):
        return False
    return sorted(disputed) == sorted(one for one in before if one in contested)


def leave_theirs(entries: Sequence[Entry], before: Mapping[bytes, bytes], contested: set[int]) -> bool:
    """Leave to each of these entries what is its alone, if what it disputes is what it was; else all stay as they are.

    `before` are the packed rows as they were, by path.
    """
    parted = [_parted(entry.rows or b"", entry, contested) for entry in entries]
    if any(
        _parted(before[entry.path], entry, contested)[0] != disputed
        for entry, (disputed, _) in zip(entries, parted, strict=True)
    ):
        return False
    for entry, (_, own) in zip(entries, parted, strict=True):
        entry.known.groups = pairs_of(fold(own))
    return True


def _parted(packed: bytes, entry: Entry, contested: set[int]) -> tuple[list[tuple[Request, str | None]], list[Request]]:
    """The rows that are contested, and the requests that are not."""
    disputed: list[tuple[Request, str | None]] = []
    own: list[Request] = []
    for row in unpack_rows(packed, entry.known).pairs():
        if contested and not contested.isdisjoint(ids_in(row, entry.tied)):
            disputed.append(row)
        else:
            own.append(row[0])
    return disputed, own


def settle(entries: Sequence[Entry], again: Iterable[Entry], contested: set[int], rows_of: RowsOf) -> Pool:
    """Give the groups of what is contested, and leave to each entry that disputes it those that are its alone.

    `entries`, in path order, are all that there are; each has its ids and is tied. `again` have disputed something
    before and may no longer: their groups are made anew, too. The groups of all others stay, which are of all their
    rows.
    """
    disputing = [entry for entry in entries if entry.disputes(contested)]
    packed = rows_of({entry.path: entry for entry in (*again, *disputing)}.values())
    ledger = Ledger[Request]()
    for entry in entries:
        data = packed.get(entry.path)
        if data is None:
            continue
        disputed, own = _parted(data, entry, contested)
        for request, row_id in disputed:
            ledger.add(request, row_id)
        entry.known.groups = pairs_of(fold(own))
    return pairs_of(fold(ledger.settle()))


def united(entries: Iterable[Entry], pool: Pool) -> Groups:
    """The groups of all files and of what is contested, added up."""
    found: Groups = {}
    for entry in entries:
        merge(found, entry.known.groups)
    merge(found, pool)
    return found
