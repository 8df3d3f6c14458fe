"""`ingest` at its edge: how far it is for a person at a terminal, and how far it was when somebody ends it.

It may be ended anywhere: what was written stays, and the rest comes the next time. So a signal ends it at once, and
waits for nothing to be completed.
"""

from __future__ import annotations

import json
import os
import sys

from cc.clock import wall_time
from cc.command_line import Answer, Session
from cc.errors import Failure, Interrupted, InterruptedRunError, RunDeadlineError
from cc.feed import Feed
from cc.report.ingest import ingest_document, ingest_text, so_far
from cc.report.progress import Progress
from cc.usage.groups import Groups
from cc.usage.ingest import Ingested, ingest_files
from cc.usage.reader import why_no_usage
from cc.usage.sources import sources

AGAIN_S = 2.0
PASSING = frozenset({"connection_refused", "deadline", "bad_answer", "disk_full"})
"""What `--follow` waits out: a store that is restarted, or whose disk is made room on."""


def answer(session: Session) -> Answer:
    """Exit code 3, with --strict, if a file or directory could not be read. Raises what `ingest_files` raises;
    interruption and deadline say what was written until then.
    """
    return _once(session, None)[0]


def follow(session: Session) -> None:
    """A line each time that something was written, until somebody ends it. Raises Failure for what does not pass."""
    feed, known, said = Feed(session), None, ""
    with feed.until_unread():
        while session.cancel.requested is None:
            try:
                told, groups = _once(session, known)
            except Failure as failure:
                if failure.code not in PASSING:
                    raise
                if failure.message != said:
                    feed.aside(f"{failure.message}; waiting for it")
                said = failure.message
            else:
                if known is None or told.document["status"] == "changed":
                    feed.line(json.dumps(told.document, ensure_ascii=False) if session.options.json else told.text)
                known, said = groups, ""
            session.clock.wait(AGAIN_S, session.cancel)
        raise Interrupted("nobody follows any more")


def _once(session: Session, known: Groups | None) -> tuple[Answer, Groups]:
    """`known` is what the files told when they were last written to the store."""
    told, came, began = sources(session.settings, os.environ), Ingested(), wall_time()
    reading = Progress(sys.stderr, session.clock, "reading session files")
    writing = Progress(sys.stderr, session.clock, "writing to the store", ("requests", 1))
    try:
        files = ingest_files(told, came, reading, writing, known)
    except InterruptedRunError as error:
        raise InterruptedRunError(f"{error}; {so_far(came)}", exit_code=error.exit_code) from error
    except RunDeadlineError as error:
        raise RunDeadlineError(f"{error}; {so_far(came)}") from error
    finally:
        reading.close()
        writing.close()
    nothing = None if files.groups else why_no_usage(told.roots, files)
    document = ingest_document(came, files, wall_time() - began, nothing)
    code = 3 if session.options.strict and document["degraded"] else 0
    return Answer(document, "" if session.options.json else ingest_text(document), code), files.groups
