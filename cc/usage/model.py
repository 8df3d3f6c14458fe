"""What goes into the reader and what comes out of it: frozen data, and its JSON (CLI.md, "JSON"). Imports request only.

UsageQuery ─> read_usage ─> Reading ─┬─ total, rows   Totals
                                     ├─ coverage      Coverage: what was read, what could not be
                                     └─ tried         Attempt: each better source, and why it was not it
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec.structs import force_setattr

from cc.usage.request import EPOCH

if TYPE_CHECKING:
    from cc.usage.explain import Explained

By = Literal["day", "week", "month", "model", "project", "session", "block"]
SourceName = Literal["auto", "clickhouse", "cache", "files"]
Origin = Literal["clickhouse", "cache", "files", "empty"]

GROUPINGS: tuple[By, ...] = ("day", "week", "month", "model", "project", "session", "block")
OF_TIME: tuple[By, ...] = ("day", "week", "month", "block")
HOUR = 3_600_000
"""Milliseconds."""

LEAST_FOR_A_RATE = 60_000
"""Milliseconds. What was used within less tells nothing of hours."""

SOURCES: tuple[SourceName, ...] = ("auto", "clickhouse", "cache", "files")


class Totals(msgspec.Struct, frozen=True):
    """Sums over requests. Money is USD, exact.

    `cost_usd` is None as soon as one request in it has no known price; those models are named in
    `cost_unknown_models`, and `cost_known_usd` is the sum of the rest, a lower bound.
    """

    messages: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_creation_tokens: int = 0
    cache_read_tokens: int = 0
    cost_usd: Decimal | None = Decimal(0)
    cost_unknown_models: tuple[str, ...] = ()
    cost_known_usd: Decimal = Decimal(-1)

    def __post_init__(self) -> None:
        if self.cost_known_usd < 0:  # not given: all that is known is the cost itself
            force_setattr(self, "cost_known_usd", self.cost_usd or Decimal(0))

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens + self.cache_creation_tokens + self.cache_read_tokens

    def __add__(self, other: Totals) -> Totals:
        known = self.cost_known_usd + other.cost_known_usd
        return Totals(
            self.messages + other.messages,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cache_creation_tokens + other.cache_creation_tokens,
            self.cache_read_tokens + other.cache_read_tokens,
            None if self.cost_usd is None or other.cost_usd is None else known,
            tuple(sorted({*self.cost_unknown_models, *other.cost_unknown_models})),
            known,
        )

    def as_dict(self) -> dict[str, Any]:
        """The `total` of CLI.md, and `cost_known_usd` beside it."""
        return {
            "messages": self.messages,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cache_creation_tokens": self.cache_creation_tokens,
            "cache_read_tokens": self.cache_read_tokens,
            "cost_usd": None if self.cost_usd is None else float(self.cost_usd),
            "cost_unknown_models": list(self.cost_unknown_models),
            "cost_known_usd": float(self.cost_known_usd),
        }


class Coverage(msgspec.Struct, frozen=True):
    """What the sources hold, before any filter: `first` and `last` are the times of the first and last
    request, RFC 3339, of those that are not `before_2020` and not `in_the_future` (more than a day after now), unless
    there are no others. Those two and the `timeless`, whose time is missing or none, are numbers of requests.

    `deleted_files` are no longer there and counted as they last were; those of folders that are not there themselves
    are counted too, and told in `notes` instead. `lines` are those of the session files that are, blank ones not
    counted. `skipped_lines` could not be used, in whole or in part, by kind: cut, not_json, not_an_object, nul_bytes,
    too_long, nested_too_deep, bad_counts. `unreadable` are the files and directories that could not be read, each with
    why. A request is in `only_files`, `only_telemetry` or `in_both`; `output_tokens_added` is by how much the files
    under-reported the ones in both. `client_totals` compares what clients say that their sessions cost with what is
    counted (client_totals.py).
    """

    files: int = 0
    deleted_files: int = 0
    lines: int = 0
    skipped_lines: int = 0
    skipped_by_kind: Mapping[str, int] = {}
    unreadable: tuple[tuple[str, str], ...] = ()
    first: str | None = None
    last: str | None = None
    before_2020: int = 0
    in_the_future: int = 0
    timeless: int = 0
    only_files: int = 0
    only_telemetry: int = 0
    in_both: int = 0
    output_tokens_added: int = 0
    by_model: tuple[Explained, ...] = ()
    client_totals: Mapping[str, Any] = {}

    def as_dict(self) -> dict[str, Any]:
        return {
            "files": self.files,
            "deleted_files": self.deleted_files,
            "lines": self.lines,
            "skipped_lines": self.skipped_lines,
            "skipped_by_kind": dict(self.skipped_by_kind),
            "unreadable": [{"path": path, "reason": why} for path, why in self.unreadable],
            "first": self.first,
            "last": self.last,
            "odd_times": {
                "before_2020": self.before_2020,
                "in_the_future": self.in_the_future,
                "none": self.timeless,
            },
            "requests": {
                "only_files": self.only_files,
                "only_telemetry": self.only_telemetry,
                "in_both": self.in_both,
                "output_tokens_added": self.output_tokens_added,
                "by_model": [each.as_dict() for each in self.by_model],
            },
            "client_totals": dict(self.client_totals),
        }


class UsageQuery(msgspec.Struct, frozen=True):
    """What is asked. `since` and `until` are inclusive: a date means that whole day in `tz`, a datetime the instant.

    `tz` None is the machine's own zone. `model` and `project` are names or shell patterns (`tally.py` says of what).
    `query.parse` makes one of the words of a command line.
    """

    by: By | None = None
    since: date | datetime | None = None
    until: date | datetime | None = None
    model: str | None = None
    project: str | None = None
    source: SourceName = "auto"
    tz: tzinfo | None = None


class Attempt(msgspec.Struct, frozen=True):
    """A source that would have been better, and why it was not it. `error` is a failure code."""

    rung: int
    name: str
    error: str
    reason: str

    def as_dict(self) -> dict[str, Any]:
        return {"rung": self.rung, "name": self.name, "error": self.error, "reason": self.reason}


class Block(msgspec.Struct, frozen=True):
    """Five hours of a plan's limits. Times are milliseconds since 1970; `first` is the first request's.

    `now` is None unless the block is active: it has begun and is not over.
    """

    start: int
    end: int
    first: int
    now: int | None = None

    def projected(self, totals: Totals) -> Projection | None:
        """Where these totals lead if the rest of the block goes on as it did since its first request.

        None if it is not active, or too young for a rate.
        """
        if self.now is None or self.now - self.first < LEAST_FOR_A_RATE:
            return None
        elapsed, left = self.now - self.first, self.end - self.now
        cost = totals.cost_usd
        return Projection(
            tokens_per_minute=totals.tokens * 60_000 // elapsed,
            cost_per_hour=None if cost is None else cost * HOUR / elapsed,
            tokens=totals.tokens + totals.tokens * left // elapsed,
            cost_usd=None if cost is None else cost + cost * left / elapsed,
        )


class Projection(msgspec.Struct, frozen=True):
    """An estimate, not a measurement. Money is USD, None where a price is not known."""

    tokens_per_minute: int
    cost_per_hour: Decimal | None
    tokens: int
    cost_usd: Decimal | None

    def as_dict(self) -> dict[str, Any]:
        return {
            "tokens_per_minute": self.tokens_per_minute,
            "cost_usd_per_hour": None if self.cost_per_hour is None else round(float(self.cost_per_hour), 6),
            "total_tokens": self.tokens,
            "cost_usd": None if self.cost_usd is None else round(float(self.cost_usd), 6),
        }


class Row(msgspec.Struct, frozen=True):
    """One line of a table: the key is a day, a week, ... the start of a block, or `unknown`.

    `block` is None for all other keys than a block's.
    """

    key: str
    totals: Totals
    block: Block | None = None

    def as_dict(self, *, of_blocks: bool = False) -> dict[str, Any]:
        """The key and the fields of `total`; among blocks its start, end, whether it is active, and where it leads."""
        told: dict[str, Any] = {"key": self.key, **self.totals.as_dict()}
        if of_blocks:
            block = self.block
            projection = None if block is None else block.projected(self.totals)
            told |= {
                "start": None if block is None else moment(block.start),
                "end": None if block is None else moment(block.end),
                "active": block is not None and block.now is not None,
                "projection": None if projection is None else projection.as_dict(),
            }
        return told


class Reading(msgspec.Struct, frozen=True):
    """An answer with its provenance.

    `source` is the best source that contributed: an empty store that answered is not called the source of what the
    files hold, and `reason` says that it was empty. `as_of` is when the best source was asked (for the cache: when the
    store last answered). `degraded` is True when ClickHouse could not be asked and nobody had ruled it out, or when
    what `ingest` wrote there, a file or a directory could not be read: the total may lack what it holds. A line that
    could not be used (the last of a session that is being written, say) is told in `coverage` and degrades nothing.
    `notes` are sentences about what else went wrong on the way, such as a cache that could not be written.
    `prices_as_of` is the date of the list by which was priced what the client itself had put no cost to, and
    `prices_own` the user's file that goes over it.
    """

    source: Origin
    as_of: str
    stale: bool
    reason: str | None
    coverage: Coverage
    total: Totals
    by: By | None = None
    rows: tuple[Row, ...] = ()
    rung: int = 0
    degraded: bool = False
    tried: tuple[Attempt, ...] = ()
    notes: tuple[str, ...] = ()
    prices_as_of: str = ""
    prices_own: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The `usage` document of CLI.md; `rung`, `degraded`, `tried`, `notes` and `prices_...` are added."""
        return {
            "source": self.source,
            "as_of": self.as_of,
            "stale": self.stale,
            "reason": self.reason,
            "coverage": self.coverage.as_dict(),
            "total": self.total.as_dict(),
            "by": self.by,
            "rows": [row.as_dict(of_blocks=self.by == "block") for row in self.rows],
            "rung": self.rung,
            "degraded": self.degraded,
            "tried": [attempt.as_dict() for attempt in self.tried],
            "notes": list(self.notes),
            "prices_as_of": self.prices_as_of,
            "prices_own": self.prices_own,
        }


def rfc3339(moment: datetime) -> str:
    """2026-11-24T10:00:00Z, or with milliseconds where there are any."""
    utc = moment.astimezone(timezone.utc).replace(tzinfo=None)
    return utc.isoformat(timespec="milliseconds" if utc.microsecond else "seconds") + "Z"


def moment(milliseconds: int) -> str | None:
    """The same of milliseconds since 1970; None for a time that no calendar has."""
    try:
        return rfc3339(EPOCH + timedelta(milliseconds=milliseconds))
    except OverflowError:
        return None
