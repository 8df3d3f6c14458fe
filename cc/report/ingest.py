"""`ingest` for people and for scripts: what was read, what of it was new to the store, and what could not be read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cc.report.printable import one_line
from cc.usage.words import not_used, plural

if TYPE_CHECKING:
    from cc.usage.ingest import Ingested
    from cc.usage.transcripts import Transcripts


def ingest_document(came: Ingested, files: Transcripts, took_s: float, nothing: str | None) -> dict[str, Any]:
    """The document of `--json`, `degraded` if a file or directory could not be read: the store may lack what it tells.

    `nothing` is why the files tell of no usage, None if they do.
    """
    return {
        "status": "changed" if came.changed else "ok",
        "degraded": bool(files.unreadable),
        "store": came.store,
        "files": files.files,
        "deleted_files": files.deleted,
        "lines": files.lines,
        "skipped_by_kind": dict(files.skipped),
        "unreadable": [{"path": path, "reason": why} for path, why in files.unreadable],
        "requests": came.requests,
        "sessions": came.sessions,
        "sessions_that_differed": came.differing,
        "migrations": came.migrations,
        "rows_written": came.written,
        "rows_removed": came.removed,
        "notes": [*filter(None, [nothing]), *files.notes],
        "took_ms": round(took_s * 1000),
    }


def ingest_text(document: dict[str, Any]) -> str:
    """The same for people."""
    requests, sessions, files = (plural(document[f"{one}s"], one) for one in ("request", "session", "file"))
    known = f"{'the' if document['requests'] == 1 else 'all'} {requests} of {sessions} in {files}"
    if document["status"] == "ok":
        lines = [f"ok: nothing new, the store at {document['store']} has {known}"]
    else:
        removed = f", {document['rows_removed']:,} removed" if document["rows_removed"] else ""
        lines = [
            f"changed: {plural(document['rows_written'], 'row')} written{removed}: {document['store']} has {known}"
        ]
    lines += not_used(document["skipped_by_kind"], [(each["path"], each["reason"]) for each in document["unreadable"]])
    lines += document["notes"]
    return "\n".join(map(one_line, lines))


def so_far(came: Ingested) -> str:
    """How far it was when it was ended."""
    if not came.written + came.removed:
        return "nothing was written yet"
    return f"{came.stored:,} of {came.requests:,} requests are in the store, the rest comes the next time"
