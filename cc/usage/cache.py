"""The telemetry rows of ClickHouse's last answer, kept for when it does not answer (LADDERS.md, L7 rung 1).

    cc-telemetry 1 <sha256 of what follows>\\n
    {"as_of": 1795478271.3, "rows": [[...], ...]}

The rows, and not the totals: united with the session files they never show less than the files alone. One file,
written whole, of this machine's user only. It may be deleted or damaged at any time; the next answer replaces it.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from cc.errors import Failure
from cc.files import os_failure, write_whole

NAME = "telemetry.rows"
HEAD = b"cc-telemetry 1 "
MOST_BYTES = 512 << 20


@dataclass(frozen=True, slots=True)
class Kept:
    """What ClickHouse answered, and when: seconds since 1970."""

    as_of: float
    rows: list[list[str]]


def keep(directory: Path, answer: Kept) -> None:
    """Replace what is kept. Raises Failure (disk_full, permission_denied)."""
    body = json.dumps({"as_of": answer.as_of, "rows": answer.rows}, separators=(",", ":")).encode()
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
    except OSError as error:
        raise os_failure(error, f"cannot make {directory}") from error
    write_whole(str(directory / NAME), HEAD + hashlib.sha256(body).hexdigest().encode() + b"\n" + body)


def kept(directory: Path) -> Kept:
    """What was kept last. Raises Failure: not_satisfied if nothing was, bad_answer if it is damaged."""
    path = directory / NAME
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            data = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise Failure("no earlier answer of ClickHouse is cached", code="not_satisfied") from None
    except OSError as error:
        raise os_failure(error, f"the cache {path} cannot be read") from error
    head, _, body = data.partition(b"\n")
    if len(data) > MOST_BYTES or head != HEAD + hashlib.sha256(body).hexdigest().encode():
        raise _damaged(path)
    try:
        document = json.loads(body)
        return Kept(float(document["as_of"]), list(document["rows"]))
    except (ValueError, KeyError, TypeError) as error:  # whole, and of another version of ours
        raise _damaged(path) from error


def _damaged(path: Path) -> Failure:
    return Failure(
        f"the cache {path} is damaged; ClickHouse's next answer replaces it",
        code="bad_answer",
        hint=f"it may be deleted: rm {path}",
    )
