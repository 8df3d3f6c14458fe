"""Rows as their writers make them, decoded by msgspec, which `packed` imports too. Imports request only.

Only the wanted fields are decoded: 1.3 us a row, where the standard library needs 8.4 for all of it. What this refuses
goes to `recover`, which is slow and forgiving.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from sys import intern

import msgspec

from cc.usage.request import MOST_TOKENS, UNKNOWN, Request, pico

EPOCH_UTC = datetime(1970, 1, 1)  # noqa: DTZ001 - to be taken from what says no zone either
EPOCH = EPOCH_UTC.replace(tzinfo=timezone.utc)
MILLISECOND = timedelta(milliseconds=1)

SYNTHETIC = "<synthetic>"
"""The model of messages that the client wrote itself, about an error: no request was answered."""


class CacheCreation(msgspec.Struct, gc=False):
    ephemeral_5m_input_tokens: int | None = None
    ephemeral_1h_input_tokens: int | None = None


class Usage(msgspec.Struct, gc=False):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation: CacheCreation | None = None
    speed: str | None = None


class Message(msgspec.Struct, gc=False):
    id: str | None = None
    role: str | None = None
    model: str | None = None
    usage: Usage | None = None


class Row(msgspec.Struct, gc=False):
    type: str | None = None
    message: Message | None = None
    requestId: str | None = None  # noqa: N815 - the client's own name for it
    timestamp: datetime | None = None
    sessionId: str | None = None  # noqa: N815
    uuid: str | None = None
    cwd: str | None = None
    isSidechain: bool | None = None  # noqa: N815
    costUSD: float | None = None  # noqa: N815


class CostState(msgspec.Struct, gc=False):
    """What a client says that its session has cost so far, in USD."""

    sessionId: str | None = None  # noqa: N815
    totalCostUSD: float | None = None  # noqa: N815
    hasUnknownModelCost: bool | None = None  # noqa: N815


class _Answer(msgspec.Struct):
    data: list[list[str]]
    rows: int


_made = tuple.__new__  # without the frame of a NamedTuple's own: a fifth of the time here
_cost_state = msgspec.json.Decoder(CostState).decode
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


def decode_cost_state(line: bytes) -> CostState | None:
    """None for a line that is no such statement after all."""
    try:
        return _cost_state(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def decode_answer(body: bytes) -> list[list[str]]:
    """The rows of an answer in ClickHouse's JSONCompact whose columns are all strings.

    Raises ValueError, also when the answer was cut: its end says how many rows there are.
    """
    try:
        answer = _answer(body)
    except UnicodeDecodeError:  # one attribute of one event: the rest is good
        answer = _answer(body.decode("utf-8", "replace"))
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
    given, output, read = usage.input_tokens or 0, usage.output_tokens or 0, usage.cache_read_input_tokens or 0
    for_5m, for_hour = usage.cache_creation_input_tokens or 0, 0
    if usage.cache_creation is not None:
        for_5m, for_hour = _split(for_5m, usage.cache_creation)
    # a sum of numbers none of which is below 0 bounds each of them, and `|` is below 0 if any is
    if (given | output | read | for_5m | for_hour) < 0 or given + output + read + for_5m + for_hour > MOST_TOKENS:
        raise BadCountsError(f"counts {given}, {output}, {for_5m}, {for_hour}, {read}")
    model, own, moment, cost = message.model, row.sessionId or None, row.timestamp, row.costUSD
    if model == SYNTHETIC and not (given or output or read or for_5m or for_hour):
        return None
    return _made(
        Request,
        (
            message.id or None,
            row.requestId or None,
            intern(model) if model else UNKNOWN,  # one string for all of them, not one a row
            None if moment is None else milliseconds(moment),
            session if own is None or own == session else own,
            folder,
            given,
            output,
            for_5m,
            for_hour,
            read,
            None if cost is None else pico(cost),
            usage.speed == "fast",
            row.isSidechain is True,
        ),
    )


def _split(written: int, creation: CacheCreation) -> tuple[int, int]:
    """Tokens written for five minutes and for an hour.

    The scalar is the sum of the two. Where they disagree none is lost, and what has no kind is the ordinary one.
    """
    for_5m, for_hour = creation.ephemeral_5m_input_tokens or 0, creation.ephemeral_1h_input_tokens or 0
    if written < 0 or for_5m < 0 or for_hour < 0:
        return -1, 0
    return max(for_5m, written - for_hour), for_hour


def milliseconds(moment: datetime) -> int:
    """Since 1970, the last one begun; a moment that does not say its zone is UTC, as all of the client's are."""
    return (moment - (EPOCH if moment.tzinfo is not None else EPOCH_UTC)) // MILLISECOND
