"""`ingest` at its edge: how far it is for a person at a terminal, and how far it was when somebody ends it.

It may be ended anywhere: what was written stays, and the rest comes the next time. So a signal ends it at once, and
waits for nothing to be completed.
"""

from __future__ import annotations

import os
import sys

from cc.clock import wall_time
from cc.command_line import Answer, Session
from cc.errors import InterruptedRunError, RunDeadlineError
from cc.report.ingest import ingest_document, ingest_text, so_far
from cc.report.progress import Progress
from cc.usage.ingest import Ingested, ingest_files
from cc.usage.sources import sources


def answer(session: Session) -> Answer:
    """Raises what `ingest_files` raises; interruption and deadline say what was written until then."""
    told, came, began = sources(session.settings, os.environ), Ingested(), wall_time()
    reading = Progress(sys.stderr, session.clock, "reading session files")
    writing = Progress(sys.stderr, session.clock, "writing to the store", ("rows", 1))
    try:
        files = ingest_files(told, came, reading, writing)
    except InterruptedRunError as error:
        raise InterruptedRunError(f"{error}; {so_far(came)}", exit_code=error.exit_code) from error
    except RunDeadlineError as error:
        raise RunDeadlineError(f"{error}; {so_far(came)}") from error
    finally:
        reading.close()
        writing.close()
    document = ingest_document(came, files, wall_time() - began)
    return Answer(document, "" if session.options.json else ingest_text(document))
