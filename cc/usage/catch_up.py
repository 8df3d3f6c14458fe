"""What is new in the session files is read and settled with what is known of them, and goes into the index.

    index      what is known ─┐
                              ├─> what is new ─> workers ─> one_file, on all cores ─> settle ─> packed.Whole
    places     which there are┘                                                         └─> index

A file that has grown is read on from where it was left; one that was cut, rewritten or replaced is read again; one that
was deleted (the client does that after 30 days) stays counted, and is told. Whatever cannot be read is named and left
out, and its neighbours are counted. Imports places, index, workers, done, one_file, groups, packed, settle, portions,
request.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial

from cc.usage.columns import GroupColumns
from cc.usage.done import Done, Progress
from cc.usage.entries import Contents, Entry, Mark
from cc.usage.groups import Groups, Pool, fold, pairs_of
from cc.usage.index import Index
from cc.usage.one_file import FileReader, mark_of
from cc.usage.packed import (
    Delivery,
    Known,
    Whole,
    ids_of,
    loose_of,
    pack,
    pack_rows,
    tied_to,
    unpack_deliveries,
    unpack_ids,
    unpack_known,
    unpack_pool,
    unpack_rows,
)
from cc.usage.places import Listed, Listing, opened, why
from cc.usage.portions import portions
from cc.usage.request import Request, Rows
from cc.usage.settle import any_stands_in, disputes_the_same, leave_theirs, settle, standing_twice, united
from cc.usage.workers import MOST_BATCHES, processors, share

BATCH_BYTES = 4 << 20
WORTH_SHARING = 2 * BATCH_BYTES
NO_ROWS: Rows[Request] = Rows(())


def catch_up(listing: Listing, index: Index | None, kept: Contents, progress: Progress) -> tuple[Whole, Reading]:
    """Read what is new in these files and put it into the index. What cannot be read is added to the listing's.

    Gives what they tell together, and what gives single requests. Raises DamagedPartsError, AwayError, ChangedError, as
    the index does.
    """
    reading = Reading(listing, index, kept)
    return reading.read(progress), reading


class Reading:
    """One reading of all session files. What it raises, also later, is what the index raises.

    `groups` are those of all of them together.
    """

    def __init__(self, listing: Listing, index: Index | None, kept: Contents) -> None:
        self._index = index
        self._listing = listing
        self._kept = kept
        self._entries = self._kept.entries
        self._new: dict[bytes, Entry] = {}
        self._all: list[Entry] = []
        self._contested = kept.contested
        self.groups: Groups = {}

    def read(self, progress: Progress) -> Whole:
        """All of it."""
        there = {os.fsencode(listed.path): listed for listed in self._listing.files}
        known = {} if self._kept.older else self._entries
        todo = {
            path: listed
            for path, listed in there.items()
            if (entry := known.get(path)) is None or entry.mark != listed.mark
        }
        dropped = self._moved(there, todo)
        replaced = {path: entry for path in todo if (entry := self._entries.get(path)) is not None}
        for path, delivery in self._deliveries(todo, progress):
            self._take(path, todo[path], delivery)
        every = {**self._entries, **self._new}
        entries = self._all = [every[path] for path in sorted(every)]
        changed, contested, pool = self._settle(entries, replaced, dropped)
        self._contested = contested
        self.groups = united(entries, pool)
        whole = self._whole(entries, there)
        if self._index is not None:
            self._index.tell_damage(self._new)
            state = self._state(there)
            if changed or dropped or not self._is_whole or state not in (None, self._kept.state):
                numbers = [*self._kept.damaged, *(entry.id for entry in dropped if entry.id is not None)]
                self._index.write(changed, numbers, contested, pack(pool), state or b"", pack(whole) if state else b"")
        return whole

    def rows(self) -> Iterator[Rows[Request]]:
        """The rows of every file, in path order."""
        packed = self._rows(self._all)
        for entry in self._all:
            yield unpack_rows(packed[entry.path], entry.known)

    def portions(self, most: int) -> Iterator[list[Request]]:
        """Every message once, about so many at a time (portions.py)."""
        contested = set(self._contested)
        if contested:
            self._put_ids(self._index.ids() if self._index is not None and self._entries else {})
        disputing = [entry for entry in self._all if entry.disputes(contested)]
        return portions(self._all, disputing, contested, self._rows, most)

    def _put_ids(self, ids: Mapping[int, bytes]) -> None:
        """Of every file all by which it may dispute a message."""
        for entry in self._all:
            if entry.ids is None:
                entry.ids = unpack_ids(ids.get(entry.id or 0, b""))
        if loose := {one for entry in self._all for one in entry.known.loose}:  # the client itself writes none
            packed = self._rows(self._all)
            for entry in self._all:
                entry.tied = tied_to(loose, unpack_rows(packed[entry.path], entry.known))

    @property
    def _is_whole(self) -> bool:
        """Whether all that the index holds is of use."""
        return self._kept.settled and not self._kept.damaged

    def _state(self, there: Mapping[bytes, Listed]) -> bytes | None:
        """What the files were as they were read; None if one of them could not be: it is to be tried again."""
        known = [self._new.get(path) or self._entries.get(path) for path in there]
        marks = [entry.mark for entry in known if entry is not None]
        return self._listing.state(marks) if len(marks) == len(known) else None

    def _moved(self, there: Mapping[bytes, Listed], todo: Mapping[bytes, Listed]) -> list[Entry]:
        """The known files that now have another name: it is the new one that counts.

        The same inode is not enough: the next file that is made takes that of one that was deleted.
        """
        new = {listed.mark[:2]: listed for listed in todo.values()}
        moved = [
            entry
            for path, entry in self._entries.items()
            if path not in there and (listed := new.get(entry.mark[:2])) is not None and _goes_on(entry, listed)
        ]
        for entry in moved:
            del self._entries[entry.path]
        return moved

    def _deliveries(self, todo: Mapping[bytes, Listed], progress: Progress) -> Iterator[tuple[bytes, Delivery]]:
        """What came of reading each of these, in any order."""
        files = list(todo.items())
        sizes = [listed.mark[2] for listed in todo.values()]
        whole = sum(sizes)
        batches = list(_batches(sizes, max(BATCH_BYTES, whole // (MOST_BATCHES // 2))))
        rows = self._known_rows(todo)
        done = Done([sum(sizes[place] for place in batch) for batch in batches], progress)

        def work(number: int) -> bytes:
            heard = partial(done.more, number)
            return pack([self._read_one(place, *files[place], rows, heard) for place in batches[number]])

        processes = processors() if whole > WORTH_SHARING else 1
        for number, data in share(len(batches), work, processes, done.tell):
            for delivery in unpack_deliveries(data):
                yield files[delivery.number][0], delivery
            done.all_of(number)

    def _known_rows(self, todo: Iterable[bytes]) -> dict[bytes, bytes]:
        """The rows of files that may have grown: read before anything is forked."""
        if self._index is None:
            return {}
        known = [entry for path in todo if (entry := self._entries.get(path)) is not None]
        found = self._index.rows([entry.id for entry in known if entry.id is not None])
        return {entry.path: found[entry.id] for entry in known if entry.id in found}

    def _read_one(
        self, number: int, path: bytes, listed: Listed, rows: Mapping[bytes, bytes], heard: Callable[[int], None]
    ) -> Delivery:
        descriptor = None
        try:
            descriptor, mark = opened(listed)
            known, kept = self._left_at(path, descriptor, mark, rows) or (Known(*listed.names), NO_ROWS)
            found = FileReader(known, kept).read(descriptor, mark[2], heard)
        except OSError as error:  # when it was opened, or in the middle of it: a disk, a network mount
            return Delivery(number, None, why=why(error))
        finally:
            if descriptor is not None:
                os.close(descriptor)
        known.groups, known.loose = pairs_of(fold(found.requests)), loose_of(found)
        return Delivery(number, known, mark, pack_rows(found, known), ids_of(found).tobytes())

    def _left_at(
        self, path: bytes, descriptor: int, mark: Mark, rows: Mapping[bytes, bytes]
    ) -> tuple[Known, Rows[Request]] | None:
        """Where to go on, if the file is the known one and has only grown; else None: at its beginning."""
        entry, packed = self._entries.get(path), rows.get(path)
        if entry is None or packed is None or entry.known.tail_counts:
            return None
        grown = entry.mark[:2] == mark[:2] and mark[2] > entry.mark[2]
        if not grown or mark_of(descriptor, entry.known.end) != entry.known.mark:
            return None
        return unpack_known(pack(entry.known)), unpack_rows(packed, entry.known)

    def _take(self, path: bytes, listed: Listed, delivery: Delivery) -> None:
        if delivery.known is None:
            self._listing.unreadable.append((listed.path, delivery.why))
            return
        before = self._entries.get(path)
        number = None if before is None else before.id
        self._new[path] = Entry(
            path, delivery.mark, delivery.known, number, delivery.rows, unpack_ids(delivery.ids)
        )  # fmt: skip

    def _settle(
        self, entries: Sequence[Entry], replaced: Mapping[bytes, Entry], dropped: Sequence[Entry]
    ) -> tuple[list[Entry], array[int], Pool]:
        """Who counts what: the entries that are others now, the contested ids and the groups of their requests."""
        pool = unpack_pool(self._kept.pool) if self._kept.pool else []
        if self._is_whole and not (self._new or dropped):
            return [], self._kept.contested, pool
        ids = self._index.ids() if self._index is not None and self._entries else {}
        contested = set(self._kept.contested)
        changed = list(self._new.values())
        if self._is_whole and not dropped and self._settle_alone(replaced, ids, contested):
            return changed, self._kept.contested, pool
        self._put_ids(ids)
        twice = standing_twice(entry.all_ids for entry in entries)
        other = twice ^ contested
        anew = not self._is_whole or any(entry.known.loose for entry in (*entries, *replaced.values(), *dropped))
        again = [entry for entry in entries if entry.path not in self._new and (anew or entry.disputes(other))]
        pool = settle(entries, again, twice, self._rows)
        return [*changed, *again], array("I", sorted(twice)), pool

    def _settle_alone(self, replaced: Mapping[bytes, Entry], ids: Mapping[int, bytes], contested: set[int]) -> bool:
        """Whether nobody else is concerned by what is new: then what is contested stays, and is not looked at."""
        if len(self._new) > 64 or not self._entries:
            return False
        if any(entry.known.loose for entry in (*self._all, *replaced.values())):
            return False
        fresh: set[int] = set()
        for path, entry in self._new.items():
            before = replaced.get(path)
            theirs = unpack_ids(ids.get(before.id or 0, b"")) if before is not None else array("I")
            own = set(entry.ids or ()).difference(theirs)
            if not disputes_the_same(entry.ids or array("I"), theirs, contested) or not fresh.isdisjoint(own):
                return False
            fresh |= own
        if any_stands_in(fresh, b"".join(ids.values())):
            return False
        disputing = [entry for entry in self._new.values() if entry.disputes(contested)]
        rows = self._rows([replaced[entry.path] for entry in disputing])
        return leave_theirs(disputing, rows, contested)

    def _rows(self, entries: Collection[Entry]) -> dict[bytes, bytes]:
        """The packed rows of these, from here or from the index. Raises what Index.rows raises."""
        found = {entry.path: entry.rows for entry in entries if entry.rows is not None}
        missing = {entry.id: entry.path for entry in entries if entry.rows is None and entry.id is not None}
        if missing and self._index is not None:
            for number, data in self._index.rows(missing).items():
                found[missing[number]] = data
        return found

    def _whole(self, entries: Sequence[Entry], there: Mapping[bytes, Listed]) -> Whole:
        present = [entry.known for entry in entries if entry.path in there]
        skipped: dict[str, int] = {}
        for kinds in (kinds for known in present for kinds in (known.skipped, known.tail_skipped) if kinds):
            for kind, number in kinds.items():
                skipped[kind] = skipped.get(kind, 0) + number
        deleted, absent = self._listing.gone(entry.path for entry in entries if entry.path not in there)
        return Whole(
            groups=GroupColumns.of(pairs_of(self.groups)),
            project_names=_names(entry.known for entry in entries),
            files=len(present),
            deleted=deleted,
            absent=absent,
            lines=sum(known.lines + known.tail_lines for known in present),
            skipped=dict(sorted(skipped.items())),
            said=[
                (known.session, known.said, known.said_in_part)
                for known in (entry.known for entry in entries)
                if known.said is not None
            ],
        )


def _goes_on(entry: Entry, listed: Listed) -> bool:
    """Whether this file begins with what is known of that one."""
    if not entry.known.end or listed.mark[2] < entry.known.end:
        return False
    try:
        descriptor, _ = opened(listed)
    except OSError:
        return False
    try:
        return mark_of(descriptor, entry.known.end) == entry.known.mark
    finally:
        os.close(descriptor)


def _batches(sizes: Sequence[int], most: int) -> Iterator[list[int]]:
    """Places in `sizes`, about so many bytes at a time; the largest files first, so that none is begun last."""
    batch: list[int] = []
    size = 0
    for place in sorted(range(len(sizes)), key=lambda place: -sizes[place]):
        batch.append(place)
        size += sizes[place]
        if size >= most:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _names(all_known: Iterable[Known]) -> dict[str, str]:
    """The readable name of each folder: the directory that it is made of, else the first that its rows name."""
    found: dict[str, str] = {}
    sure: set[str] = set()
    for known in all_known:
        if known.cwd is not None and known.folder not in sure:
            if known.sure:
                sure.add(known.folder)
                found[known.folder] = known.cwd
            else:
                found.setdefault(known.folder, known.cwd)
    return found
