"""One reader over all sources (LADDERS.md, L7). Decides what is united with what, and says truthfully from where.

    rung  source       taken when
    0     clickhouse   it answers: its rows united with the session files
    1     cache        it does not: its last answer (cache.py), with its age, united with the session files
    2     files        nothing is cached, or it is damaged
    3     empty        and there is no usage in any session file

The files are read in every case, so that no rung shows less than they hold; of what `ingest` wrote to the store is
added what they know no more (store.py, asked by asking.py). A source is named only if it contributed:
a store that answers and is empty leaves `files` (or `empty`), with that as the reason. A source that the caller forces
stands alone, and raises its Failure when it cannot be read.

Imports the rest of this package, clock and errors; what only the store, its cache or telemetry need, where one of them
is asked: `--source files` waits for none of it.
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
from cc.usage import prices, tally
from cc.usage.blocks import Blocks
from cc.usage.client_totals import compare
from cc.usage.explain import explain
from cc.usage.groups import CALENDAR, QUARTER_HOUR, Groups, Times, fold, merge, messages_of, times_of
from cc.usage.model import Attempt, Coverage, Origin, Reading, SourceName, Totals, UsageQuery, moment, rfc3339
from cc.usage.request import UNKNOWN, Request
from cc.usage.words import as_last_seen, plural

if TYPE_CHECKING:
    from cc.usage.clickhouse import ClickHouse
    from cc.usage.store import Span
    from cc.usage.transcripts import Transcripts
    from cc.usage.unite import United

NO_GROUPS: Groups = {}

OF_ALL = "without --source, what the session files tell is counted, too"

OLDEST_S = 1_577_836_800
"""2020-01-01: no client is older, and what is dated so is not told by its clock."""
AHEAD_S = 86_400
"""By how much another machine's clock may be ahead."""

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


class Look(msgspec.Struct):
    """What one look at the sources has brought so far.

    `rows` are what ClickHouse answered of telemetry, and `asked` is the span of which it told what no file knows;
    `added` is what the cache tells of that. `lacks`: what `ingest` wrote to the store could not be read.
    """

    now: float
    as_of: float
    rows: list[list[str]] | None = None
    asked: Span | None = None
    events: list[Request] = []
    added: Groups = {}
    events_from: Origin = "empty"
    tried: list[Attempt] = []
    notes: list[str] = []
    answered: str | None = None
    lacks: bool = False


def read_usage(query: UsageQuery, sources: Sources, progress: Progress = no_progress) -> Reading:
    """The answer to one question. Raises ConfigError for bad prices, Failure for a forced source that fails."""
    return read_usages((query,), sources, progress)[0]


def read_usages(
    queries: Sequence[UsageQuery], sources: Sources, progress: Progress = no_progress
) -> tuple[Reading, ...]:
    """The answers to several questions of one look at the sources, which is what takes the time.

    All must name the same source; the first one's counts.
    """
    rates = prices.load(sources.prices)
    source: SourceName = queries[0].source
    look = Look(now := sources.now(), now)
    try:
        known = _known(look, queries, sources, progress)
    except Failure as failure:
        failure.hint = failure.hint or (None if source in ("auto", "files") else OF_ALL)
        raise
    files = known.files
    look.notes += files.notes  # not before: who looks at single requests finds out of the index what is to be told
    if files.deleted:
        look.notes.append(f"{plural(files.deleted, 'session file')} no longer there {as_last_seen(files.deleted)}")
    base = _provenance(source, sources, look, files, _coverage(known, rates, look.now))
    blocks = Blocks(known.groups if any(query.by == "block" for query in queries) else {}, round(look.now * 1000))
    return tuple(_answer(query, base, known, rates, files.project_names, blocks) for query in queries)


def _known(look: Look, queries: Sequence[UsageQuery], sources: Sources, progress: Progress) -> Known:
    """All that the source tells of which the queries are."""
    source = queries[0].source
    files = _files(queries, sources, progress)
    if source == "files":
        return Known(files)
    from cc.usage import asking

    if source != "cache":
        asking.ask_telemetry(look, sources, forced=source == "clickhouse")
    found = asking.ask_table(look, queries, sources, files)
    if look.tried or source == "cache":
        asking.ask_cache(look, queries, sources, files)
    known = Known(files, found.requests, found.groups, look.events, look.added)
    asking.keep(look, sources, known)
    return known


def _files(queries: Sequence[UsageQuery], sources: Sources, progress: Progress) -> Transcripts:
    from cc.usage import transcripts  # SQLite with it, no sooner than something is read

    if queries[0].source not in ("files", "auto"):
        return transcripts.Transcripts()
    files = transcripts.read(sources.roots, sources.index_dir, progress)
    if any(map(tally.needs_requests, queries)):
        _ = files.requests  # before all else is asked: should they have to be read anew, groups would be others, too
    return files


