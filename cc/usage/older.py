"""Indexes that earlier versions wrote, each layout as it was then: never changed. Imports packed, request.

    version 1   file   id | path | device, inode, bytes, changed | known     nothing is sealed with a sum
                body   id | rows | ids
                meta   key | value

Read once: the next writing is in the layout of today. Who settled what is not taken over, it follows from the rows.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from cc.usage.packed import Known, Rows
from cc.usage.request import Request


class Kept(NamedTuple):
    """A file as an older index has it. `rows` is None where they or what is known of it are damaged."""

    path: bytes
    mark: tuple[int, int, int, int]
    known: Known
    rows: Rows | None


class _Known1(msgspec.Struct, array_like=True):
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


_Request1 = tuple[
    str | None, str | None, str, int | None, str, str, int, int, int, int, int, int | None, bool, bool
]  # fmt: skip


def _of_version_1(database: sqlite3.Connection) -> Iterator[Kept]:
    known = msgspec.msgpack.Decoder(_Known1)
    rows = msgspec.msgpack.Decoder(list[tuple[_Request1, str | None]])
    for path, device, inode, size, changed, about, body in database.execute(
        "SELECT path, device, inode, bytes, changed, known, rows FROM file LEFT JOIN body USING (id)"
    ):
        mark = (device, inode, size, changed)
        try:
            was = known.decode(about)
            its = [(Request(*request), own) for request, own in rows.decode(body)]
        except (msgspec.DecodeError, UnicodeDecodeError, TypeError):
            yield Kept(path, mark, Known("", ""), None)
            continue
        fields = {name: getattr(was, name) for name in was.__struct_fields__ if name != "groups"}
        yield Kept(path, mark, Known(**fields), its)


READERS: Mapping[int, Callable[[sqlite3.Connection], Iterator[Kept]]] = {1: _of_version_1}
"""By version. What they give raises sqlite3.Error for what SQLite itself finds damaged."""
