"""Rows as their writers make them, decoded by msgspec, which `packed` imports too. Imports nothing of cc.

Only the wanted fields are decoded: 1.3 us a row, where the standard library needs 8.4 for all of it. What this refuses
goes to `recover`, which is slow and forgiving.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import msgspec


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
    totalCostUSD: float | None = None  # noqa: N815 - of a client's statement what its session has cost so far
    hasUnknownModelCost: bool | None = None  # noqa: N815


class _Answer(msgspec.Struct):
    data: list[list[str]]
    rows: int


decode_row: Callable[[bytes], Row] = msgspec.json.Decoder(Row).decode
"""Raises one of REFUSED for a line that must be looked at more closely."""

REFUSED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_answer = msgspec.json.Decoder(_Answer).decode


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


def split(written: int, creation: CacheCreation) -> tuple[int, int]:
    """Tokens written for five minutes and for an hour.

    The scalar is the sum of the two. Where they disagree none is lost, and what has no kind is the ordinary one.
    """
    for_5m, for_hour = creation.ephemeral_5m_input_tokens or 0, creation.ephemeral_1h_input_tokens or 0
    if written < 0 or for_5m < 0 or for_hour < 0:
        return -1, 0
    return max(for_5m, written - for_hour), for_hour