class Known:
    """All requests: as groups, which most questions need alone, and one by one if telemetry is to be matched.

    `singles` and `stored` are the requests of the store's own table, one by one and added up; `events` are those of
    telemetry; `added` is what is known as a difference of groups only, of an earlier answer of the store.
    """

    def __init__(
        self,
        files: Transcripts,
        singles: Sequence[Request] = (),
        stored: Groups = NO_GROUPS,
        events: Sequence[Request] = (),
        added: Groups = NO_GROUPS,
    ) -> None:
        self.files, self.singles, self.events, self.added = files, singles, events, added
        self._stored = stored
        self.united: United | None = None
        if events:
            from cc.usage.unite import unite

            self.united = unite(self._rows, events)
        self.groups = fold(self.requests) if events or singles else dict(files.groups)
        merge(self.groups, stored.items())
        if added:
            from cc.usage.added import put

            self.groups = put(self.groups, added.items())

    @property
    def requests(self) -> Sequence[Request]:
        return self._rows if self.united is None else self.united.requests

    @property
    def of_files_alone(self) -> Groups:
        """All that telemetry does not know, but for what is united one by one."""
        return self.groups if self.united is None else {**self._stored, **self.added}

    @property
    def _rows(self) -> list[Request]:
        """Of session files and the store; what both know is one request."""
        if not self.singles:
            return self.files.requests
        from cc.usage.ledger import Ledger

        ledger = Ledger[Request]()
        for request in (*self.files.requests, *self.singles):
            ledger.add(request)
        return ledger.settle()


def _coverage(known: Known, rates: prices.Prices, now: float) -> Coverage:
    files = known.files
    times = _times(known.groups, now)
    united = known.united
    by_model = explain(united, known.of_files_alone)
    return Coverage(
        files=files.files,
        deleted_files=files.deleted,
        lines=files.lines,
        skipped_lines=sum(files.skipped.values()),
        skipped_by_kind=files.skipped,
        unreadable=files.unreadable,
        first=moment(times.span[0]) if times.span else None,
        last=moment(times.span[1]) if times.span else None,
        before_2020=times.before,
        in_the_future=times.after,
        timeless=times.none,
        only_files=sum(each.only_files for each in by_model),
        only_telemetry=sum(each.only_telemetry for each in by_model),
        in_both=sum(each.in_both for each in by_model),
        output_tokens_added=united.output_tokens_added if united is not None else 0,
        by_model=by_model,
        client_totals=compare(files.said, known.groups, rates).as_dict(),
    )


def _times(groups: Groups, now: float) -> Times:
    """A clock of this machine that is wrong itself tells of no future."""
    last = int(now + AHEAD_S) * 1000 // QUARTER_HOUR if now >= OLDEST_S else CALENDAR[-1]
    return times_of(groups, OLDEST_S * 1000 // QUARTER_HOUR, last)


def _provenance(source: SourceName, sources: Sources, look: Look, files: Transcripts, coverage: Coverage) -> Reading:
    """A reading without numbers: where they come from, how old they are, and why from no better source."""
    reasons = [attempt.reason for attempt in look.tried]
    if look.answered is not None:
        reasons.append(look.answered)
    origin: Origin = look.events_from
    if origin == "empty" and files.groups:
        origin = "files"
    if origin == "cache":
        what = "telemetry, and what no session file knows, is" if look.added else "telemetry is"
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
        degraded=bool(look.tried or look.lacks or coverage.unreadable),
        tried=tuple(look.tried),
        notes=tuple(look.notes),
    )


def _answer(
    query: UsageQuery,
    base: Reading,
    known: Known,
    rates: prices.Prices,
    names: Mapping[str, str],
    blocks: Blocks,
) -> Reading:
    notes = base.notes
    if tally.needs_requests(query):
        of_any_time = replace(query, since=None, until=None)
        found = fold(tally.within(known.requests, query))
        if known.added:
            from cc.usage.added import put

            whole, cut = tally.whole_within(known.added, query)
            found = put(found, whole.items())
            if cut:
                only = "it tells no time but the quarter of an hour"
                notes = (*notes, f"{plural(cut, 'request')} of the cache left out: {only}")
        found = tally.chosen(found, of_any_time, names)
    else:
        found = tally.chosen(known.groups, query, names)
    total, rows = tally.added_up(found, query.by, rates, query.tz, names, blocks)
    notes = (*notes, *_unpriced(total, rates))
    if known.groups and not found:
        notes = (*notes, _none_found(query, messages_of(known.groups)))
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
    none = "the one request known is not" if known == 1 else f"none of the {known:,} requests known is"
    said = f"{none} of that {' and '.join(asked)}"
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
        hold = "holds" if files.files == 1 else "hold"
        return f"the {plural(files.files, 'session file')} under {where} {hold} no usage"
    if files.unreadable:
        return f"no session file under {where} can be read"
    return f"no session files under {where}"


def _age(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
