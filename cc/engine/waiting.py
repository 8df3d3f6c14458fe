"""Waiting: a probe with a deadline, never a bare sleep; after a second it says what it waits for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from cc.errors import Interrupted

if TYPE_CHECKING:
    from cc.engine.step import Context

QUIET_S = 1.0  # seconds of silence before it is said what is awaited
REPEAT_S = 5.0  # and between saying it again
T = TypeVar("T")


def wait_for(
    context: Context,
    what: str | Callable[[], str],
    look: Callable[[], T | None],
    *,
    within: float,
    first_pause: float = 0.02,
    longest_pause: float = 0.25,
) -> T | None:
    """Call `look` until it returns something, at most `within` seconds; None when the time is over.

    Pauses grow from `first_pause` to `longest_pause` seconds. `what` may be asked anew each time it is said. Raises
    Interrupted when the run is cancelled, and what `look` raises.
    """
    started = context.clock.now()
    end = started + context.left(within)
    pause, said = first_pause, started + QUIET_S
    while True:
        found = look()
        if found is not None:
            return found
        now = context.clock.now()
        if now >= end:
            return None
        if now >= said:
            context.say(_said(what), now - started, within)
            said = now + REPEAT_S
        if not context.clock.wait(min(pause, end - now), context.cancel):
            raise Interrupted(f"cancelled while waiting for {_said(what)}")
        pause = min(pause * 1.5, longest_pause)


def _said(what: str | Callable[[], str]) -> str:
    return what if isinstance(what, str) else what()
