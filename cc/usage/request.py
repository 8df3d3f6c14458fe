"""One request to the model, as a session file or a telemetry event tells of it. Data only; imports nothing of cc.

Money is a whole number of pico-dollars (10^-12 USD): a price in USD per million tokens with six decimals is then exact
per token, and adding up never rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from itertools import repeat
from operator import itemgetter
from typing import Generic, NamedTuple, TypeVar

import msgspec

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

UNKNOWN = "unknown"
"""The key of what is not known: a time, a project, a session, a model."""

MOST_TOKENS = 10**9
"""More in one message is no count but damage: the largest context windows hold some millions."""


class Request(NamedTuple):
    """Counts are tokens. `at_ms` is milliseconds since 1970 in UTC, None when the row has no usable time.

    `cost_pico` is what the client itself said that it cost, None when it said nothing. `project` is the folder of the
    session file until `transcripts` has found the readable name. `fast` is the client's fast mode, billed at rates of
    its own. A tuple and not a dataclass: there may be hundreds of thousands.
    """

    message_id: str | None
    request_id: str | None
    model: str
    at_ms: int | None
    session: str
    project: str
    input_tokens: int
    output_tokens: int
    cache_write_5m: int
    cache_write_1h: int
    cache_read: int
    cost_pico: int | None
    fast: bool
    sidechain: bool


Fields = tuple[
    str | None, str | None, str, int | None, str, str, int, int, int, int, int, int | None, bool, bool
]  # fmt: skip
"""A Request that nobody asks by name: where there are very many, to make one takes a third of the time."""

SIDECHAIN = 13
"""Its place."""


R = TypeVar("R", bound=Fields)


class Rows(msgspec.Struct, Generic[R]):
    """Requests as rows of a file tell of them. `own` is each row's own identity where it has neither message id nor
    request id; it is empty where all have one."""

    requests: Sequence[R]
    own: Sequence[str | None] = ()

    def pairs(self) -> Iterator[tuple[R, str | None]]:
        """Each request and its row's own identity."""
        return zip(self.requests, self.own or repeat(None, len(self.requests)), strict=True)


counts_of: Callable[[Fields], tuple[int, ...]] = itemgetter(6, 7, 8, 9, 10)
"""Input, output, cache write for 5 minutes, for an hour, cache read: the order in which tokens are priced, too."""


def tokens_of(request: Fields) -> int:
    """All of them: by this number one of two rows of the same message wins."""
    return sum(counts_of(request))


def pico(usd: float) -> int | None:
    """Pico-dollars of a cost that a client wrote as a float of dollars: 0.0030220000000000004 is 0.003022.

    None if it is no cost: negative, NaN, infinite, absurd.
    """
    return round(usd * 10**12) if 0 <= usd < 10**6 else None
