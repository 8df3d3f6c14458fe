"""Claude Code's session files (LADDERS.md, L7 rung 2): what all of them tell, and only what is new is read.

    places     which there are, and in which state
    index      what they told when they were last in this state; else
    catch_up   what is new is read

Imports places, index, packed, ledger, groups, client_totals, request, words, and catch_up where something is new.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from cc.usage.client_totals import Said
from cc.usage.entries import Contents
from cc.usage.groups import Groups, merge
from cc.usage.index import Index
from cc.usage.ledger import Ledger
from cc.usage.packed import AwayError, ChangedError, DamagedError, DamagedPartsError, Whole
from cc.usage.places import Listing, session_files, shown
from cc.usage.request import Request, Rows
from cc.usage.words import as_last_seen, plural

if TYPE_CHECKING:
    from cc.usage.done import Progress

TRIES = 4


class Singles(Protocol):
    """Where single requests come from. Raises DamagedPartsError, AwayError, ChangedError, as the index does."""

    def rows(self) -> Iterable[Rows[Request]]:
        """The rows of every file, in path order."""
        ...

    def portions(self, most: int) -> Iterator[list[Request]]:
        """Every message once, about so many at a time (portions.py)."""
        ...


class NoSingles:
    """Those of no files."""

    def rows(self) -> Iterable[Rows[Request]]:
        return ()

    def portions(self, most: int) -> Iterator[list[Request]]:
        return iter(())


class Transcripts(msgspec.Struct):
    """What all session files tell. `project_names` is the readable name of each folder (`Request.project`).

    `files` are there now, `deleted` are known from before only. `notes` are sentences about the index.
    """

    groups: Groups = {}
    project_names: Mapping[str, str] = {}
    files: int = 0
    deleted: int = 0
    lines: int = 0
    skipped: Mapping[str, int] = {}
    unreadable: tuple[tuple[str, str], ...] = ()
    said: tuple[Said, ...] = ()
    notes: tuple[str, ...] = ()
    _singles: Singles | None = msgspec.field(default_factory=NoSingles)
    """None: they have to be read yet."""

    _again: Callable[[], Transcripts] | None = None
    _requests: list[Request] | None = None

    @property
    def requests(self) -> list[Request]:
        """Every message. Groups are enough for most questions, and are there at once.

        If the index has changed since, or turns out to be damaged, the files are read again; then all else is of that
        reading, too.
        """
        if self._requests is None:
            try:
                if self._singles is None:
                    raise ChangedError
                self._requests = _settled(self._singles.rows())
            except (DamagedPartsError, AwayError, ChangedError) as error:
                again = self.anew(error)
                self._requests = again.requests
                for name in TOLD:
                    setattr(self, name, getattr(again, name))
        return self._requests

    def portions(self, most: int) -> Iterator[list[Request]]:
        """The same, about so many at a time. Raises DamagedPartsError, AwayError, ChangedError: see `anew`."""
        if self._singles is None:
            raise ChangedError
        return self._singles.portions(most)

    def anew(self, error: Exception) -> Transcripts:
        """The files, read again because of this error. Raises it if the index has no part in it."""
        if self._again is None:
            raise error
        return self._again()


TOLD = tuple(name for name in Transcripts.__struct_fields__ if not name.startswith("_"))


def _settled(every: Iterable[Rows[Request]]) -> list[Request]:
    ledger = Ledger[Request]()
    with _no_collection():
        for rows in every:
            for request, own in rows.pairs():
                ledger.add(request, own)
        return ledger.settle()


def read(
    places: tuple[Path, ...], index_directory: Path | None = None, progress: Progress = lambda done, whole: None
) -> Transcripts:
    """Read what is new in the session files under these roots, each message counted once.

    Without an `index_directory` that is everything. Raises nothing that is a file's or the index's fault: that is in
    `skipped`, `unreadable` and `notes`.
    """
    if index_directory is None:
        with _no_collection():
            return _caught_up(session_files(places), None, progress)
    return _with(Index(index_directory, places), places, progress, TRIES)


def _with(index: Index, places: tuple[Path, ...], progress: Progress, tries: int, *, rows: bool = False) -> Transcripts:
    """Read with this index, and without it once `tries` have found that others keep writing it.

    `rows`: single requests are asked for, too, so that what the index has of all of them together is not enough.
    """
    for left in reversed(range(tries)):
        try:
            with _no_collection():
                listing = session_files(places)
                whole = None if rows else index.whole(listing.state())
                found = _caught_up(listing, index, progress) if whole is None else _of_whole(whole, listing, index)
        except DamagedError as error:
            index.give_up(error)
        except AwayError as error:
            index.do_without(str(error))
        except (ChangedError, DamagedPartsError):
            continue
        else:
            if not index.off:
                found._again = partial(_with, index, places, progress, left, rows=True)  # noqa: SLF001 - its own maker
            return found
    index.do_without("others keep writing it")
    with _no_collection():
        return _caught_up(session_files(places), index, progress)


def _caught_up(listing: Listing, index: Index | None, progress: Progress) -> Transcripts:
    from cc.usage.catch_up import catch_up  # all that reads files, where one is to be read

    whole, reading = catch_up(listing, index, Contents() if index is None else index.read(), progress)
    return _transcripts(whole, reading.groups, listing, index, reading)


def _of_whole(whole: Whole, listing: Listing, index: Index) -> Transcripts:
    pairs = whole.groups.groups()
    groups = dict(pairs)
    if len(groups) < len(pairs):  # of a cost beyond 64 bits there are several
        groups = {}
        merge(groups, pairs)
    return _transcripts(whole, groups, listing, index)


def _transcripts(
    whole: Whole, groups: Groups, listing: Listing, index: Index | None, singles: Singles | None = None
) -> Transcripts:
    """The same for those who ask."""
    return Transcripts(
        groups=groups,
        project_names=whole.project_names,
        files=whole.files,
        deleted=whole.deleted,
        lines=whole.lines,
        skipped=whole.skipped,
        unreadable=tuple((shown(path), reason) for path, reason in listing.unreadable),
        said=tuple(Said(*each) for each in whole.said),
        notes=(
            *(
                f"{shown(path)} {listing.absent[path]}: {plural(n, 'session file')} known of it {as_last_seen(n)}"
                for path, n in whole.absent.items()
            ),
            *(index.trouble if index is not None else ()),
        ),
        _singles=singles,
    )


@contextmanager
def _no_collection() -> Iterator[None]:
    """Hundreds of thousands of rows are made and none is garbage: looking for it takes a tenth of the reading."""
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()
