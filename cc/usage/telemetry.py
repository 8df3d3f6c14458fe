"""What the client's telemetry tells, as rows of strings, becomes requests: pure. Imports ledger, request.

A row is what COLUMNS names, each a string, empty where the event lacks the attribute. The same rows come
from the store (`EVENTS`) and from the cache. Attribute names as Claude Code 2.1.330 writes them; older clients lack the
split of cache writes and `cost_usd_micros`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from cc.usage.ledger import Ledger
from cc.usage.request import MOST_TOKENS, UNKNOWN, Request, pico

COLUMNS = (
    "request_id",
    "session.id",
    "model",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_creation_tokens",
    "cache_creation_5m_tokens",
    "cache_creation_1h_tokens",
    "cost_usd",
    "cost_usd_micros",
    "speed",
    "event.sequence",
    "event.timestamp",
    "milliseconds",  # of the log record itself
)
"""The order of the strings of a row."""

IS_REQUEST = """\
(Body = 'claude_code.api_request' OR LogAttributes['event.name'] IN ('api_request', 'claude_code.api_request'))
"""
"""Of a row of otel_logs. `EventName` is left alone: clients leave it empty, and older tables do not have the column."""

EVENTS = (
    """\
SELECT LogAttributes['request_id'], LogAttributes['session.id'], LogAttributes['model'],
       LogAttributes['input_tokens'], LogAttributes['output_tokens'],
       LogAttributes['cache_read_tokens'], LogAttributes['cache_creation_tokens'],
       LogAttributes['cache_creation_5m_tokens'], LogAttributes['cache_creation_1h_tokens'],
       LogAttributes['cost_usd'], LogAttributes['cost_usd_micros'], LogAttributes['speed'],
       LogAttributes['event.sequence'], LogAttributes['event.timestamp'],
       toString(toUnixTimestamp64Milli(Timestamp))
FROM otel_logs
WHERE """
    + IS_REQUEST
)
"""Every request that a client reported, in the order of COLUMNS. What the value means is decided in Python."""

EVENTS_TABLE = "otel_logs"


def requests_of(rows: Iterable[Sequence[str]]) -> tuple[list[Request], int]:
    """The requests, each once however often it was exported, and how many rows could not be used.

    An event without a request id is told from others by its session, its number in it and its time.
    """
    ledger, unusable = Ledger[Request](), 0
    for row in rows:
        try:
            request = _request(row)
        except ValueError:
            unusable += 1
        else:
            ledger.add(
                request, None if request.request_id else "\0".join((row[1], row[12], row[13] or row[14], row[2]))
            )
    return ledger.settle(), unusable


def _request(row: Sequence[str]) -> Request:
    """Raises ValueError for a row that is none, or whose counts cannot be."""
    if len(row) != len(COLUMNS):
        raise ValueError("a row of another shape")
    given, output, read, written, for_5m, for_hour = (_count(text) for text in row[3:9])
    return Request(
        None,
        row[0] or None,
        row[2] or UNKNOWN,
        _moment(row[13], row[14]),
        row[1] or UNKNOWN,
        UNKNOWN,
        given,
        output,
        max(for_5m, written - for_hour),
        for_hour,
        read,
        _cost(row[9], row[10]),
        row[11] == "fast",
        False,
    )


def _count(text: str) -> int:
    """A whole number of tokens, also written as 321.0 or 1e3. Raises ValueError."""
    if not text:
        return 0
    number = int(text) if text.isdecimal() and len(text) < 20 else float(text)
    if 0 <= number <= MOST_TOKENS and number == int(number):
        return int(number)
    raise ValueError(f"{text[:40]!r} is no count of tokens")


def _cost(usd: str, micros: str) -> int | None:
    """Pico-dollars, of the one or the other."""
    for text, unit in ((usd, 1), (micros, 10**6)):
        try:
            cost = pico(float(text) / unit)
        except ValueError:
            continue
        if cost is not None:
            return cost
    return None


def _moment(event: str, record: str) -> int | None:
    """Milliseconds since 1970: of the event as the client stamped it, else of the log record; 0 is no time."""
    try:
        return round(datetime.fromisoformat(event[:-1] + "+00:00" if event[-1:] in "zZ" else event).timestamp() * 1000)
    except (ValueError, OverflowError):
        return int(record) or None if record.lstrip("-").isdecimal() else None
