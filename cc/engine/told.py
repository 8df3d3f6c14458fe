"""What was told as JSON, read back: the events and the recap of a run that another process carries out.

The inverse of `as_dict` in outcome and events. Raises Failure bad_answer for anything else: it crosses a socket.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cc.engine.events import (
    AttemptFailed,
    Event,
    Note,
    RungFailed,
    RunStarted,
    StepFinished,
    StepStarted,
    Waiting,
)
from cc.engine.outcome import Fallback, NamedOutcome, Outcome, Recap, Status, Tried
from cc.errors import Failure

PLAIN: dict[str, type[Event]] = {kind.kind: kind for kind in (StepStarted, Waiting, AttemptFailed, RungFailed, Note)}


def outcome(told: Mapping[str, Any]) -> Outcome:
    """One entry of `steps`."""
    return Outcome(
        status=Status(told["status"]),
        reason=told["reason"],
        degraded=told["degraded"],
        attempts=told["attempts"],
        duration_s=told["duration_s"],
        evidence=tuple(told["evidence"]),
        error=told["error"],
        hint=told["hint"],
        rung=told["rung"],
        rung_name=told["rung_name"],
        tried=tuple(Tried(**tried) for tried in told["tried"]),
        warnings=tuple(told["warnings"]),
        diff=told.get("diff"),
    )


def recap(told: Mapping[str, Any]) -> Recap:
    """The document of a run. Raises Failure bad_answer."""
    try:
        return Recap(
            command=told["command"],
            steps=tuple(NamedOutcome(step["name"], outcome(step)) for step in told["steps"]),
            fallbacks=tuple(Fallback(**fallback) for fallback in told["fallbacks"]),
            warnings=tuple(told["warnings"]),
            duration_s=told["duration_s"],
            stopped=told["stopped"],
            by_hand=tuple(told["by_hand"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise Failure(f"the supervisor answered with no recap: {error!r}", code="bad_answer") from error


def event(told: Mapping[str, Any]) -> Event | None:
    """An event; None for a kind that this version does not know. Raises Failure bad_answer.

    `run_finished` is left out: the recap comes as the run's answer, whole.
    """
    kind = told.get("event")
    try:
        if kind in PLAIN:
            return PLAIN[kind](**{name: value for name, value in told.items() if name != "event"})
        if kind == "run_started":
            return RunStarted(told["command"], tuple(told["steps"]))
        if kind == "step_finished":
            return StepFinished(told["step"], outcome(told))
    except (KeyError, TypeError, ValueError) as error:
        raise Failure(f"the supervisor told of a {kind!r} that is none: {error!r}", code="bad_answer") from error
    return None
