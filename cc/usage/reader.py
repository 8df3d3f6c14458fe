"""One reader over all sources (LADDERS.md, L7). Decides what is united with what, and says truthfully from where.

    rung  source       taken when
    0     clickhouse   it answers: its rows united with the session files
    1     cache        it does not: its last answer (cache.py), with its age, united with the session files
    2     files        nothing is cached, or it is damaged
    3     empty        and there is no usage in any session file

The files are read in every case, so that no rung shows less than they hold; of what `ingest` wrote to the store is
added what they know no more (store.py). A source is named only if it contributed:
a store that answers and is empty leaves `files` (or `empty`), with that as the reason. A source that the caller forces
stands alone, and raises its Failure when it cannot be read.

Imports the rest of this package, errors and clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from cc.clock import wall_time
from cc.errors import Failure
from cc.usage import cache, prices, store, tally, telemetry
from cc.usage.added import Added, Asked, difference, put
from cc.usage.blocks import Blocks
from cc.usage.clickhouse import ClickHouse, NoTableError
from cc.usage.client_totals import compare
from cc.usage.explain import explain
from cc.usage.groups import Groups, fold, merge, messages_by_session, messages_of, span_of
from cc.usage.ledger import Ledger
from cc.usage.model import Attempt, Coverage, Origin, Reading, SourceName, Totals, UsageQuery, moment, rfc3339
from cc.usage.request import UNKNOWN, Request
from cc.usage.store_schema import taken
from cc.usage.unite import unite

if TYPE_CHECKING:
    from cc.usage.transcripts import Transcripts

Progress = Callable[[int, int], None]
"""Told while session files are read: bytes read, bytes to be read."""


def no_progress(done: int, whole: int) -> None:
    """Nobody waits."""


class Sources(msgspec.Struct, frozen=True):
    """Where to look. `roots` as `places.roots` gives them; `now` is seconds since 1970.

    `no_clickhouse` is why there is no store, in words for the user, where `clickhouse` is None. `prices` is the user's
    own list of prices. `index_dir` is where is kept what was read of the session files.
    """

    roots: tuple[Path, ...]
    clickhouse: ClickHouse | None = None
    cache_dir: Path | None = None
    now: Callable[[], float] = wall_time
    no_clickhouse: str = "ClickHouse is not configured"
    prices: Path | None = None
    index_dir: Path | None = None


class _Look(msgspec.Struct):
    """What one look at the sources has brought so far.

    `rows` are what ClickHouse answered of telemetry, and `asked` is the span of which it told what no file knows;
    `added` is what the cache tells of that.
    """

    now: float
    as_of: float
    rows: list[list[str]] | None = None
    asked: store.Span | None = None
    events: list[Request] = []
    added: Added = msgspec.field(default_factory=Added)
    events_from: Origin = "empty"
    tried: list[Attempt] = []
    notes: list[str] = []
    answered: str | None = None


def read_usage(query: UsageQuery, sources: Sources, progress: Progress = no_progress) -> Reading:
    """The answer to one question. Raises ConfigError for bad prices, Failure for a forced source that fails."""
    return read_usages((query,), sources, progress)[0]


def read_usages(
    queries: Sequence[UsageQuery], sources: Sources, progress: Progress = no_progress
) -> tuple[Reading, ...]:
    """The answers to several questions of one look at the sources, which is what takes the time.

    All must name the same source; the first one's counts.
    """
    from cc.usage import transcripts  # SQLite with it, no sooner than something is read

    rates = prices.load(sources.prices)
    source: SourceName = queries[0].source
    look = _Look(now := sources.now(), now)
    if source in ("clickhouse", "auto"):
        _ask_clickhouse(look, sources, forced=source == "clickhouse")
    files = (
        transcripts.read(sources.roots, sources.index_dir, progress)
        if source in ("auto", "files")
        else transcripts.Transcripts()
    )
    stored, added = _stored(look, queries, sources, files), _kept(look, queries, sources, files)
    known = _Known(files, stored, look.events, added.groups)
    _keep(look, sources, files, known)
    if any(map(tally.needs_requests, queries)):
        _ = files.requests
    look.notes += files.notes  # not before: who looks at single requests finds out of the index what is to be told
    if files.deleted:
        look.notes.append(f"{files.deleted} session files that are no longer there are counted as they last were")
    base = _provenance(source, sources, look, files, _coverage(files, known, rates))
    blocks = Blocks(known.groups if any(query.by == "block" for query in queries) else {}, round(look.now * 1000))
    return tuple(_answer(query, base, known, rates, files.project_names, blocks) for query in queries)


class _Known:
    """All requests: as groups, which most questions need alone, and one by one if telemetry is to be matched.

    `added` is what is known as a difference of groups only, of an earlier answer of the store.
    """

    def __init__(self, files: Transcripts, stored: store.Found, events: Sequence[Request], added: Groups) -> None:
        self._files, self._stored, self._events = files, stored, events
        self.added = added
        self.united = unite(self._rows, events) if events else None
        self.groups = fold(self.requests) if events or stored.requests else dict(files.groups)
        merge(self.groups, stored.groups.items())
        if self.added:
            self.groups = put(self.groups, self.added.items())

    @property
    def requests(self) -> Sequence[Request]:
        return self._rows if self.united is None else self.united.requests

    @property
    def of_files_alone(self) -> Groups:
        """All that telemetry does not know, but for what is united one by one."""
        return self.groups if self.united is None else {**self._stored.groups, **self.added}

    @property
    def added_by_the_store(self) -> Groups:
        """By what its own table makes these groups other than files and telemetry alone would."""
        if not self._stored.requests:
            return {}
        return difference(
            self.groups,
            fold(unite(self._files.requests, self._events).requests) if self._events else self._files.groups,
        )

    @property
    def _rows(self) -> list[Request]:
        """Of session files and the store; what both know is one request."""
        if not self._stored.requests:
            return self._files.requests
        ledger = Ledger[Request]()
        for request in (*self._files.requests, *self._stored.requests):
            ledger.add(request)
        return ledger.settle()


def _ask_clickhouse(look: _Look, sources: Sources, *, forced: bool) -> None:
    try:
        if sources.clickhouse is None:
            raise Failure(sources.no_clickhouse, code="tool_missing", hint="type: invoke up")
        rows = _events(sources.clickhouse)
    except Failure as failure:
        if forced:
            raise
        why = failure.evidence if failure.code == "breaker_open" else ()  # what it was that opened it
        look.tried.append(Attempt(0, "clickhouse", failure.code, "; ".join((failure.message, *why))))
        return
    look.rows = rows
    _take(look, rows, "clickhouse")


def _events(clickhouse: ClickHouse) -> list[list[str]]:
    """Telemetry's rows; none where nothing but session files was ever written to the store."""
    try:
        return clickhouse.rows(telemetry.EVENTS, telemetry.EVENTS_TABLE)
    except NoTableError:
        if not taken(clickhouse):
            raise
        return []


