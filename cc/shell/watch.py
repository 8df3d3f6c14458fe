"""How a command's end is reached: by itself, at the deadline, on cancel, or because the caller raised; who goes along.

    running --ended--> draining --> what is left in its session: TERM, grace, KILL
            --deadline, cancel, exception--> everyone: TERM (INT for SIGINT), grace, KILL until none is left

Imports the standard library, cc.clock and the neighbours in cc.shell; knows nothing of `sh`.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from cc.clock import Cancel, Clock
    from cc.shell.command import Command
    from cc.shell.conversation import Conversation
    from cc.shell.family import Family
    from cc.shell.identity import Stat

DRAIN = 0.2  # seconds after the end for output that others still hold
STUBBORN = 2.0  # seconds after KILL until what can't die (state D, another user's) is named and left
FIRST_PAUSE, LONGEST_PAUSE = 0.005, 0.1  # seconds between two scans


class Verdict(NamedTuple):
    """Why it is over, what had outlived it, and what could not be ended."""

    cause: Literal["ended", "deadline", "cancelled"]
    left_behind: tuple[str, ...] = ()
    alive: tuple[str, ...] = ()


class Watch:
    """Watches one started command to its end."""

    def __init__(
        self, command: Command, talk: Conversation, family: Family, *, clock: Clock, cancel: Cancel | None
    ) -> None:
        self._command = command
        self._talk = talk
        self._family = family
        self._clock = clock
        self._cancel = cancel

    def to_the_end(self, deadline: float) -> Verdict:
        """Until the command ended, the clock says `deadline`, or the run is cancelled; then nothing of it is left."""
        talk = self._talk
        talk.heed(None if self._cancel is None else self._cancel.fileno())
        talk.until(deadline, lambda: talk.ended or self._reason is not None)
        talk.heed(None)
        if talk.ended:
            left = self._drain()
            alive = self._end(left, signal.SIGTERM, self._family.session) if left else []
            verdict = Verdict("ended", left_behind=_names(left), alive=_names(alive))
        elif self._reason is not None:
            first = signal.SIGINT if self._reason == "SIGINT" else signal.SIGTERM
            verdict = Verdict("cancelled", alive=self._end_everyone(first))
        else:
            verdict = Verdict("deadline", alive=self._end_everyone(signal.SIGTERM))
        talk.finish()
        return verdict

    def _drain(self) -> list[Stat]:
        """Who is left in the session a little later. Until then output may still come, and what daemonizes gets
        there: between its fork and its setsid it looks like any background job."""
        until = self._clock.now() + DRAIN
        self._talk.until(until, lambda: self._talk.quiet)
        return self._until_gone(self._family.session(), until - self._clock.now(), self._family.session)

    def abandon(self) -> None:
        """The caller raised (a listener, a KeyboardInterrupt): nothing is left running, even if it raises again."""
        try:
            self._end_everyone(signal.SIGTERM)
        finally:
            self._family.signal(signal.SIGKILL, self._family.everyone())
            self._talk.until(self._clock.now() + STUBBORN, lambda: self._talk.ended)

    @property
    def _reason(self) -> str | None:
        return None if self._cancel is None else self._cancel.requested

    def _end_everyone(self, first: signal.Signals) -> tuple[str, ...]:
        alive = self._end(self._family.everyone(), first, self._family.everyone)
        if not alive:
            self._talk.until(self._clock.now() + STUBBORN, lambda: self._talk.ended)
        return _names(alive)

    def _end(self, members: list[Stat], first: signal.Signals, find: Callable[[], list[Stat]]) -> list[Stat]:
        """Ask once, then insist. Reads on meanwhile: last words count, and a full pipe would keep it from ending."""
        self._family.signal(first, members)
        members = self._until_gone(members, self._command.grace, find)
        if members:
            members = self._until_gone(members, STUBBORN, find, insist=signal.SIGKILL)
        return members

    def _until_gone(
        self, members: list[Stat], seconds: float, find: Callable[[], list[Stat]], insist: signal.Signals | None = None
    ) -> list[Stat]:
        until = self._clock.now() + seconds
        pause = FIRST_PAUSE
        while self._family.within_reach(members) and self._clock.now() < until:
            if insist is not None:
                self._family.signal(insist, members)
            self._talk.until(min(self._clock.now() + pause, until), lambda: False)
            pause = min(2 * pause, LONGEST_PAUSE)
            members = find()
        return members


def _names(members: list[Stat]) -> tuple[str, ...]:
    return tuple(f"{stat.pid} {stat.name}".strip() for stat in members)
