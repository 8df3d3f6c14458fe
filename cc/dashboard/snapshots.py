"""One read at a time, its answer shared for a moment: eight tabs that reload must not parse the files eight times.

A read that fails is an answer too: an empty reading that says why. The clock is injected.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cc.errors import CcError
from cc.usage.model import Coverage, Reading, Totals, UsageQuery, rfc3339

if TYPE_CHECKING:
    from datetime import datetime

    from cc.clock import Clock

Read = Callable[[Sequence[UsageQuery]], Sequence[Reading]]
"""The answers to several questions of one look at the sources. May raise CcError or OSError."""

KEEP_S = 2.0
AT_MOST = 64


@dataclass(frozen=True, slots=True)
class Kept:
    """Answers, and until when they are handed out, in monotonic seconds."""

    readings: tuple[Reading, ...]
    until: float


class Snapshots:
    """Answers to queries. Safe for threads: who comes while a read is under way waits for it and shares its answers.

    `today` is the wall clock, for what is shown; `clock` decides.
    """

    def __init__(self, read: Read, clock: Clock, today: Callable[[], datetime], *, keep_s: float = KEEP_S) -> None:
        self._read = read
        self._clock = clock
        self._today = today
        self._keep_s = keep_s
        self._one_read = threading.Lock()
        self._kept: dict[tuple[UsageQuery, ...], Kept] = {}

    def readings(self, *queries: UsageQuery) -> tuple[Reading, ...]:
        """One answer for each query, all of the same look at the sources."""
        with self._one_read:
            begun = self._clock.now()
            kept = self._kept.get(queries)
            if kept is not None and begun < kept.until:
                return kept.readings
            answers = self._ask(queries)
            # As long as it took, if that is longer: a store that hangs until its deadline, or a gigabyte of files,
            # must not keep this machine busy all the time because a page is open. The page shows the age.
            now = self._clock.now()
            self._kept = {asked: one for asked, one in self._kept.items() if now < one.until}
            if len(self._kept) < AT_MOST:
                self._kept[queries] = Kept(answers, now + max(self._keep_s, now - begun))
            return answers

    def _ask(self, queries: tuple[UsageQuery, ...]) -> tuple[Reading, ...]:
        try:
            return tuple(self._read(queries))
        except CcError as error:
            why = error.message + (f" ({error.hint})" if error.hint else "")
        except OSError as error:
            why = f"the sources could not be read: {error}"
        return tuple(
            Reading(
                source="empty",
                as_of=rfc3339(self._today()),
                stale=False,
                reason=why,
                coverage=Coverage(),
                total=Totals(),
                by=query.by,
                rung=3,
                degraded=True,
            )
            for query in queries
        )
