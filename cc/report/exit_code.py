"""The exit codes, a contract (DESIGN.md, "Exit codes")."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cc.engine.outcome import Recap

REACHED = 0
FAILED = 1
DEGRADED_STRICT = 3
PENDING = 5
DEADLINE = 124
SIGNALS = {"SIGHUP": 129, "SIGINT": 130, "SIGTERM": 143}


def exit_code(recap: Recap, *, strict: bool = False, detailed: bool = False) -> int:
    """What the process ends with after this run.

    Interrupted and out of time come before failed: the steps failed because of it. `detailed` is for a plan only.
    """
    if recap.stopped in SIGNALS:
        return SIGNALS[recap.stopped]
    if recap.stopped == "deadline":
        return DEADLINE
    if recap.counts["failed"]:
        return FAILED
    if detailed and recap.counts["changed"]:
        return PENDING
    return DEGRADED_STRICT if strict and recap.degraded else REACHED
