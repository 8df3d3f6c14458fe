"""What happens during a run, told as it happens to any number of listeners.

    RunStarted -> (StepStarted -> [Waiting | AttemptFailed | RungFailed | Note]* -> StepFinished)* -> RunFinished

Every event becomes one JSON line (`--events`, the journal). A listener is called by one thread at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from cc.engine.outcome import Outcome, Recap


@dataclass(frozen=True, slots=True)
class Event:
    """The base. `kind` is the word in JSON."""

    kind: ClassVar[str] = "event"

    def as_dict(self) -> dict[str, Any]:
        return {"event": self.kind, **{known.name: getattr(self, known.name) for known in fields(self)}}


@dataclass(frozen=True, slots=True)
class RunStarted(Event):
    kind: ClassVar[str] = "run_started"
    command: str
    steps: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        return {"event": self.kind, "command": self.command, "steps": list(self.steps)}


@dataclass(frozen=True, slots=True)
class StepStarted(Event):
    kind: ClassVar[str] = "step_started"
    step: str


@dataclass(frozen=True, slots=True)
class Waiting(Event):
    """Something takes more than a second: what is awaited, for how long so far, and of how long at most (seconds)."""

    kind: ClassVar[str] = "waiting"
    step: str
    what: str
    elapsed_s: float
    within_s: float | None


@dataclass(frozen=True, slots=True)
class AttemptFailed(Event):
    """An attempt failed and another follows after `retry_in_s` seconds."""

    kind: ClassVar[str] = "attempt_failed"
    step: str
    attempt: int
    error: str
    reason: str
    retry_in_s: float


@dataclass(frozen=True, slots=True)
class RungFailed(Event):
    """A rung was given up. `next_rung` is tried now, None if the ladder ends here; `gives_up`: that is a `without`."""

    kind: ClassVar[str] = "rung_failed"
    step: str
    rung: int
    rung_name: str
    error: str
    reason: str
    next_rung: int | None
    gives_up: bool = False


@dataclass(frozen=True, slots=True)
class Note(Event):
    """A sentence about a step worth telling at once, without a change of state."""

    kind: ClassVar[str] = "note"
    step: str
    text: str


@dataclass(frozen=True, slots=True)
class StepFinished(Event):
    kind: ClassVar[str] = "step_finished"
    step: str
    outcome: Outcome

    def as_dict(self) -> dict[str, Any]:
        return {"event": self.kind, "step": self.step, **self.outcome.as_dict()}


@dataclass(frozen=True, slots=True)
class RunFinished(Event):
    kind: ClassVar[str] = "run_finished"
    recap: Recap

    def as_dict(self) -> dict[str, Any]:
        recap = self.recap
        return {
            "event": self.kind,
            "command": recap.command,
            "status": recap.status.value,
            "degraded": recap.degraded,
            "counts": recap.counts,
            "fallbacks": [fallback.as_dict() for fallback in recap.fallbacks],
            "duration_s": round(recap.duration_s, 3),
            "stopped": recap.stopped,
        }


Listener = Callable[[Event], None]
