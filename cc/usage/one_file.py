"""One session file, from some byte on: its rows, each key once, and what could not be used. The hot loop is `_read`.

Imports lines, decode, recover, ledger, packed, request.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from sys import intern
from typing import Any
from zlib import crc32

from cc.usage.decode import REFUSED, Row, decode_row, split
from cc.usage.ledger import Ledger
from cc.usage.lines import LineCount, candidates
from cc.usage.packed import Known
from cc.usage.request import EPOCH, MOST_TOKENS, SIDECHAIN, UNKNOWN, Fields, Request, Rows, pico, tokens_of

SAMPLE_BYTES = 1024
COST_STATE = "cost-state"

SYNTHETIC = "<synthetic>"
"""The model of messages that the client wrote itself, about an error: no request was answered."""

ZONELESS = EPOCH.replace(tzinfo=None)
"""To be taken from what says no zone: it is UTC, as all of the client's are."""

MS_OF_DAY = 86_400_000


class FileReader:
    """Reads the lines of one file into a Known and its rows. `rows` are those that are known of it already."""

    def __init__(self, known: Known, rows: Rows[Request]) -> None:
        self._known = known
        self._ledger: Ledger[Fields] = Ledger()
        self._count = LineCount()
        if rows.requests:
            for request, own in rows.pairs():
                self._ledger.add(request, own)

    def read(self, descriptor: int, size: int, heard: Callable[[int], object] = lambda size: None) -> Rows[Fields]:
        """Read on to `size` from where the file was left. Returns all its rows; `heard` is told of bytes on the way.
        Raises OSError as `read` does."""
        known, count = self._known, self._count
        if known.end:
            os.lseek(descriptor, known.end, os.SEEK_SET)
        in_tail = self._read(candidates(descriptor, size - known.end, count, heard), decode_row)
        known.end += count.end
        known.mark = mark_of(descriptor, known.end)
        known.lines += count.lines
        if count.skipped:
            known.skipped = {**known.skipped}
            for kind, number in count.skipped.items():
                known.skipped[kind] = known.skipped.get(kind, 0) + number
        tail = count.tail
        known.tail_lines, known.tail_skipped = (tail.lines, dict(tail.skipped)) if tail is not None else (0, {})
        known.tail_counts = in_tail
        return self._ledger.rows()

    def _read(self, lines: Iterable[Any], decode: Callable[[Any], Row]) -> bool:  # noqa: C901, PLR0912 - the hot loop
        """Whether a request was in a last line without an end.

        Only `message.usage` of an assistant's row counts, not the `usage` that a tool result may hold. A row without
        any `type` whose message's role is assistant counts: some writers leave the type out. All in one function: to
        call three for each row takes a tenth of all the time.
        """
        known, count = self._known, self._count
        add, kept = self._ledger.add, self._ledger.kept
        before_of = kept.get
        session, folder, seen = known.session, known.folder, None
        in_tail = False
        for line in lines:
            try:
                row = decode(line)
            except REFUSED:
                in_tail |= self._read(self._recovered(line), itself)
                continue
            message = row.message
            if message is None or (usage := message.usage) is None:
                if row.totalCostUSD is not None and row.type == COST_STATE:
                    self._hear(row)
                continue
            if row.type != "assistant" and (row.type is not None or message.role != "assistant"):
                continue
            given, output, read = usage.input_tokens or 0, usage.output_tokens or 0, usage.cache_read_input_tokens or 0
            for_5m, for_hour = usage.cache_creation_input_tokens or 0, 0
            if usage.cache_creation is not None:
                for_5m, for_hour = split(for_5m, usage.cache_creation)
            # a sum of numbers none of which is below 0 bounds each of them, and `|` is below 0 if any is
            tokens, model = given + output + read + for_5m + for_hour, message.model
            if tokens > MOST_TOKENS or (given | output | read | for_5m | for_hour) < 0:
                (count.tail or count).skipped["bad_counts"] += 1
                continue
            if not tokens and model == SYNTHETIC:
                continue
            if count.tail is not None:
                in_tail = True
            key = message_id, request_id = message.id or None, row.requestId or None
            before, aside = before_of(key), row.isSidechain is True
            if before is not None and (aside or not before[SIDECHAIN]) and tokens <= tokens_of(before):
                continue  # most rows of a message that streams
            own, moment, cost = row.sessionId, row.timestamp, row.costUSD
            if moment is not None:
                since = moment - (EPOCH if moment.tzinfo else ZONELESS)
                at = since.days * MS_OF_DAY + since.seconds * 1000 + since.microseconds // 1000
            request = (
                message_id,
                request_id,
                intern(model) if model else UNKNOWN,  # one string for all of them, not one a row
                None if moment is None else at,
                session if not own or own == session else intern(own),
                folder,
                given,
                output,
                for_5m,
                for_hour,
                read,
                None if cost is None else pico(cost),
                usage.speed == "fast",
                aside,
            )
            if before is not None or (message_id is None and request_id is None):
                add(request, row.uuid)
            else:
                kept[key] = request
            if row.cwd != seen and row.cwd and not known.sure:
                seen = row.cwd
                self._see(seen)
        return in_tail

    def _recovered(self, line: bytes) -> Iterator[Row]:
        """The rows of a line that the fast decoder refuses."""
        from cc.usage.recover import recover

        rows, lost = recover(line)
        if lost is not None:
            (self._count.tail or self._count).skipped[lost] += 1
        yield from rows

    def _see(self, cwd: str) -> None:
        """A folder's name is a working directory with every odd character made a dash: the directory reads better."""
        known = self._known
        known.sure = known.folder == UNKNOWN or re.sub(r"[^A-Za-z0-9]", "-", cwd) == known.folder
        if (known.sure or known.cwd is None) and known.folder != UNKNOWN:
            known.cwd = cwd

    def _hear(self, row: Row) -> None:
        """What the client says that the session has cost; what it says last counts."""
        if row.sessionId in (None, self._known.session) and row.totalCostUSD is not None:
            self._known.said = pico(row.totalCostUSD)
            self._known.said_in_part = row.hasUnknownModelCost is True


def itself(row: Row) -> Row:
    """Decoded already."""
    return row


def mark_of(descriptor: int, end: int) -> int:
    """What tells the bytes before `end` from those of another file: a file that was only added to has the same.

    Of four samples: its beginning, its end, and two between. To read all of it would be to read it again.
    """
    places = 0, end // 3, 2 * end // 3, max(0, end - SAMPLE_BYTES)
    return crc32(b"".join([os.pread(descriptor, min(SAMPLE_BYTES, end - place), place) for place in places]))
