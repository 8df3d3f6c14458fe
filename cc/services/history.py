"""What happened to this project: the entries of its journal that were asked for, and those to come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import islice

from cc.clock import wall_time
from cc.errors import Interrupted
from cc.resources.journal import Entry, JournalReader, since
from cc.services.selection import PASSWORD_STEP
from cc.services.stack import Stack

POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries: none older than `since`, and only those about these services. None for no such wish."""

    since: datetime | None = None
    services: frozenset[str] | None = None

    @classmethod
    def asked(cls, moment: str | None, services: tuple[str, ...] | None) -> Wanted:
        """As a person typed it. Raises UsageError."""
        now = datetime.fromtimestamp(wall_time(), timezone.utc)
        return cls(None if moment is None else since(moment, now), None if services is None else frozenset(services))

    def __contains__(self, entry: Entry) -> bool:
        if self.services is not None and _about(entry) not in self.services:
            return False
        return self.since is None or (entry.time is not None and entry.time >= self.since)


def _about(entry: Entry) -> str | None:
    """The service that an entry tells of."""
    told = entry.told.get("service") or entry.told.get("step")
    return "clickhouse" if told == PASSWORD_STEP else told if isinstance(told, str) else None


def tell_history(
    stack: Stack, wanted: Wanted, lines: int | None, tell: Callable[[Entry], None], say: Callable[[str], None], *,
    follow: bool,
) -> None:  # fmt: skip
    """Tell the last so many entries that are wanted (None: all), the oldest first, and with `follow` those to come.

    `say` gets what is to be known besides: that there is no journal, that some of it cannot be read. Raises Failure if
    it cannot be read at all, Interrupted, and what `tell` raises.
    """
    journal = JournalReader(stack.state.journal)
    found = list(islice((entry for entry in journal.newest(follow=follow) if entry in wanted), lines))
    for entry in reversed(found):
        tell(entry)
    if not found and not journal.there:
        say(f"no journal yet: nothing has happened in project {stack.state.project!r} ({stack.state.journal})")
    said = _say_corrupt(journal, 0, say)
    while follow and stack.clock.wait(POLL_S, stack.cancel):
        for entry in journal.more():
            if entry in wanted:
                tell(entry)
        said = _say_corrupt(journal, said, say)
    if follow:
        raise Interrupted(f"cancelled ({stack.cancel.requested})")


def _say_corrupt(journal: JournalReader, said: int, say: Callable[[str], None]) -> int:
    new = journal.corrupt - said
    if new:
        lines, are = ("line", "is") if new == 1 else ("lines", "are")
        say(f"{new} {lines} of the journal cannot be read, and {are} left out")
    return journal.corrupt
