"""Indexes that earlier versions wrote, each layout as it was then: never changed. Imports packed, request.

    version 1   file   id | path | device, inode, bytes, changed | known     nothing is sealed with a sum
                body   id | rows | ids
                meta   key | value
    version 2   file   as before, and the sum of all that       known and rows as before
                body   id | ids | its sum | rows | its sum      both begun with the id
                meta   key | value | its sum

Read once: the next writing is in the layout of today. Who settled what is not taken over, it follows from the rows.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple
from zlib import crc32

import msgspec

from cc.usage.packed import Known
from cc.usage.request import Request, Rows

NO_MARK = 0, 0, 0, 0


class Kept(NamedTuple):
    """A file as an older index has it. `rows` is None where they or what is known of it are damaged."""

    path: bytes
    mark: tuple[int, int, int, int]
    known: Known
    rows: Rows[Request] | None


class _Known(msgspec.Struct, array_like=True):
    folder: str
    session: str
    end: int
    mark: int
    lines: int
    skipped: dict[str, int]
    tail_lines: int
    tail_skipped: dict[str, int]
    tail_counts: bool
    cwd: str | None
    sure: bool
    said: int | None
    said_in_part: bool
    groups: msgspec.Raw


_Request = tuple[
    str | None, str | None, str, int | None, str, str, int, int, int, int, int, int | None, bool, bool
]  # fmt: skip


_known = msgspec.msgpack.Decoder(_Known)
_rows = msgspec.msgpack.Decoder(list[tuple[_Request, str | None]])


def _of_version_1(database: sqlite3.Connection) -> Iterator[Kept]:
    for path, *mark, about, body in database.execute(
        "SELECT path, device, inode, bytes, changed, known, rows FROM file LEFT JOIN body USING (id)"
    ):
        yield _kept(path, mark, about, body)


def _of_version_2(database: sqlite3.Connection) -> Iterator[Kept]:
    for number, path, *mark, about, its_sum, body, rows_sum in database.execute(
        "SELECT id, path, device, inode, bytes, changed, known, sum, rows, rows_sum FROM file LEFT JOIN body USING (id)"
    ):
        try:
            whole = crc32(about, crc32(path, crc32(struct.pack("=5q", number, *mark)))) == its_sum
            sound = whole and crc32(body, number) == rows_sum
        except (struct.error, TypeError):
            sound = False
        yield _kept(path, mark, about, body if sound else None)


def _kept(path: object, mark: list[object], about: bytes, body: bytes | None) -> Kept:
    if not isinstance(path, bytes):
        return Kept(b"", NO_MARK, Known("", ""), None)
    device, inode, size, changed = (each if isinstance(each, int) else 0 for each in mark)
    try:
        was = _known.decode(about)
        pairs = [(Request(*request), own) for request, own in _rows.decode(body or b"")]
    except (msgspec.DecodeError, UnicodeDecodeError, TypeError):
        return Kept(path, (device, inode, size, changed), Known("", ""), None)
    fields = {name: getattr(was, name) for name in was.__struct_fields__ if name != "groups"}
    requests, own = zip(*pairs, strict=True) if pairs else ((), ())
    its = Rows(requests, own if any(own) else ())
    return Kept(path, (device, inode, size, changed), Known(**fields), its)


READERS: Mapping[int, Callable[[sqlite3.Connection], Iterator[Kept]]] = {1: _of_version_1, 2: _of_version_2}
"""By version. What they give raises sqlite3.Error for what SQLite itself finds damaged."""
