"""ClickHouse's last answer, kept for when it does not answer (LADDERS.md, L7 rung 1).

    cc-telemetry 2 <sha256 of the second line> <sha256 of the third>\\n
    {"asked": [[0, 2147483647, 1795478271.3]], "groups": [...], "known": {...}}\\n   what its own table adds (added.py)
    {"as_of": 1795478271.3, "rows": [[...], ...]}                                    telemetry's rows

Rows and differences, and not the totals: united with the session files they never show less than the files alone. One
file, written whole, of this machine's user only. It may be deleted or damaged at any time; the next answer replaces it.
The format before this one had telemetry's rows alone, and is read.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from cc.errors import Failure
from cc.files import os_failure, write_whole
from cc.usage.added import Added, Asked
from cc.usage.groups import LAST, Group

NAME = "telemetry.rows"
MAGIC = b"cc-telemetry "
HEAD, BEFORE = MAGIC + b"2 ", MAGIC + b"1 "
MOST_BYTES = 512 << 20


class Kept(msgspec.Struct, frozen=True):
    """What ClickHouse answered, and when: seconds since 1970."""

    as_of: float
    rows: list[list[str]]
    added: Added = msgspec.field(default_factory=Added)


def keep(directory: Path, answer: Kept) -> None:
    """Replace what is kept. Raises Failure (disk_full, permission_denied)."""
    lines = [_json(_written(answer.added)), _json({"as_of": answer.as_of, "rows": answer.rows})]
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
    except OSError as error:
        raise os_failure(error, f"cannot make {directory}") from error
    write_whole(str(directory / NAME), b"\n".join((HEAD + b" ".join(map(_sum, lines)), *lines)))


def kept(directory: Path) -> Kept:
    """What was kept last. Raises Failure: not_satisfied if nothing was, bad_answer if it is damaged, or is of a version
    of ours that this one does not know."""
    path = directory / NAME
    try:
        with _opened(path) as file:
            data = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise Failure("no earlier answer of ClickHouse is cached", code="not_satisfied") from None
    except OSError as error:
        raise os_failure(error, f"the cache {path} cannot be read") from error
    head, _, body = data.partition(b"\n")
    added, _, rows = body.partition(b"\n") if head.startswith(HEAD) else (None, b"", body)
    whole = BEFORE + _sum(rows) if added is None else HEAD + _sum(added) + b" " + _sum(rows)
    if len(data) > MOST_BYTES or head != whole:
        raise _of_no_use(path, head)
    try:
        document = json.loads(rows)
        return Kept(
            float(document["as_of"]),
            list(document["rows"]),
            Added() if added is None else _read(json.loads(added)),
        )
    except (ValueError, KeyError, TypeError) as error:  # whole, and not written by `keep`
        raise _of_no_use(path, head) from error


def added_before(directory: Path) -> Added:
    """What is kept of the store's own table, the rows left unread; nothing if there is none or it is damaged."""
    try:
        with _opened(directory / NAME) as file:
            head, line = file.readline(MOST_BYTES).rstrip(b"\n"), file.readline(MOST_BYTES).rstrip(b"\n")
        if head.rpartition(b" ")[0] == HEAD + _sum(line):
            return _read(json.loads(line))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return Added()


def _opened(path: Path) -> BinaryIO:
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # a FIFO must not wait


def _written(added: Added) -> dict[str, Any]:
    return {"asked": added.asked, "groups": list(added.groups.items()), "known": added.known}


def _read(document: dict[str, Any]) -> Added:
    """Raises ValueError, KeyError, TypeError for what is none."""
    groups = {}
    for key, sums in document["groups"]:
        groups[Group(*key)] = list(map(int, sums))
        if len(sums) != LAST + 1:
            raise ValueError("a group without its numbers")
    asked = tuple(Asked(int(first), int(after), float(as_of)) for first, after, as_of in document["asked"])
    known = {str(session): int(number) for session, number in document["known"].items()}
    return Added(asked, groups, known)


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _sum(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()


def _of_no_use(path: Path, head: bytes) -> Failure:
    of_others = head.startswith(MAGIC) and head[len(MAGIC) :].split(b" ")[0] not in (b"1", b"2")
    what = "was written by another version" if of_others else "is damaged"
    return Failure(
        f"the cache {path} {what}; ClickHouse's next answer replaces it",
        code="bad_answer",
        hint=f"it may be deleted: rm {path}",
    )
