"""The journal read back (journal.jsonl and its `.1`): what happened, newest first, and what happens from now on.

The writer is in state.py. Any line may be torn or junk: it is counted, and never stops a reader.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from cc.errors import UsageError
from cc.resources.log_file import LogFile

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: as it stands there, and what it says. `time` is None for one without a time that can be read."""

    line: str
    told: dict[str, Any]

    @property
    def time(self) -> datetime | None:
        return parsed_time(str(self.told.get("time", "")))


class JournalReader:
    """`corrupt` counts the lines that were passed over so far. Raises Failure as LogFile does."""

    def __init__(self, path: str) -> None:
        self._file = LogFile(path)
        self._part = b""
        self.corrupt = 0

    @property
    def there(self) -> bool:
        return self._file.there

    def newest(self, *, follow: bool = False) -> Iterator[Entry]:
        """What there is now, newest first, taken apart only as far back as is asked for.

        `follow`: a last line that has no end yet is left to `more`.
        """
        *lines, self._part = b"".join(self._file.last(None)).split(b"\n")
        if not follow:
            lines.append(self._part)
        return (entry for line in reversed(lines) for entry in self._entry(line))

    def more(self) -> Iterator[Entry]:
        """What was added since, in its order."""
        for piece in self._file.more():
            *lines, self._part = (self._part + piece).split(b"\n")
            for line in lines:
                yield from self._entry(line)

    def _entry(self, line: bytes) -> Iterator[Entry]:
        if not line.strip():
            return  # what a writer puts after a torn line
        text = line.decode(errors="replace")
        try:
            told = json.loads(text)
        except (ValueError, RecursionError):
            told = None
        if isinstance(told, dict):
            yield Entry(text, told)
        else:
            self.corrupt += 1


def parsed_time(text: str) -> datetime | None:
    """An ISO 8601 time; without a zone it is local. None for what is none."""
    text = re.sub(r"(\.\d{1,6})\d*", lambda found: found[1].ljust(7, "0"), text.strip())  # all that Python 3.10 takes
    try:
        found = datetime.fromisoformat(text[:-1] + "+00:00" if text[-1:] in ("Z", "z") else text)
        return found.astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return None


def since(text: str, now: datetime) -> datetime:
    """The moment that `10m`, `2h`, `7d` or an ISO time names. Raises UsageError."""
    found = re.fullmatch(r"(\d{1,6})([smhd])", text.strip())
    if found is not None:
        return now - timedelta(seconds=int(found[1]) * UNITS_S[found[2]])
    moment = parsed_time(text)
    if moment is None:
        raise UsageError(
            f"--since must be like 10m, 2h, 7d or 2026-11-24T14:00, not {text!r}", field="--since",
            hint="s, m, h, d: seconds, minutes, hours, days before now; a time without a zone is local",
        )  # fmt: skip
    return moment
