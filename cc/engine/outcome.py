"""What a step, a ladder and a whole run come back as. Immutable; each knows its JSON (CLI.md, "JSON").

Tuples, as in all of the engine what is plain data: a frozen dataclass takes four times as long to make, and they are
many for whoever only looks.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple


class Status(str, enum.Enum):
    """ok: was so already · changed: made so · skipped: left out · failed: not so (DESIGN.md, "step")."""

    OK = "ok"
    CHANGED = "changed"
    SKIPPED = "skipped"
    FAILED = "failed"


class Tried(NamedTuple):
    """A rung that was tried and left, and why. `error` is a failure code."""

    rung: int
    name: str
    error: str
    reason: str

    def as_dict(self) -> dict[str, Any]:
        return {"rung": self.rung, "name": self.name, "error": self.error, "reason": self.reason}


class Fallback(NamedTuple):
    """A way below the first choice that was taken, whether or not the end state is less for it."""

    what: str
    rung: int
    reason: str

    def as_dict(self) -> dict[str, Any]:
        return {"what": self.what, "rung": self.rung, "reason": self.reason}


class Outcome(NamedTuple):
    """What a step returned. `duration_s` in seconds; `rung` is None where there was no ladder."""

    status: Status
    reason: str = ""
    degraded: bool = False
    attempts: int = 1
    duration_s: float = 0.0
    evidence: tuple[str, ...] = ()
    error: str | None = None
    hint: str | None = None
    rung: int | None = None
    rung_name: str | None = None
    tried: tuple[Tried, ...] = ()
    fallbacks: tuple[Fallback, ...] = ()
    warnings: tuple[str, ...] = ()
    diff: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """One entry of `steps`, without its name."""
        entry: dict[str, Any] = {
            "status": self.status.value,
            "degraded": self.degraded,
            "rung": self.rung,
            "rung_name": self.rung_name,
            "reason": self.reason,
            "attempts": self.attempts,
            "duration_s": round(self.duration_s, 4),
            "tried": [tried.as_dict() for tried in self.tried],
            "evidence": list(self.evidence),
            "warnings": list(self.warnings),
            "error": self.error,
            "hint": self.hint,
        }
        if self.diff is not None:
            entry["diff"] = self.diff
        return entry


class NamedOutcome(NamedTuple):
    """An outcome under its step's name."""

    name: str
    outcome: Outcome

    def as_dict(self) -> dict[str, Any]:
        return {"name": self.name, **self.outcome.as_dict()}


class Recap(NamedTuple):
    """A whole run. `stopped` is why it ended early ("SIGINT", "deadline"...), None when it ran to its end.

    `fallbacks` holds those of the steps and those taken around them (a stale lock, a lost password). `by_hand` is what
    is to be typed where everything else has failed: lines for a shell.
    """

    command: str
    steps: tuple[NamedOutcome, ...] = ()
    fallbacks: tuple[Fallback, ...] = ()
    warnings: tuple[str, ...] = ()
    duration_s: float = 0.0
    stopped: str | None = None
    planned: bool = False
    by_hand: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """How many steps came back as what; `degraded` counts across the other four."""
        counts = {status.value: 0 for status in Status}
        for step in self.steps:
            counts[step.outcome.status.value] += 1
        counts["degraded"] = sum(step.outcome.degraded for step in self.steps)
        return counts

    @property
    def status(self) -> Status:
        return worst(step.outcome.status for step in self.steps)

    @property
    def degraded(self) -> bool:
        return any(step.outcome.degraded for step in self.steps)

    def as_dict(self, exit_code: int) -> dict[str, Any]:
        """The document of `up`, `down`, `restart`, `play`, `plan`."""
        return {
            "command": self.command,
            "status": self.status.value,
            "degraded": self.degraded,
            "exit_code": exit_code,
            "duration_s": round(self.duration_s, 3),
            "counts": self.counts,
            "steps": [step.as_dict() for step in self.steps],
            "fallbacks": [fallback.as_dict() for fallback in self.fallbacks],
            "warnings": list(self.warnings),
            "by_hand": list(self.by_hand),
            "stopped": self.stopped,
        }


def worst(statuses: Iterable[Status]) -> Status:
    """The status of the whole: failed over changed over ok over skipped; ok if nothing happened at all."""
    seen = set(statuses)
    for status in (Status.FAILED, Status.CHANGED, Status.OK, Status.SKIPPED):
        if status in seen:
            return status
    return Status.OK


def all_fallbacks(steps: Sequence[NamedOutcome]) -> tuple[Fallback, ...]:
    """The fallbacks of every step, in the order of the steps."""
    return tuple(fallback for step in steps for fallback in step.outcome.fallbacks)