def _stored(look: _Look, queries: Sequence[UsageQuery], sources: Sources, files: Transcripts) -> store.Found:
    """What `ingest` wrote to the store: all of it where the store stands alone, else what no session file knows."""
    source = queries[0].source
    if sources.clickhouse is None or look.tried or source not in ("auto", "clickhouse"):
        return store.Found()
    try:
        if source == "auto":
            found = store.beside(sources.clickhouse, queries, files.groups)
            look.asked = store.span_of(queries)
        else:
            found = store.alone(sources.clickhouse, queries, telemetry=bool(look.events))
            span = store.span_of(queries)
            look.events = [event for event in look.events if span.holds(event)]
            if span != store.Span():
                look.notes.append("coverage is of the time that was asked for: the store was asked for no other")
    except Failure as failure:
        if source == "clickhouse":
            raise
        look.notes.append(f"what `ingest` wrote to ClickHouse could not be read: {failure.message}")
        return store.Found()
    if found.requests or found.groups:
        look.events_from = "clickhouse"
    elif not look.events:
        look.answered = (
            "ClickHouse answered and holds no more than the session files" if found.any else
            "ClickHouse answered and holds no requests"
        )  # fmt: skip
    return found


def _kept(look: _Look, queries: Sequence[UsageQuery], sources: Sources, files: Transcripts) -> Added:
    """What the cache tells of the store's own table, and with it into `look` what it tells of telemetry."""
    forced = queries[0].source == "cache"
    if not forced and not look.tried:
        return look.added
    try:
        if sources.cache_dir is None:
            raise Failure("no place for a cache is configured", code="not_satisfied")
        kept, span = cache.kept(sources.cache_dir), store.span_of(queries)
        _take(look, kept.rows, "cache")
        look.added = kept.added.of(span.first, span.after, messages_by_session(files.groups))
        if not look.events and not look.added.groups:
            raise Failure("the cached answer of ClickHouse holds no requests", code="not_satisfied")
        look.events_from = "cache"
        look.as_of = min(kept.as_of, *(each.as_of for each in look.added.asked)) if look.added.groups else kept.as_of
        if not look.added.covers(span.first, span.after):
            look.notes.append("the cache may lack some of what `ingest` wrote: ClickHouse was not asked for all of it")
    except Failure as failure:
        if forced:
            raise
        look.tried.append(Attempt(1, "cache", failure.code, failure.message))
    return look.added


