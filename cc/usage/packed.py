"""What is known of one session file, in a form that crosses a pipe and lies in the index. Imports groups, request.

    Known     where reading stopped, what was skipped, and the groups of the requests that count for this file
    rows      every key of the file (ledger.py) with the row that it stands for, also those that another file's beat
    ids       four bytes for each row's id: one that stands twice anywhere makes its rows contested (settle.py)

msgpack, which is compact and says its own types. Who changes any of this, or the tables of the index, raises VERSION
and keeps the layout of before in `older`: what is known of deleted files is nowhere else.
"""

from __future__ import annotations

from array import array
from typing import TypeVar
from zlib import crc32

import msgspec

from cc.usage.columns import GroupColumns, RowColumns
from cc.usage.groups import Pool
from cc.usage.request import Fields, R, Request, Rows

T = TypeVar("T")
VERSION = 3


class Known(msgspec.Struct, array_like=True):
    """One session file as it was read.

    `end` is how many bytes its whole lines take, `mark` tells the last of them from others. `skipped` and
    `tail_skipped` are by kind; the tail is a last line without an end, and `tail_counts` if a request was in it. `cwd`
    is the first working directory named, or the one (`sure`) whose dashed form is the folder's name. `said` is what
    the client says the session cost in pico-dollars, None if it says nothing, and `said_in_part` that it did not know
    all prices. `groups` as `groups.pairs_of` gives them, `loose` as `loose_of` does.
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
    groups: Pool = []
    loose: list[int] = []


class Whole(msgspec.Struct, array_like=True):
    """What all session files tell together: kept for as long as none of them changes.

    `said` is session, pico-dollars, and whether the client did not know all prices. `absent` is how many files are
    known of directories that could not be listed, by directory; `deleted` are in none of these.
    """

    groups: GroupColumns
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
_rows = msgspec.msgpack.Decoder(RowColumns)
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


def pack(value: Known | Pool | Whole | list[Delivery]) -> bytes:
    return _encode(value)


def pack_rows(rows: Rows[R], known: Known) -> bytes:
    """Rows of this file."""
    return _encode(RowColumns.of(rows, known.session))


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


def unpack_rows(data: bytes, known: Known) -> Rows[Request]:
    """Those of this file. Raises DamagedError."""
    columns = _unpacked(_rows, data)
    try:
        return columns.rows(known.session, known.folder)
    except (ValueError, IndexError) as error:
        raise DamagedError(str(error)) from error


def unpack_deliveries(data: bytes) -> list[Delivery]:
    return _deliveries.decode(data)


def ids_of(rows: Rows[R]) -> array[int]:
    """Of each row four bytes of what it is called by.

    Two ids may have the same: their rows are then looked at closely in vain.
    """
    names = [request[0] for request in rows.requests]
    if None in names:
        names = [_name(request, own) for request, own in rows.pairs()]
    return array("I", map(crc32, map(str.encode, filter(None, names))))


def loose_of(rows: Rows[R]) -> list[int]:
    """The request ids that stand without a message id: whoever has one of them must be looked at for it, too."""
    return [_id(request[1]) for request in rows.requests if request[0] is None and request[1] is not None]


def tied_to(loose: set[int], rows: Rows[Request]) -> frozenset[int]:
    """Of rows that are called by their message those request ids that are among `loose`."""
    called = (_id(request[1]) for request in rows.requests if request[0] and request[1])
    return frozenset(loose.intersection(called))


def ids_in(row: tuple[Request, str | None], tied: frozenset[int]) -> list[int]:
    """All by which this row may be joined with another: its id, and its request's where that is `tied`."""
    message_id, request_id, *_ = row[0]
    name = _name(*row)
    found = [_id(name)] if name else []
    if tied and message_id and request_id and (one := _id(request_id)) in tied:
        found.append(one)
    return found


def _name(request: Fields, own: str | None) -> str | None:
    """What a row is called by: its message's id, else its request's, else its own."""
    return request[0] or request[1] or own


def _id(name: str) -> int:
    return crc32(name.encode())


def unpack_ids(data: bytes) -> array[int]:
    """Raises DamagedError."""
    found = array("I")
    if len(data) % found.itemsize:
        raise DamagedError("ids that are cut")
    found.frombytes(data)
    return found
