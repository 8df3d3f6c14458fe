"""The words of a command line or a URL become a UsageQuery, or a UsageError that names the field.

    since, until    2026-11-24 · 2026-11-24T10:00:00Z · 36h (that long ago) · 7d, 2w (from the start of that day on)
                    today · yesterday
    tz              an IANA name such as Europe/Berlin, UTC, +02:00, local

Imports model, errors, clock.
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta, timezone, tzinfo
from typing import TypeVar

from cc.clock import wall_time
from cc.errors import UsageError
from cc.usage.model import GROUPINGS, SOURCES, UsageQuery

RELATIVE = r"(\d{1,6})([hdw])"
OFFSET = r"([+-])(\d{1,2})(?::?(00|15|30|45))?"
"""From UTC, in quarters of an hour, as every zone's is: groups are no finer (groups.py)."""

DAYS_AGO = {"today": 0, "yesterday": 1}
MOMENTS = "a date (2026-11-24, today), a time (2026-11-24T10:00:00Z) or how long ago (7d, 2w, 36h)"

Word = TypeVar("Word", bound=str)


def parse(
    *,
    by: str | None = None,
    since: str | None = None,
    until: str | None = None,
    model: str | None = None,
    project: str | None = None,
    source: str | None = None,
    tz: str | None = None,
    now: datetime | None = None,
) -> UsageQuery:
    """A query of words as a person types them; None and "" mean not given. Raises UsageError.

    `now`, from which `7d` counts back, must know its zone; without one it is the present.
    """
    now = now or datetime.fromtimestamp(wall_time(), timezone.utc)
    zone = parse_zone(tz) if tz else None
    query = UsageQuery(
        by=_one_of("by", by, GROUPINGS) if by else None,
        since=parse_moment(since, field="since", now=now, tz=zone) if since else None,
        until=parse_moment(until, field="until", now=now, tz=zone) if until else None,
        model=model or None,
        project=project or None,
        source=_one_of("source", source, SOURCES) if source else "auto",
        tz=zone,
    )
    if query.since is not None and query.until is not None and begin_of(query.since, zone) >= end_of(query.until, zone):
        raise UsageError(f"--since {since} is later than --until {until}", field="since", hint="swap the two")
    return query


def parse_zone(text: str) -> tzinfo | None:
    """The zone of this name; None for `local`. Raises UsageError."""
    if text == "local":
        return None
    if text.upper() in ("UTC", "Z"):
        return timezone.utc
    if offset := re.fullmatch(OFFSET, text):
        ahead = timedelta(hours=int(offset[2]), minutes=int(offset[3] or 0))
        if ahead < timedelta(days=1):
            return timezone(ahead if offset[1] == "+" else -ahead)
    from zoneinfo import ZoneInfo  # reads the machine's Python paths first: milliseconds

    try:
        return ZoneInfo(text)
    except (KeyError, ValueError, OSError) as error:  # OSError: a name that is a directory of the zone database
        raise UsageError(
            f"--tz {text!r} is no time zone that this machine knows",
            field="tz",
            hint="a name such as Europe/Berlin, UTC, +02:00 or local",
        ) from error


def parse_moment(text: str, *, field: str, now: datetime, tz: tzinfo | None) -> date | datetime:
    """A date for a whole day of `tz`, a datetime with its zone for an instant. Raises UsageError naming `field`.

    `7d` and `2w` are days: a table by day that began in the middle of one would show a day that never was.
    A time without a zone is one of `tz`.
    """
    relative = re.fullmatch(RELATIVE, text.strip())
    try:
        if relative:
            number, unit = int(relative[1]), relative[2]
            if unit == "h":
                return now - timedelta(hours=number)
            return now.astimezone(tz).date() - timedelta(days=number * (7 if unit == "w" else 1))
        if text.strip() in DAYS_AGO:
            return now.astimezone(tz).date() - timedelta(days=DAYS_AGO[text.strip()])
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text.strip()):
            return date.fromisoformat(text.strip())
        moment = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text.strip()))
        return moment if moment.tzinfo else moment.replace(tzinfo=tz).astimezone(tz)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"--{field} {text!r} is no moment", field=field, hint=f"give {MOMENTS}") from error


def begin_of(moment: date | datetime, tz: tzinfo | None) -> int:
    """The first millisecond since 1970 that belongs to it."""
    return _milliseconds(moment if isinstance(moment, datetime) else _midnight(moment, tz))


def end_of(moment: date | datetime, tz: tzinfo | None) -> int:
    """The first millisecond since 1970 after it: until is inclusive."""
    if isinstance(moment, datetime):
        return _milliseconds(moment) + 1
    try:
        return _milliseconds(_midnight(moment + timedelta(days=1), tz))
    except OverflowError:  # the last day that a date can be
        return _milliseconds(datetime.max.replace(tzinfo=timezone.utc))


def day_of(moment: date | datetime | None, tz: tzinfo | None) -> date | None:
    """The day of `tz` in which it lies; of one that `tz` leads out of the calendar, the first or the last there is."""
    if not isinstance(moment, datetime):
        return moment
    try:
        return moment.astimezone(tz).date()
    except OverflowError:
        return date.min if moment.year == 1 else date.max


def _midnight(day: date, tz: tzinfo | None) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=tz)


def _milliseconds(moment: datetime) -> int:
    """A datetime without zone is local time, as Python has it."""
    try:
        return int(moment.timestamp() * 1000)
    except (OverflowError, ValueError):  # year 1 or 9999 and a zone that leads out of the calendar
        return int(moment.replace(tzinfo=timezone.utc).timestamp() * 1000)


def _one_of(field: str, word: str, known: tuple[Word, ...]) -> Word:
    for one in known:
        if word == one:
            return one
    raise UsageError(f"--{field} {word!r} is not known", field=field, hint="one of " + ", ".join(known))