def _keep(look: _Look, sources: Sources, files: Transcripts, known: _Known) -> None:
    """What ClickHouse has answered, for when it does not. Of its own table what was not asked now stays as it was."""
    if look.rows is None or sources.cache_dir is None:
        return
    before = Added() if look.asked == store.Span() else cache.added_before(sources.cache_dir)
    if look.asked is not None:
        span, groups = look.asked, known.added_by_the_store
        groups = {group: numbers for group, numbers in groups.items() if span.has(group.quarter)}
        of_files = messages_by_session(files.groups)
        sessions = {group.session: of_files.get(group.session, 0) for group in groups}
        before = before.renewed(Added((Asked(span.first, span.after, look.now),), groups, sessions))
    try:
        cache.keep(sources.cache_dir, cache.Kept(look.now, look.rows, before))
    except Failure as failure:  # costs the next fallback, not this answer
        look.notes.append(f"ClickHouse's answer could not be cached: {failure.message}")


def _take(look: _Look, rows: Sequence[Sequence[str]], origin: Origin) -> None:
    look.events, unusable = telemetry.requests_of(rows)
    if look.events:
        look.events_from = origin
    if unusable:
        look.notes.append(f"{unusable} telemetry events could not be used: their counts are damaged")


def _coverage(files: Transcripts, known: _Known, rates: prices.Prices) -> Coverage:
    span = span_of(known.groups)
    united = known.united
    by_model = explain(united, known.of_files_alone)
    return Coverage(
        files=files.files,
        deleted_files=files.deleted,
        lines=files.lines,
        skipped_lines=sum(files.skipped.values()),
        skipped_by_kind=files.skipped,
        unreadable=files.unreadable,
        first=moment(span[0]) if span else None,
        last=moment(span[1]) if span else None,
        only_files=sum(each.only_files for each in by_model),
        only_telemetry=sum(each.only_telemetry for each in by_model),
        in_both=sum(each.in_both for each in by_model),
        output_tokens_added=united.output_tokens_added if united is not None else 0,
        by_model=by_model,
        client_totals=compare(files.said, known.groups, rates).as_dict(),
    )


