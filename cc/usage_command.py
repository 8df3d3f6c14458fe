"""`usage` at its edge: what it asks, and in which of three forms the answer goes out: a table, JSON, CSV.

Only a terminal gets the days as a line above its table, so only then are they asked for: of the same look at the
sources, which is what takes the time.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from msgspec.structs import replace

from cc.clock import wall_time
from cc.command_line import Answer, Session, complain, write_out
from cc.errors import UsageError
from cc.report.printable import one_line
from cc.report.progress import Progress
from cc.usage.model import Reading
from cc.usage.query import parse
from cc.usage.reader import read_usages
from cc.usage.sources import sources


def answer(session: Session, asked: Mapping[str, Any], *, csv: bool, explain: bool, limit: int | None) -> Answer:
    """`asked` is the words of `query.parse`; `limit` is rows of the table, None for what fits a terminal.

    Raises UsageError for flags that do not go together, and what `read_usages` raises.
    """
    json = session.options.json
    if csv and json:
        raise UsageError("--csv and --json are two things", field="--csv", hint="give one of them")
    if explain and csv:
        raise UsageError("--explain is not for CSV", field="--explain", hint="JSON has it, in coverage.requests")
    if limit is not None and (csv or json):
        raise UsageError("--limit is for the table", field="--limit", hint="JSON and CSV hold every row")
    now = datetime.fromtimestamp(wall_time(), timezone.utc)
    query = parse(**asked, now=now)
    width = None if csv or json else session.console.width
    queries = (query,) if width is None else (query, replace(query, by="day"))
    progress = Progress(sys.stderr, session.clock, "reading session files")
    try:
        told = sources(session.settings, os.environ, store=query.source in ("auto", "clickhouse"))
        reading, *days = read_usages(queries, told, progress)
    finally:
        progress.close()
    code = 3 if session.options.strict and reading.degraded else 0
    if json:
        return Answer(reading.as_dict(), "", code)
    if csv:
        _print_csv(reading, quiet=session.options.quiet)
        return Answer({}, "", code)
    from cc.report.screen import screen_of
    from cc.report.usage import usage_text

    screen = screen_of(sys.stdout, os.environ, width, no_color=session.options.no_color)
    by_day = days[0].rows if days else ()
    return Answer({}, usage_text(reading, query, now, screen, limit=limit, by_day=by_day, explain=explain), code)


def _print_csv(reading: Reading, *, quiet: bool) -> None:
    """The rows on stdout and nothing else there; for people, on stderr, where they come from."""
    from cc.report.usage import provenance
    from cc.report.usage_csv import usage_csv

    write_out(usage_csv(reading).encode("utf-8", "replace"))
    if not quiet:
        complain("".join(f"{one_line(line)}\n" for line in provenance(reading)))
