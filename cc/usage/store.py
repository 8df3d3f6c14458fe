"""What the store's table of our own answers: requests one by one, or added up by the server.

    of the store alone     rows      requests that telemetry may know too, to be united one by one
                           groups    all others, added up: a week of a hundred million rows is some thousands of groups
    beside session files   rows      of the sessions of which session files and index know less

A question is of a span of quarters of an hour, with which the table's key begins.

Imports errors, clickhouse, groups, model, query, request, store_rows, store_schema, tally, telemetry.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from cc.errors import Failure
from cc.usage.clickhouse import ClickHouse, without_password
from cc.usage.groups import QUARTER_HOUR, Group, Groups, messages_by_session
from cc.usage.model import UsageQuery
from cc.usage.query import begin_of, end_of
from cc.usage.request import Request
from cc.usage.store_rows import NO_QUARTER, request_of
from cc.usage.store_schema import REQUESTS, taken
from cc.usage.tally import needs_requests
from cc.usage.telemetry import IS_REQUEST

TIMEOUT_S = 30.0
QUESTION_BYTES = 12_000
"""Of session names in one question: they are part of its URL, three times as long there at the worst."""

ROWS = """\
SELECT toString(quarter), message_id, request_id, toString(at_ms), model, session, project, toString(input_tokens),
       toString(output_tokens), toString(cache_write_5m), toString(cache_write_1h), toString(cache_read),
       ifNull(toString(cost_pico), ''), toString(fast), toString(sidechain)
FROM cc_requests FINAL
WHERE quarter >= {first:Int32} AND quarter < {after:Int32}
"""
GROUPS = """\
SELECT toString(quarter), model, toString(fast), toString(is_long), toString(priced), its_session, its_project,
       toString(count()), toString(sum(input_tokens)), toString(sum(output_tokens)), toString(sum(cache_write_5m)),
       toString(sum(cache_write_1h)), toString(sum(cache_read)), toString(sum(toInt128(ifNull(cost_pico, 0)))),
       toString(min(at_ms)), toString(max(at_ms))
FROM cc_requests FINAL
WHERE quarter >= {first:Int32} AND quarter < {after:Int32}
"""
GROUPED = """\
GROUP BY quarter, model, fast, input_tokens + cache_write_5m + cache_write_1h + cache_read > 200000 AS is_long,
         isNotNull(cost_pico) AS priced, if({by_session:UInt8}, session, '') AS its_session,
         if({by_project:UInt8}, project, '') AS its_project
"""
ITS_REQUESTS = "SELECT LogAttributes['request_id'] FROM otel_logs WHERE " + IS_REQUEST  # noqa: S608 - of constants
ITS_SESSIONS = "SELECT LogAttributes['session.id'] FROM otel_logs WHERE " + IS_REQUEST  # noqa: S608 - of constants
TOLD = f"(request_id != '' AND request_id IN ({ITS_REQUESTS}) OR session IN ({ITS_SESSIONS}))\n"
"""Telemetry tells of this request, or of its session: an event without a request id is one of its session's."""
SESSIONS = """\
SELECT session, toString(count()) FROM cc_requests FINAL WHERE quarter >= {first:Int32} AND quarter < {after:Int32}
GROUP BY session SETTINGS max_execution_time = 3"""
"""It ends by itself: an answer that is late would be taken for a store that is out of reach."""
THEIRS = "AND session IN {sessions:Array(String)}"

MOST_SESSIONS, MOST_BESIDE = 5_000, 200_000
"""Sessions, and requests of theirs, that are taken one by one out of a store that holds them for other machines."""

ROUND = 4
"""Quarters that are asked for on both sides of a span: telemetry stamps a request otherwise than its session file."""


class Found(msgspec.Struct):
    """`any`: the store has requests of its own in this span, whether or not they are among these."""

    requests: list[Request] = []
    groups: Groups = {}
    any: bool = False