def _provenance(source: SourceName, sources: Sources, look: _Look, files: Transcripts, coverage: Coverage) -> Reading:
    """A reading without numbers: where they come from, how old they are, and why from no better source."""
    reasons = [attempt.reason for attempt in look.tried]
    if look.answered is not None:
        reasons.append(look.answered)
    origin: Origin = look.events_from
    if origin == "empty" and files.groups:
        origin = "files"
    if origin == "cache":
        what = "telemetry, and what no session file knows, is" if look.added.groups else "telemetry is"
        reasons.append(f"{what} what ClickHouse last answered, {_age(look.now - look.as_of)} ago")
    if origin == "empty" and source in ("auto", "files"):
        reasons.append(why_no_usage(sources.roots, files))
    return Reading(
        source=origin,
        as_of=rfc3339(datetime.fromtimestamp(look.as_of, timezone.utc)),
        stale=origin == "cache",
        reason="; ".join(reasons) or None,
        coverage=coverage,
        total=Totals(),
        rung={"clickhouse": 0, "cache": 1, "files": 2, "empty": 3}[origin],
        degraded=bool(look.tried),
        tried=tuple(look.tried),
        notes=tuple(look.notes),
    )


def _answer(
    query: UsageQuery,
    base: Reading,
    known: _Known,
    rates: prices.Prices,
    names: Mapping[str, str],
    blocks: Blocks,
) -> Reading:
    notes = base.notes
    if tally.needs_requests(query):
        of_any_time = replace(query, since=None, until=None)
        whole, cut = tally.whole_within(known.added, query)
        found = tally.chosen(put(fold(tally.within(known.requests, query)), whole.items()), of_any_time, names)
        if cut:
            notes = (*notes, f"{cut} requests of the cache are left out: it tells no time but the quarter of an hour")
    else:
        found = tally.chosen(known.groups, query, names)
    total, rows = tally.added_up(found, query.by, rates, query.tz, names, blocks)
    notes = (*notes, *_unpriced(total, rates))
    if known.groups and not found:
        notes = (*notes, _none_found(query, messages_of(known.groups)))
    if query.since is not None or query.until is not None:
        timeless = messages_of({key: sums for key, sums in known.groups.items() if key.quarter is None})
        if timeless:
            have = "1 request has" if timeless == 1 else f"{timeless:,} requests have"
            notes = (*notes, f"{have} no usable time and {'is' if timeless == 1 else 'are'} in no span of it")
    if query.by == "project" and any(key.project == UNKNOWN for key in found):
        notes = (*notes, "telemetry does not name projects: requests that no session file knows are `unknown`")
    return replace(
        base,
        total=total,
        by=query.by,
        prices_as_of=rates.as_of,
        prices_own=rates.own,
        rows=rows,
        notes=notes,
    )


def _none_found(query: UsageQuery, known: int) -> str:
    """By what was asked alone; and that a name is not looked for inside of names, which is what one tries first."""
    timed = query.since is not None or query.until is not None
    named = {"model": query.model, "project": query.project}
    asked = [*(["time"] if timed else []), *(what for what, name in named.items() if name is not None)]
    said = f"none of the {known:,} requests known is of that {' and '.join(asked)}"
    for what, name in named.items():
        if name and not set(name) & set("*?["):
            said += f"; --by {what} lists the names, and --{what} '*{name}*' is all that have it inside"
    return said


def _unpriced(total: Totals, rates: prices.Prices) -> Iterator[str]:
    """A listed model whose cost is unknown all the same is not "without a price": what it lacks is said."""
    for model in total.cost_unknown_models:
        lacking = rates.lacking(model)
        if lacking:
            yield f"the prices of {model} have no {', '.join(lacking)}: the cost of such tokens is unknown"


def why_no_usage(roots: Sequence[Path], files: Transcripts) -> str:
    where = ", ".join(str(root) for root in roots) or "any known place (HOME is not set)"
    if files.files:
        return f"the {files.files} session files under {where} hold no usage"
    if files.unreadable:
        return f"no session file under {where} can be read"
    return f"no session files under {where}"


def _age(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
