"""What is known of each session file, as it goes into the index and comes out of it. Imports packed."""

from __future__ import annotations

from array import array

import msgspec

from cc.usage.packed import Known

Mark = tuple[int, int, int, int]
"""Device, inode, bytes, nanoseconds of the last change: while all four are the same, the file is."""


class Entry(msgspec.Struct):
    """A file of the index. `id` is None until it is written, `rows` and `ids` None where they lie in the index only.

    `tied` are the request ids by which it is tied to rows without message id (settle.py): found out when it matters.
    """

    path: bytes
    mark: Mark
    known: Known
    id: int | None = None
    rows: bytes | None = None
    ids: array[int] | None = None
    tied: frozenset[int] = frozenset()

    @property
    def all_ids(self) -> array[int]:
        """Ids by which it may dispute messages with others; they must be there."""
        ids = array("I") if self.ids is None else self.ids
        return ids + array("I", self.tied) if self.tied else ids

    def disputes(self, contested: set[int]) -> bool:
        """Whether it has one of these ids; they must be there."""
        return not contested.isdisjoint(self.all_ids)


class Contents(msgspec.Struct):
    """All that an index holds. `pool` are the groups of the requests whose ids are `contested`.

    `state` is `Listing.state` of the files as they were when all of this was found; empty if there is no such moment.
    `settled` is False where these two are not known: then who counts what is to be found out anew. `older`: of another
    version, to be written anew, and good for what cannot be read again. `damaged` are path and mark of the files whose
    parts of it are of no use, by the id to be taken out.
    """

    entries: dict[bytes, Entry] = {}
    contested: array[int] = msgspec.field(default_factory=lambda: array("I"))
    pool: bytes = b""
    writing: bytes = b""
    state: bytes = b""
    settled: bool = True
    older: bool = False
    damaged: dict[int, tuple[bytes, Mark]] = {}
