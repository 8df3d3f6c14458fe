"""What can be saved of a line that the fast decoder refused. Imports decode's row type and request.

Seen in real files: two records spliced on one line, the first whole or half; an end half written; NaN; raw control
characters, invalid UTF-8 and lone surrogates inside strings; a field of another type than it should have; nesting
without end. Slow (8 us a row and more) and linear: the budget below ends the search in a line made to be searched.
"""

from __future__ import annotations

import json
import math
import re
from datetime import datetime, timedelta
from typing import Any

from cc.usage.decode import CacheCreation, Message, Row, Usage
from cc.usage.request import EPOCH

LONGEST = 4 << 20
"""Bytes of a broken line that are looked at: the generic decoder needs many times a line's size."""

DAMAGED = math.nan
"""Stands for a number that no count can be; `_count` refuses it."""


EARLIEST_MS = 10**11
"""Of a number that stands for a time: from here on it is one of milliseconds (1973), below one of seconds."""

_SPACE = re.compile(r"[ \t\r]*")


def _integer(digits: str) -> int | float:
    """Python refuses integers of thousands of digits, and no count has twenty."""
    return int(digits) if len(digits) < 20 else DAMAGED


_decoder = json.JSONDecoder(strict=False, parse_int=_integer, parse_constant=lambda _: DAMAGED)


def recover(line: bytes) -> tuple[tuple[Row, ...], str | None]:
    """The rows that this line holds, and of what kind the damage is by which something of it is lost, or None.

    The search goes from one `{"` to the next, and over whole objects at once: what is inside them is no record.
    """
    if len(line) > LONGEST:
        return (), "not_json"
    text = line.decode("utf-8", "replace")
    rows: list[Row] = []
    lost: str | None = None
    at, chained = 0, True  # chained: the line begins here, or a record has just ended
    budget = 8 * len(text) + 4096
    while at >= 0 and budget > 0:
        try:
            found, end = _decoder.raw_decode(text, at)
        except RecursionError:
            lost, end = "nested_too_deep", at + 1
            budget -= 4096
        except json.JSONDecodeError as error:
            lost, end = lost or ("not_json" if text.endswith("}") else "cut"), at + 1
            budget -= error.pos - at + 64 + error.pos // 64  # the error has counted the lines before it
        else:
            budget -= end - at
            behind = _beyond_space(text, end)
            after = text[behind : behind + 1]
            if isinstance(found, dict) and (chained or _stands_alone(found, text[at - 1], after)):
                rows.append(_row_of(found))
                chained = after == "{"
                lost = lost or (None if chained or not after else "not_json")
                at = _next(text, end)
                continue
            lost = lost or ("not_json" if isinstance(found, dict) else "not_an_object")
        at, chained = _next(text, end), False
    return tuple(rows), lost or (None if at < 0 else "not_json")


def _stands_alone(found: dict[str, Any], before: str, after: str) -> bool:
    """Is an object behind a broken record a record of its own, and not one *inside* the broken one?

    It ends where the line ends or another begins. Behind what may stand before a value it must name its session,
    which nested messages don't; a splice in the middle of a string needs no such proof.
    """
    return after in ("", "{") and ("sessionId" in found or before not in ":,[")


def _beyond_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _next(text: str, start: int) -> int:
    """Where the next object may begin; -1 if none does."""
    return text.find('{"', start)


def _row_of(found: dict[str, Any]) -> Row:
    """The wanted fields, each if it is of its type; a damaged count must be noticed (`_count`)."""
    message = found.get("message")
    side = found.get("isSidechain")
    cost = found.get("costUSD")
    return Row(
        type=_text(found.get("type")),
        message=_message_of(message) if isinstance(message, dict) else None,
        requestId=_text(found.get("requestId")),
        timestamp=_moment(found.get("timestamp")),
        sessionId=_text(found.get("sessionId")),
        uuid=_text(found.get("uuid")),
        cwd=_text(found.get("cwd")),
        isSidechain=side if isinstance(side, bool) else None,
        costUSD=float(cost) if isinstance(cost, (int, float)) and not isinstance(cost, bool) else None,
    )


def _message_of(message: dict[str, Any]) -> Message:
    usage = message.get("usage")
    return Message(
        id=_text(message.get("id")),
        role=_text(message.get("role")),
        model=_text(message.get("model")),
        usage=_usage_of(usage) if isinstance(usage, dict) else None,
    )


def _usage_of(usage: dict[str, Any]) -> Usage:
    creation = usage.get("cache_creation")
    split = None
    if isinstance(creation, dict):
        split = CacheCreation(
            _count(creation.get("ephemeral_5m_input_tokens")), _count(creation.get("ephemeral_1h_input_tokens"))
        )
    return Usage(
        input_tokens=_count(usage.get("input_tokens")),
        output_tokens=_count(usage.get("output_tokens")),
        cache_creation_input_tokens=_count(usage.get("cache_creation_input_tokens")),
        cache_read_input_tokens=_count(usage.get("cache_read_input_tokens")),
        cache_creation=split,
        speed=_text(usage.get("speed")),
    )


def _count(value: Any) -> int | None:
    """A whole number of tokens; -1, which no reader takes, for what is there and is none."""
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    return int(value) if isinstance(value, float) and value.is_integer() else -1


def _text(value: Any) -> str | None:
    """A string that can be written out again: a lone surrogate becomes a question mark."""
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else None


def _moment(value: Any) -> datetime | None:
    """A number is of seconds since 1970, or of milliseconds: as seconds those would be of the year 5138 and later."""
    try:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            seconds = value if value < EARLIEST_MS else value / 1000
            return EPOCH + timedelta(seconds=seconds) if value > 0 else None
        return datetime.fromisoformat(value[:-1] + "+00:00" if value[-1:] in "zZ" else value)
    except (TypeError, ValueError, KeyError, OverflowError):
        return None
