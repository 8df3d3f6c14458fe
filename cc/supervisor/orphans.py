"""Processes that lost their parents: they become the supervisor's children, and it sees to it that none stays a zombie.

A subreaper (Linux) is the parent of every descendant whose own has died: a service that forks away, the workers of a
dead gunicorn. Without one they go to process 1, which in many a container reaps nobody.

Whether anybody is dead is asked without reaping (WNOWAIT), and reaped is only who has been dead for `PATIENCE_S`: those
that somebody here waits for (the seam for its commands, the watchdog for its services) are gone long before. A loop of
waitpid(-1) would steal their exit codes.
"""

from __future__ import annotations

import os
import sys

from cc.resources.process_table import Identity
from cc.shell.identity import table

PATIENCE_S = 5.0
PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def become_subreaper() -> bool:
    """Whether this process is one now; False where there is no such thing."""
    if sys.platform != "linux":
        return False
    import ctypes

    try:
        return bool(ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
    except (OSError, AttributeError):
        return False


class Orphans:
    """The dead children of this process that nobody waits for. For one thread, which calls `reap` now and then."""

    def __init__(self) -> None:
        self._since: dict[Identity, float] = {}  # who is dead, and since when we know it, in the clock's seconds

    def reap(self, now: float) -> int:
        """Bury those that have been dead for so long that nobody else will. Returns how many."""
        dead = _dead_children() if _any_is_dead() else ()
        self._since = {each: self._since.get(each, now) for each in dead}
        left = [each for each, since in self._since.items() if now - since >= PATIENCE_S]
        for each in left:
            try:
                os.waitpid(each.pid, os.WNOHANG)
            except ChildProcessError:
                pass  # somebody waited for it after all
        return len(left)


def _any_is_dead() -> bool:
    try:
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False


def _dead_children() -> tuple[Identity, ...]:
    own = os.getpid()
    return tuple(Identity(stat.pid, stat.start_time) for stat in table() if stat.parent == own and stat.state == "Z")
