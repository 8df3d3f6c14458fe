"""Monotonic time, and waiting that can be cancelled. A leaf: imports nothing of cc.

Everything that decides takes `now` or a Clock, so that tests run on a clock of their own and the wall clock
jumping by an hour changes nothing. The wall clock is read in one place, `wall_time`, for showing only.
"""

from __future__ import annotations

import os
import select
import threading
import time
from typing import Protocol

LONGEST_POLL_S = 86400.0  # poll(2) takes milliseconds in an int, which 25 days overflow


class Clock(Protocol):
    """Seconds since an arbitrary start, never going back; and waiting."""

    def now(self) -> float:
        """Monotonic seconds."""
        ...

    def wait(self, seconds: float, cancel: Cancel | None = None) -> bool:
        """Wait so long, or until cancelled. True if the whole time passed, False if cancelled."""
        ...


class SystemClock:
    """The real one."""

    def now(self) -> float:
        return time.monotonic()

    def wait(self, seconds: float, cancel: Cancel | None = None) -> bool:
        if cancel is None:
            time.sleep(max(0.0, seconds))
            return True
        return not cancel.wait(seconds)


def wall_time() -> float:
    """Seconds since 1970 in UTC: only for what is shown or written to the journal, never for a decision."""
    return time.time()


def timestamp() -> str:
    """Now as RFC 3339 in UTC with milliseconds: the time of a line in the journal."""
    now = wall_time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"


class Cancel:
    """The wish to stop, seen by threads (`requested`), by waits (`wait`) and by poll loops (`fileno`).

    A signal handler may call `request`: it sets an attribute and writes one byte to a pipe, nothing else.
    Raising out of a handler near a fork leaves the command alive and copies of our code running, which is
    why nothing here raises.
    """

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe()  # close-on-exec, as all that Python opens
        os.set_blocking(self._writing, False)
        self._reason: str | None = None
        self._closed = False
        self._lock = threading.Lock()

    def request(self, reason: str) -> None:
        """Ask for the stop. The first reason stays."""
        if self._reason is None:
            self._reason = reason
            if self._closed:
                return  # the descriptor's number may be somebody else's file by now
            try:
                os.write(self._writing, b"x")
            except OSError:
                pass  # full: the attribute says it all the same

    @property
    def requested(self) -> str | None:
        """Why, or None while nobody asked."""
        return self._reason

    def fileno(self) -> int:
        """Readable for ever once requested (nobody reads the byte away)."""
        return self._reading

    def wait(self, seconds: float) -> bool:
        """Wait until requested, at most so long. True if requested."""
        end = time.monotonic() + seconds
        poller = select.poll()
        if not self._closed:
            poller.register(self._reading, select.POLLIN)
        while self._reason is None and (left := end - time.monotonic()) > 0:
            poller.poll(min(left, LONGEST_POLL_S) * 1000)
        return self._reason is not None

    def close(self) -> None:
        """Give the two descriptors back. Idempotent."""
        with self._lock:
            if not self._closed:
                self._closed = True
                os.close(self._reading)
                os.close(self._writing)
