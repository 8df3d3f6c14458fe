"""The bytes of one session file become the lines that may count, in bounded memory. Imports nothing of cc.

A line may count if it says `"assistant"` anywhere: both the `type` of a row and the `role` of its message say so, with
and without a space after the colon, and text inside a string never does (its quotes are escaped). Measured on real
rows: looking for it costs 0.24 s a GB, for `"type":"assistant"` 0.22, for `"usage":{` 0.34; half of that is saved where
a long line shows at its two ends that it is a user's. The look at the ends of every other line costs 0.07 and finds
what is not a row at all: a bare 42, an array, a half-written end, NULs.

Lines end at a newline byte and nowhere else: U+2028 inside a string is text.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import chain

NEEDLE = b'"assistant"'
CHUNK = 4 << 20
LONGEST = 32 << 20
"""Bytes. A longer line is skipped and counted: the row of an answer is far below 1 MB, and memory is bounded."""

LONG = 4000
HEAD, USAGE_TAIL, TYPE_TAIL = 600, 1200, 400
"""Bytes. The head of a line that is longer than LONG may tell that it is a user's, and its tails that it is nothing
else: then the rest need not be searched. In an assistant's row 200 bytes follow `usage`, and 100 follow a `type` that
stands behind the message."""

USERS, USAGE = b'"type":"user","message":{"role":"user"', b'"usage":{'

COST_STATE = b'{"type":"cost-state"'
"""How the line begins in which a client states what its session has cost. It counts nothing; ours is checked by it."""

BLANK = b" \t\r\x00"
BOM = b"\xef\xbb\xbf"
OPEN, CLOSE = b"{}"


class LineCount:
    """How many lines were seen, and how many could not be used, by kind.

    `end` is how many bytes the lines that have an end take. `tail` counts the last line apart if it has none: it may be
    half written, and be read again when the rest has come.
    """

    def __init__(self) -> None:
        self.lines = 0
        self.skipped: dict[str, int] = defaultdict(int)
        self.end = 0
        self.tail: LineCount | None = None


def candidates(
    descriptor: int, size: int, count: LineCount, heard: Callable[[int], object] = lambda size: None
) -> Iterator[bytes]:
    """The lines of the next `size` bytes that may count; `heard` is told how many more were read, some MB at a time.
    Raises OSError as `read` does.
    """
    return chain.from_iterable(_pieces(descriptor, size, count, heard))


def _pieces(descriptor: int, size: int, count: LineCount, heard: Callable[[int], object]) -> Iterator[Iterator[bytes]]:
    """The same, some MB at a time: each is to be taken before the next is.

    What is appended while it is read belongs to the next reading: a file that grows for ever has an end here.
    """
    held: list[bytes] = []  # pieces of a line whose end has not been read yet
    held_size = 0
    dropping, dropped = False, 0  # in a line that is too long, and how much of it was let go
    left = size
    while left > 0 and (data := os.read(descriptor, min(left, CHUNK))):
        left -= len(data)
        heard(len(data))
        end = data.rfind(b"\n") + 1
        if not end:
            dropping = dropping or held_size + len(data) > LONGEST
            if dropping:
                dropped += held_size + len(data)
                held, held_size = [], 0
            else:
                held.append(data)
                held_size += len(data)
            continue
        if held and held_size + data.find(b"\n") > LONGEST:
            dropping, dropped = True, held_size
            held, held_size = [], 0
        count.end += held_size + dropped + end
        whole, rest = (data, b"") if end == len(data) else (data[:end], data[end:])
        if dropping:
            whole = whole[whole.find(b"\n") + 1 :]
            count.lines += 1
            count.skipped["too_long"] += 1
            dropping, dropped = False, 0
        yield _look(b"".join((*held, whole)) if held else whole, count)
        held, held_size = ([rest], len(rest)) if rest else ([], 0)
    if dropping:
        count.tail = LineCount()
        count.tail.lines += 1
        count.tail.skipped["too_long"] += 1
    elif held:
        count.tail = LineCount()
        yield _look(b"".join(held), count.tail)


def _look(data: bytes, count: LineCount) -> Iterator[bytes]:
    find = data.find
    start, size = 0, len(data)
    lines = 0
    while start < size:
        end = find(b"\n", start)
        if end < 0:
            end = size
        if end == start:  # blank
            start = end + 1
            continue
        lines += 1
        whole = data[start] == OPEN and data[end - 1] == CLOSE
        # Most bytes are in results of tools, in long rows of users, whose beginning says so. Nothing at the end is an
        # assistant's, as it would be of a row spliced onto it. What stands before the type is bounded; text inside a
        # string has its quotes escaped.
        if (
            whole
            and end - start > LONG
            and find(USERS, start, start + HEAD) >= 0
            and find(NEEDLE, start, start + HEAD) < 0
            and find(NEEDLE, end - TYPE_TAIL, end) < 0
            and find(USAGE, end - USAGE_TAIL, end) < 0
        ):
            start = end + 1
            continue
        if find(NEEDLE, start, end) >= 0:
            yield data[start:end] if whole else data[start:end].strip(BLANK).removeprefix(BOM)
        elif not whole:
            _count_odd(data[start:end], count)
        elif data.startswith(COST_STATE, start):
            yield data[start:end]
        start = end + 1
    count.lines += lines


def _count_odd(line: bytes, count: LineCount) -> None:
    """A line without needle whose ends are not those of an object: blank, CRLF, behind a BOM, or not a row at all."""
    text = line.strip(BLANK).removeprefix(BOM).strip(BLANK)
    if not text:
        if b"\x00" in line:
            count.skipped["nul_bytes"] += 1
        else:
            count.lines -= 1
    elif text[0] != OPEN:
        count.skipped["not_an_object" if text[0] in b'[-0123456789"tfn' else "not_json"] += 1
    elif text[-1] != CLOSE:
        count.skipped["cut"] += 1
