"""Files and telemetry as one, each request once: pure. Imports request.

Both know a request by its request id. The file's row says where and when (folder, session, time, model); telemetry's
numbers are final, where a file often holds those of the middle of a stream. Where one of the two has no request id they
are matched by session, model, input and cache counts within a minute: else it would be counted twice.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import msgspec

from cc.usage.request import UNKNOWN, Request, counts_of

CLOSE_MS = 60_000


class United(msgspec.Struct, frozen=True):
    """All requests, each once, and who knew of them: `pairs` are what a file holds, and that with the final numbers.

    `output_tokens_added` is by how much the files under-reported those.
    """

    requests: list[Request]
    files_alone: list[Request]
    telemetry_alone: list[Request]
    pairs: list[tuple[Request, Request]]

    @property
    def output_tokens_added(self) -> int:
        return sum(max(0, final.output_tokens - row.output_tokens) for row, final in self.pairs)


def unite(files: Sequence[Request], telemetry: Sequence[Request]) -> United:
    """In the order of the files, then what telemetry alone knows, in its order."""
    final = {event.request_id: event for event in telemetry if event.request_id is not None}
    named = {row.request_id for row in files}
    others = _Others([event for event in telemetry if event.request_id is None or event.request_id not in named])
    folders = {request.session: request.project for request in reversed(files)}
    united: list[Request] = []
    files_alone: list[Request] = []
    pairs: list[tuple[Request, Request]] = []
    counted: set[str] = set()  # telemetry says that it was one request, however many messages files hold of it
    for row in files:
        known = row.request_id
        event = final.get(known) if known is not None else None
        if event is not None and known is not None:
            if known in counted:
                continue
            counted.add(known)
        elif (event := others.match(row)) is None:
            files_alone.append(row)
            united.append(row)
            continue
        pairs.append((row, _with_final_numbers(row, event)))
        united.append(pairs[-1][1])
    alone = [event._replace(project=folders.get(event.session, UNKNOWN)) for event in others.left()]
    return United(united + alone, files_alone, alone, pairs)


def _with_final_numbers(row: Request, event: Request) -> Request:
    """The row, with what telemetry says of its tokens and cost."""
    written = event.cache_write_5m + event.cache_write_1h
    # an older client's events do not split the cache writes; its files may
    split = event if event.cache_write_1h or written != row.cache_write_5m + row.cache_write_1h else row
    cost = event.cost_pico
    if cost is None and counts_of(event) == counts_of(row):
        cost = row.cost_pico
    return row._replace(
        request_id=row.request_id or event.request_id,
        model=event.model if row.model == UNKNOWN else row.model,
        at_ms=event.at_ms if row.at_ms is None else row.at_ms,
        input_tokens=event.input_tokens,
        output_tokens=event.output_tokens,
        cache_write_5m=split.cache_write_5m,
        cache_write_1h=split.cache_write_1h,
        cache_read=event.cache_read,
        cost_pico=cost,
        fast=event.fast or row.fast,
    )


class _Others:
    """Events whose request id no file has, or that have none: each to be matched by likeness, at most once."""

    def __init__(self, events: list[Request]) -> None:
        self._events = events
        self._matched: set[int] = set()
        alike: dict[tuple[object, ...], list[tuple[int, int]]] = {}  # by likeness: time and place of each
        for place, event in enumerate(events):
            if event.at_ms is not None:
                alike.setdefault((event.request_id is None, *_likeness(event)), []).append((event.at_ms, place))
        self._alike = {
            key: _InTime(found, [events[place].output_tokens for _, place in found])
            for key, found in ((key, sorted(each)) for key, each in alike.items())
        }

    def match(self, row: Request) -> Request | None:
        """The earliest event of this row, taken off the list; None if there is none.

        Of two request ids neither is the other: a row that has one is of an event that has none.
        """
        if not self._alike or row.at_ms is None:
            return None
        likeness = _likeness(row)
        best: tuple[tuple[int, int], _InTime, int] | None = None
        for unnamed in (True,) if row.request_id is not None else (True, False):
            near = self._alike.get((unnamed, *likeness))
            at = near.first(row.at_ms - CLOSE_MS, row.output_tokens) if near is not None else None
            if near is None or at is None or near.places[at][0] > row.at_ms + CLOSE_MS:
                continue
            if best is None or near.places[at] < best[0]:
                best = near.places[at], near, at
        if best is None:
            return None
        (_, place), near, at = best
        near.take(at)
        self._matched.add(place)
        return self._events[place]

    def left(self) -> list[Request]:
        return [event for place, event in enumerate(self._events) if place not in self._matched]


class _InTime:
    """Alike events in the order of time; finding and taking one needs the logarithm of their number in steps.

    A client that retries can leave thousands of them within a minute. `_most[1]` is the highest number of output tokens
    of all that are left, and `_most[2 * n]`, `_most[2 * n + 1]` are those of the two halves of what `_most[n]` is of.
    """

    def __init__(self, places: list[tuple[int, int]], output: list[int]) -> None:
        self.places = places
        self._size = 1 << (len(output) - 1).bit_length()
        self._most = [-1] * self._size + output + [-1] * (self._size - len(output))
        for node in range(self._size - 1, 0, -1):
            self._most[node] = max(self._most[2 * node], self._most[2 * node + 1])

    def first(self, since: int, output: int) -> int | None:
        """The first from that time on with so many output tokens or more."""
        at = bisect_left(self.places, (since, 0))
        if at == len(self.places):
            return None
        node = self._size + at
        while self._most[node] < output:
            while node & 1:  # a right half: what comes after it is beside a node above
                node >>= 1
            if not node:
                return None
            node += 1
        while node < self._size:
            node *= 2
            if self._most[node] < output:
                node += 1
        return node - self._size

    def take(self, at: int) -> None:
        node = self._size + at
        self._most[node] = -1
        while node > 1:
            node >>= 1
            self._most[node] = max(self._most[2 * node], self._most[2 * node + 1])


def _likeness(request: Request) -> tuple[object, ...]:
    """What is the same in a file and in telemetry, also when the file stopped in the middle of the stream."""
    return (
        request.session,
        request.model,
        request.input_tokens,
        request.cache_read,
        request.cache_write_5m + request.cache_write_1h,
    )
