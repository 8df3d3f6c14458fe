"""Each message once over all files, without looking at each of them: imports groups, index, ledger, packed.

Nearly all messages stand in one file only. A file's own are grouped as it is read; only rows with an id that stands
elsewhere too (`contested`) are put side by side in one ledger, in path order. What two rows have in common is an id, so
whatever the ledger could make one of is among them.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence

from cc.usage.groups import Groups, fold, merge, pairs_of
from cc.usage.index import Entry
from cc.usage.ledger import Ledger
from cc.usage.packed import Pool, ids_of, unpack_rows
from cc.usage.request import Request

RowsOf = Callable[[Iterable[Entry]], dict[bytes, bytes]]
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


def settle(entries: Sequence[Entry], again: Iterable[Entry], contested: set[int], rows_of: RowsOf) -> Pool:
    """Give the groups of what is contested, and leave to each entry that disputes it those that are its alone.

    `entries`, in path order, are all that there are; each has its ids. `again` have disputed something before and may
    no longer: their groups are made anew, too. The groups of all others stay, which are of all their rows.
    """
    disputing = [entry for entry in entries if contested and not contested.isdisjoint(entry.ids or ())]
    packed = rows_of({entry.path: entry for entry in (*again, *disputing)}.values())
    ledger = Ledger()
    for entry in entries:
        data = packed.get(entry.path)
        if data is None:
            continue
        own: list[Request] = []
        for request, row_id in unpack_rows(data):
            if contested and not contested.isdisjoint(ids_of(((request, row_id),))):
                ledger.add(request, row_id)
            else:
                own.append(request)
        entry.known.groups = pairs_of(fold(own))
    return pairs_of(fold(ledger.settle()))


def united(entries: Iterable[Entry], pool: Pool) -> Groups:
    """The groups of all files and of what is contested, added up."""
    found: Groups = {}
    for entry in entries:
        merge(found, entry.known.groups)
    merge(found, pool)
    return found
