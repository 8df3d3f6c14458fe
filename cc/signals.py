"""What INT, TERM, HUP and the deadline do to a command under way. May import the leaves and report."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from cc.clock import Cancel
from cc.errors import InterruptedRunError, RunDeadlineError
from cc.report.exit_code import SIGNALS

UNREAD_S = 2.0
"""How long an answer may take to be read before a signal ends the process all the same."""


@contextmanager
def heeded(cancel: Cancel, *, reads: bool) -> Iterator[None]:
    """INT, TERM and HUP ask for the stop and do nothing else (see Cancel). A command that only reads just ends.

    Afterwards they do nothing, since what was done is done and only has to be said: nobody shall read a whole answer
    and be told by the exit code that there is none. Unless it can't be said, as nobody reads.
    """
    heard = False

    def end_reading(number: int, frame: object) -> None:
        nonlocal heard
        name = signal.Signals(number).name
        if heard:  # the first one's way out takes too long; raised again, it would disturb that
            os._exit(SIGNALS[name])
        heard = True
        raise InterruptedRunError(f"interrupted ({name})", exit_code=SIGNALS[name])

    def ask(number: int, frame: object) -> None:
        cancel.request(signal.Signals(number).name)

    _handle(end_reading if reads else ask)
    try:
        yield
    finally:
        settle()


def settle() -> None:
    """From now on there is only something to be said, and a signal ends that if nobody reads it."""
    ended = time.monotonic()

    def late(number: int, frame: object) -> None:
        if time.monotonic() - ended > UNREAD_S:
            os._exit(128 + number)

    _handle(late)


def _handle(handler: Callable[[int, Any], None]) -> None:
    for name in SIGNALS:
        number = signal.Signals[name]
        if signal.getsignal(number) is not signal.SIG_IGN:  # `nohup` said that hanging up means nothing
            signal.signal(number, handler)


@contextmanager
def deadline(after: float | None) -> Iterator[None]:
    """The deadline of a command that only reads, which has no runner to keep it."""
    if after is None:
        yield
        return

    def late(number: int, frame: object) -> None:
        raise RunDeadlineError(f"the deadline of {after:g} s passed")

    was = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, after)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, was)
