"""Rows as their writers make them, decoded: the one module that imports msgspec. Imports request only.

Only the wanted fields are decoded: 1.3 us a row, where the standard library needs 8.4 for all of it. What this refuses
goes to `recover`, which is slow and forgiving.
"""

from __future__ import annotations

from datetime import datetime, timezone

import msgspec

from cc.usage.request import MOST_TOKENS, UNKNOWN, Request

SYNTHETIC = "<synthetic>"
"""The model of messages that the client wrote itself, about an error: no request was answered."""

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class CacheCreation(msgspec.Struct):
    ephemeral_5m_input_tokens: int | None = None
    ephemeral_1h_input_tokens: int | None = None


class Usage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation: CacheCreation | None = None
    speed: str | None = None


class Message(msgspec.Struct):
    id: str | None = None
    role: str | None = None
    model: str | None = None
    usage: Usage | None = None


class Row(msgspec.Struct):
    type: str | None = None
    message: Message | None = None
    requestId: str | None = None  # noqa: N815 - the client's own name for it
    timestamp: datetime | None = None
    sessionId: str | None = None  # noqa: N815
    uuid: str | None = None
    cwd: str | None = None
    isSidechain: bool | None = None  # noqa: N815
    costUSD: float | None = None  # noqa: N815


class _Answer(msgspec.Struct):
    data: list[list[str]]
    rows: int


_row = msgspec.json.Decoder(Row).decode
_answer = msgspec.json.Decoder(_Answer).decode


class BadCountsError(ValueError):
    """The row counts, and what it counts cannot be: negative, absurd, or no number."""


def decode_row(line: bytes) -> Row | None:
    """The row of this line, or None if it must be looked at more closely."""
    try:
        return _row(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def decode_answer(body: bytes) -> list[list[str]]:
    """The rows of an answer in ClickHouse's JSONCompact whose columns are all strings.

    Raises ValueError, also when the answer was cut: its end says how many rows there are.
    """
    answer = _answer(body)
    if answer.rows != len(answer.data):
        raise ValueError(f"{len(answer.data)} rows came of {answer.rows}")
    return answer.data


def request_of(row: Row, session: str, folder: str) -> Request | None:
    """The request that this row tells of; None if it tells of none. Raises BadCountsError.

    Only `message.usage` of an assistant's row counts, not the `usage` that a tool result may hold. A row without any
    `type` whose message's role is assistant counts: some writers leave the type out.
    """
    message = row.message
    if message is None or (usage := message.usage) is None:
        return None
    if row.type != "assistant" and (row.type is not None or message.role != "assistant"):
        return None
    written = usage.cache_creation_input_tokens or 0
    creation = usage.cache_creation
    for_hour = (creation.ephemeral_1h_input_tokens or 0) if creation is not None else 0
    # The scalar is the sum of the two. Where they disagree none is lost, and what has no kind is the ordinary one.
    for_5m = max((creation.ephemeral_5m_input_tokens or 0) if creation is not None else 0, written - for_hour)
    counts = (usage.input_tokens or 0, usage.output_tokens or 0, for_5m, for_hour, usage.cache_read_input_tokens or 0)
    if min(counts) < 0 or max(counts) > MOST_TOKENS or written < 0:
        raise BadCountsError(f"counts {counts}")
    if message.model == SYNTHETIC and not any(counts):
        return None
    return Request(
        message.id or None,
        row.requestId or None,
        message.model or UNKNOWN,
        milliseconds(row.timestamp),
        row.sessionId or session,
        folder,
        *counts,
        None if row.costUSD is None else pico(row.costUSD),
        usage.speed == "fast",
        row.isSidechain is True,
    )


def milliseconds(moment: datetime | None) -> int | None:
    """Since 1970; a moment that does not say its zone is UTC, as all of the client's are."""
    if moment is None:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return round((moment - EPOCH).total_seconds() * 1000)


def pico(usd: float) -> int | None:
    """Pico-dollars of a cost that a client wrote as a float of dollars: 0.0030220000000000004 is 0.003022.

    None if it is no cost: negative, NaN, infinite, absurd.
    """
    return round(usd * 10**12) if 0 <= usd < 10**6 else None