class Span(msgspec.Struct, frozen=True):
    """Quarters of an hour since 1970, the first and the one after the last."""

    first: int = NO_QUARTER
    after: int = 2**31 - 1

    def holds(self, request: Request) -> bool:
        return self.has(None if request.at_ms is None else request.at_ms // QUARTER_HOUR)

    def has(self, quarter: int | None) -> bool:
        return self.first <= (NO_QUARTER if quarter is None else quarter) < self.after


def span_of(queries: Iterable[UsageQuery]) -> Span:
    """Of all that is asked, and a little more on both sides; of blocks all that was before, for when they begin."""
    first, after = [], []
    for query in queries:
        first.append(
            NO_QUARTER
            if query.since is None or query.by == "block"
            else begin_of(query.since, query.tz) // QUARTER_HOUR - ROUND
        )
        after.append(2**31 - 1 if query.until is None else end_of(query.until, query.tz) // QUARTER_HOUR + 1 + ROUND)
    return Span(min(first), max(after))


def alone(store: ClickHouse, queries: Sequence[UsageQuery], *, telemetry: bool) -> Found:
    """All that the store has of these queries' span; `telemetry`: there are events to unite them with.

    Raises Failure as the client does, and `bad_config` for a store that a newer version has changed.
    """
    if not taken(store):
        return Found()
    span = span_of(queries)
    bounds = {"first": span.first, "after": span.after}
    if any(map(needs_requests, queries)):
        requests = _requests(store, _ask(store, ROWS, **bounds))
        return Found(requests, any=bool(requests))
    by_session = int(any(query.by == "session" for query in queries))
    by_project = int(any(query.by == "project" or query.project is not None for query in queries))
    added_up = GROUPS + ("AND NOT " + TOLD if telemetry else "") + GROUPED
    groups = _groups(store, _ask(store, added_up, by_session=by_session, by_project=by_project, **bounds))
    requests = _requests(store, _ask(store, ROWS + "AND " + TOLD, **bounds)) if telemetry else []
    return Found(requests, groups, any=bool(requests or groups))


def beside(store: ClickHouse, queries: Sequence[UsageQuery], known: Groups) -> Found:
    """The requests of sessions of which the store holds more than is known of these queries' span.

    Of a session that is known in part they are told from the known ones by their ids; those that have none are left.
    Raises Failure as `alone` does, and `not_satisfied` if they are too many for a person to wait for.
    """
    if not taken(store):
        return Found()
    span = span_of(queries)
    bounds = {"first": span.first, "after": span.after}
    there = {session: int(number) for session, number in store.rows(SESSIONS, REQUESTS, **bounds)}
    sessions = messages_by_session(known)
    in_span = messages_by_session({group: numbers for group, numbers in known.items() if span.has(group.quarter)})
    others = sorted(session for session, number in there.items() if number > in_span.get(session, 0))
    requests = sum(there[session] for session in others)
    if len(others) > MOST_SESSIONS or requests > MOST_BESIDE:
        told = f"{requests:,} requests of {len(others):,} sessions are not all in session files, too many to be united"
        raise Failure(f"{told}; --source clickhouse adds them up", code="not_satisfied")
    found = Found(any=bool(there))
    for names in in_questions(others):
        found.requests += [
            request
            for request in _requests(store, _ask(store, ROWS + THEIRS, sessions=names, **bounds))
            if request.session not in sessions or request.message_id or request.request_id
        ]
    return found


def in_questions(names: Iterable[str]) -> Iterator[Sequence[str]]:
    """The names, as many at a time as go into one question."""
    some: list[str] = []
    size = 0
    for name in names:
        if some and size + len(name.encode()) > QUESTION_BYTES:
            yield some
            some, size = [], 0
        some.append(name)
        size += len(name.encode()) + 3
    if some:
        yield some


def _ask(store: ClickHouse, statement: str, **params: int | Sequence[str]) -> list[list[str]]:
    return store.rows(statement, REQUESTS, TIMEOUT_S, **params)


def _requests(store: ClickHouse, rows: Iterable[Sequence[str]]) -> list[Request]:
    try:
        return list(map(request_of, rows))
    except ValueError as error:
        raise _odd(store, error) from error


def _groups(store: ClickHouse, rows: Iterable[Sequence[str]]) -> Groups:
    found: Groups = {}
    try:
        for quarter, model, fast, is_long, priced, session, project, *numbers in rows:
            at = int(quarter)
            key = Group(None if at == NO_QUARTER else at, model, fast == "1", is_long == "1", priced == "1", session,
                        project)  # fmt: skip
            found[key] = list(map(int, numbers))
    except ValueError as error:
        raise _odd(store, error) from error
    return found


def _odd(store: ClickHouse, error: ValueError) -> Failure:
    where = ", ".join(map(without_password, store.urls))
    return Failure(f"ClickHouse: {where}: rows of {REQUESTS} of another shape ({error})", code="bad_answer")
