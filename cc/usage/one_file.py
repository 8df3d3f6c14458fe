"""One session file, from some byte on: its rows, each key once, and what could not be used. The hot loop is `read`.

Imports lines, decode, recover, ledger, packed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from zlib import crc32

from cc.usage.decode import BadCountsError, decode_cost_state, decode_row, request_of
from cc.usage.ledger import Ledger
from cc.usage.lines import COST_STATE, LineCount, candidates
from cc.usage.packed import Known, Rows
from cc.usage.request import UNKNOWN, pico

SAMPLE_BYTES = 1024


class FileReader:
    """Reads the lines of one file into a Known and its rows. `rows` are those that are known of it already."""

    def __init__(self, known: Known, rows: Rows = []) -> None:  # noqa: B006 - never changed
        self._known = known
        self._ledger = Ledger()
        self._count = LineCount()
        for request, own in rows:
            self._ledger.add(request, own)

    def read(self, descriptor: int, size: int, heard: Callable[[int], object] = lambda size: None) -> Rows:
        """Read on to `size` from where the file was left. Returns all its rows; `heard` is told of bytes on the way.
        Raises OSError as `read` does."""
        known, count = self._known, self._count
        if known.end:
            os.lseek(descriptor, known.end, os.SEEK_SET)
        add, folder, session = self._ledger.add, known.folder, known.session
        seen = None
        found, before_tail = 0, None  # requests so far, and those before a last line without an end
        for line in candidates(descriptor, size - known.end, count, heard):
            if count.tail is not None:
                before_tail = found
            row = decode_row(line)
            if row is None:
                found += self._recover(line)
                continue
            try:
                request = request_of(row, session, folder)
            except BadCountsError:
                (count.tail or count).skipped["bad_counts"] += 1
                continue
            if request is not None:
                found += 1
                add(request, row.uuid)
                if row.cwd != seen and row.cwd and not known.sure:
                    seen = row.cwd
                    self._see(seen)
            elif line.startswith(COST_STATE):
                self._hear(line)
        self._close(descriptor, counts=before_tail is not None and found > before_tail)
        return list(self._ledger.rows())

    def _close(self, descriptor: int, *, counts: bool) -> None:
        known, count = self._known, self._count
        known.end += count.end
        known.mark = mark_of(descriptor, known.end)
        known.lines += count.lines
        known.skipped = {**known.skipped}
        for kind, number in count.skipped.items():
            known.skipped[kind] = known.skipped.get(kind, 0) + number
        tail = count.tail or LineCount()
        known.tail_lines, known.tail_skipped, known.tail_counts = tail.lines, dict(tail.skipped), counts

    def _recover(self, line: bytes) -> int:
        """How many requests were in a line that the fast decoder refused."""
        from cc.usage.recover import recover

        rows, lost = recover(line)
        found = 0
        for row in rows:
            try:
                request = request_of(row, self._known.session, self._known.folder)
            except BadCountsError:
                lost = "bad_counts"
                continue
            if request is not None:
                found += 1
                self._ledger.add(request, row.uuid)
                if not self._known.sure and row.cwd:
                    self._see(row.cwd)
        if lost is not None:
            (self._count.tail or self._count).skipped[lost] += 1
        return found

    def _see(self, cwd: str) -> None:
        """A folder's name is a working directory with every odd character made a dash: the directory reads better."""
        known = self._known
        known.sure = known.folder == UNKNOWN or re.sub(r"[^A-Za-z0-9]", "-", cwd) == known.folder
        if (known.sure or known.cwd is None) and known.folder != UNKNOWN:
            known.cwd = cwd

    def _hear(self, line: bytes) -> None:
        """What the client says that the session has cost; what it says last counts."""
        state = decode_cost_state(line)
        if state is not None and state.totalCostUSD is not None and state.sessionId in (None, self._known.session):
            self._known.said = pico(state.totalCostUSD)
            self._known.said_in_part = state.hasUnknownModelCost is True


def mark_of(descriptor: int, end: int) -> int:
    """What tells the bytes before `end` from those of another file: a file that was only added to has the same.

    Of four samples: its beginning, its end, and two between. To read all of it would be to read it again.
    """
    mark = 0
    for first in (0, end // 3, 2 * end // 3, max(0, end - SAMPLE_BYTES)):
        mark = crc32(os.pread(descriptor, min(SAMPLE_BYTES, end - first), first), mark)
    return mark
