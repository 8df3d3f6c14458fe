"""What is known of one session file, in a form that crosses a pipe and lies in the index. Imports groups, request.

    Known     where reading stopped, what was skipped, and the groups of the requests that count for this file
    rows      every key of the file (ledger.py) with the row that it stands for, also those that another file's beat
    ids       four bytes for each id in the rows: an id that stands twice anywhere makes its rows contested (settle.py)

msgpack, which is compact and says its own types. Who changes any of this, or the tables of the index, raises VERSION
and keeps the layout of before in `older`: what is known of deleted files is nowhere else.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from functools import partial
from typing import TypeVar
from zlib import crc32

import msgspec

from cc.usage.groups import Group
from cc.usage.request import Request

T = TypeVar("T")
VERSION = 2

Rows = list[tuple[Request, str | None]]
"""Each request, and its row's own identity where it has neither message id nor request id."""

Pool = list[tuple[Group, list[int]]]
"""The groups of what is contested."""


class Known(msgspec.Struct, array_like=True):
    """One session file as it was read.

    `end` is how many bytes its whole lines take, `mark` tells the last of them from others. `skipped` and
    `tail_skipped` are by kind; the tail is a last line without an end, and `tail_counts` if a request was in it. `cwd`
    is the first working directory named, or the one (`sure`) whose dashed form is the folder's name. `said` is what
    the client says the session cost in pico-dollars, None if it says nothing, and `said_in_part` that it did not know
    all prices. `groups` as `groups.pairs_of` gives them.
    """

    folder: str
    session: str
    end: int = 0
    mark: int = 0
    lines: int = 0
    skipped: dict[str, int] = {}
    tail_lines: int = 0
    tail_skipped: dict[str, int] = {}
    tail_counts: bool = False
    cwd: str | None = None
    sure: bool = False
    said: int | None = None
    said_in_part: bool = False
    groups: list[tuple[Group, list[int]]] = []


class Columns(msgspec.Struct, array_like=True):
    """Groups in half the bytes: a list for each part of their keys and for each of their numbers, a word that
    stands in many of them once. A key's words are places in `words`."""

    words: list[str]
    quarters: list[int | None]
    models: list[int]
    fast: list[bool]
    long: list[bool]
    priced: list[bool]
    sessions: list[int]
    projects: list[int]
    numbers: list[list[int]]

    @classmethod
    def of(cls, groups: Pool) -> Columns:
        places: dict[str, int] = {}
        keys = [key for key, _ in groups]
        models, sessions, projects = (
            [places.setdefault(word, len(places)) for word in words]
            for words in ([key.model for key in keys], [key.session for key in keys], [key.project for key in keys])
        )
        return cls(
            list(places), [key.quarter for key in keys], models, [key.fast for key in keys],
            [key.long for key in keys], [key.priced for key in keys], sessions, projects,
            [list(column) for column in zip(*(sums for _, sums in groups), strict=True)],
        )  # fmt: skip

    def groups(self) -> Pool:
        word = self.words.__getitem__
        keys = zip(
            self.quarters, map(word, self.models), self.fast, self.long, self.priced,
            map(word, self.sessions), map(word, self.projects), strict=True,
        )  # fmt: skip
        made = map(partial(tuple.__new__, Group), keys)  # without the frame of a NamedTuple's own
        return list(zip(made, map(list, zip(*self.numbers, strict=True)), strict=True))


class Whole(msgspec.Struct, array_like=True):
    """What all session files tell together: kept for as long as none of them changes.

    `said` is session, pico-dollars, and whether the client did not know all prices. `absent` is how many files are
    known of directories that could not be listed, by directory; `deleted` are in none of these.
    """

    groups: Columns
    project_names: dict[str, str]
    files: int
    deleted: int
    absent: dict[str, int]
    lines: int
    skipped: dict[str, int]
    said: list[tuple[str, int, bool]]


class Delivery(msgspec.Struct, array_like=True):
    """What came of reading one file, or `why` it could not be read. `number` is its place in the list of files, `mark`
    what it was when it was opened: device, inode, bytes, nanoseconds of the last change."""

    number: int
    known: Known | None
    mark: tuple[int, int, int, int] = (0, 0, 0, 0)
    rows: bytes = b""
    ids: bytes = b""
    why: str = ""


_known = msgspec.msgpack.Decoder(Known)
_rows = msgspec.msgpack.Decoder(Rows)
_pool = msgspec.msgpack.Decoder(Pool)
_whole = msgspec.msgpack.Decoder(Whole)
_deliveries = msgspec.msgpack.Decoder(list[Delivery])
_encode = msgspec.msgpack.Encoder().encode


class DamagedError(ValueError):
    """Bytes that were not packed here."""


class DamagedPartsError(Exception):
    """Parts of the index are not what was written, and which is known now: without them it is of use."""


class AwayError(Exception):
    """The index cannot be read just now, and is not damaged for all that is known."""


class ChangedError(Exception):
    """Another process has written the index since it was read."""


def pack(value: Known | Rows | Pool | Whole | list[Delivery]) -> bytes:
    return _encode(value)


def _unpacked(decoder: msgspec.msgpack.Decoder[T], data: bytes) -> T:
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DamagedError(str(error)) from error


def unpack_known(data: bytes) -> Known:
    """Raises DamagedError."""
    return _unpacked(_known, data)


def unpack_pool(data: bytes) -> Pool:
    """Raises DamagedError."""
    return _unpacked(_pool, data)


def unpack_whole(data: bytes) -> Whole:
    """Raises DamagedError."""
    return _unpacked(_whole, data)


def unpack_rows(data: bytes) -> Rows:
    """Raises DamagedError."""
    return _unpacked(_rows, data)


def unpack_deliveries(data: bytes) -> list[Delivery]:
    return _deliveries.decode(data)


def ids_of(rows: Sequence[tuple[Request, str | None]]) -> array[int]:
    """For every id of the rows four bytes. Two ids may have the same: their rows are then looked at closely in vain."""
    named = [request[0] for request, _ in rows if request[0] is not None]
    named += [request[1] for request, _ in rows if request[1] is not None]
    named += [own for request, own in rows if own is not None and request[0] is None and request[1] is None]
    return array("I", map(crc32, map(str.encode, named)))


def unpack_ids(data: bytes) -> array[int]:
    """Raises DamagedError."""
    found = array("I")
    if len(data) % found.itemsize:
        raise DamagedError("ids that are cut")
    found.frombytes(data)
    return found
