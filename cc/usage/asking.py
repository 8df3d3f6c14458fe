"""ClickHouse and its last answer, asked for the reader: what they tell, and in its Look what is to be said of that.

Imports errors, added, cache, clickhouse, groups, model, store, store_schema, telemetry, unite, words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cc.errors import Failure
from cc.usage import cache, store, telemetry
from cc.usage.added import Added, Asked, difference
from cc.usage.clickhouse import ClickHouse, NoTableError
from cc.usage.groups import Groups, fold, messages_by_session
from cc.usage.model import Attempt, Origin, UsageQuery
from cc.usage.store_schema import taken
from cc.usage.unite import unite
from cc.usage.words import plural

if TYPE_CHECKING:
    from cc.usage.reader import Known, Look, Sources
    from cc.usage.transcripts import Transcripts


def ask_telemetry(look: Look, sources: Sources, *, forced: bool) -> None:
    """Telemetry's events, of any time. Raises Failure if ClickHouse is `forced`."""
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


def ask_table(look: Look, queries: Sequence[UsageQuery], sources: Sources, files: Transcripts) -> store.Found:
    """What `ingest` wrote to the store: all of it where the store stands alone, else what no session file knows.

    Raises Failure where the store stands alone.
    """
    source = queries[0].source
    if sources.clickhouse is None or look.tried or source == "cache":
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
        look.lacks = True
        look.notes.append(f"what `ingest` wrote to ClickHouse could not be read: {failure.message}")
        return store.Found()
    if found.requests or found.groups:
        look.events_from = "clickhouse"
    elif not look.events:
        of_it = "" if store.span_of(queries) == store.Span() else " of that time"
        more = "no more than the session files" if found.any else "no requests"
        look.answered = f"ClickHouse answered and holds {more}{of_it}"
    return found


def ask_cache(look: Look, queries: Sequence[UsageQuery], sources: Sources, files: Transcripts) -> None:
    """What ClickHouse last answered, of telemetry and of its own table. Raises Failure if that source is forced."""
    forced = queries[0].source == "cache"
    try:
        if sources.cache_dir is None:
            raise Failure("no place for a cache is configured", code="not_satisfied")
        kept, span = cache.kept(sources.cache_dir), store.span_of(queries)
        _take(look, kept.rows, "cache")
        added = kept.added.of(span.first, span.after, messages_by_session(files.groups))
        look.added = added.groups
        if not look.events and not added.groups:
            raise Failure(
                "of what no session file knows the cached answer of ClickHouse holds nothing", code="not_satisfied"
            )
        look.events_from = "cache"
        look.as_of = min(kept.as_of, *(each.as_of for each in added.asked)) if added.groups else kept.as_of
        if not added.covers(span.first, span.after):
            look.notes.append("the cache may lack some of what `ingest` wrote: ClickHouse was not asked for all of it")
    except Failure as failure:
        if forced:
            raise
        look.tried.append(Attempt(1, "cache", failure.code, failure.message))


def keep(look: Look, sources: Sources, known: Known) -> None:
    """What ClickHouse has answered, for when it does not. Of its own table what was not asked now stays as it was."""
    if look.rows is None or sources.cache_dir is None:
        return
    before = Added() if look.asked == store.Span() else cache.added_before(sources.cache_dir)
    if look.asked is not None:
        span, groups = look.asked, _added_by_the_store(known)
        groups = {group: numbers for group, numbers in groups.items() if span.has(group.quarter)}
        of_files = messages_by_session(known.files.groups)
        sessions = {group.session: of_files.get(group.session, 0) for group in groups}
        before = before.renewed(Added((Asked(span.first, span.after, look.now),), groups, sessions))
    try:
        cache.keep(sources.cache_dir, cache.Kept(look.now, look.rows, before))
    except Failure as failure:  # costs the next fallback, not this answer
        look.notes.append(f"ClickHouse's answer could not be cached: {failure.message}")


def _added_by_the_store(known: Known) -> Groups:
    """By what its own table makes these groups other than files and telemetry alone would."""
    if not known.singles:
        return {}
    files, events = known.files, known.events
    return difference(known.groups, fold(unite(files.requests, events).requests) if events else files.groups)


def _take(look: Look, rows: Sequence[Sequence[str]], origin: Origin) -> None:
    look.events, unusable = telemetry.requests_of(rows)
    if look.events:
        look.events_from = origin
    if unusable:
        look.notes.append(f"{plural(unusable, 'telemetry event')} could not be used: damaged counts")
