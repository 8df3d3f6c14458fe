"""Ladders: ordered ways to one goal, and how a failure leads down them (DESIGN.md, "ladder"; LADDERS.md).

rung 0 fails with code c -> the first lower rung whose `when_failed` has c
    an ordinary rung      act there; what it reaches is degraded unless the rung says otherwise
    a repair (`again`)    mend the obstacle, then rung 0 once more; a repair is used once, and one that fails
                          leaves the obstacle: the descent goes on below it by either failure
    without               the goal is given up: skipped, degraded
no lower rung declares c -> failed, loudly
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from cc.engine.outcome import Fallback, Outcome, Status, Tried, worst
from cc.engine.retry import RetryPolicy
from cc.engine.step import Action, AttemptsOver, Context, Judged, outcome_of, run_with_retry
from cc.errors import Failure, Interrupted


class Rung(NamedTuple):
    """One way. `action` is None for a `without` rung, whose `message` is what the user reads.

    `lesser`: what this rung reaches is less than rung 0 gives. `again`: a repair.
    """

    name: str
    action: Action | None = None
    message: str = ""
    when_failed: frozenset[str] = frozenset()
    again: bool = False
    lesser: bool = True


class Ladder(NamedTuple):
    """Ordered rungs for one goal. One that only `reads` descends on any failure but a cancellation."""

    rungs: tuple[Rung, ...]
    reads: bool = False

    def next_rung(self, at: int, codes: frozenset[str], used: frozenset[int]) -> int | None:
        """The first rung below `at` that declares one of `codes`; a repair that was used is passed over."""
        for number in range(at + 1, len(self.rungs)):
            rung = self.rungs[number]
            if number not in used and ((self.reads and not rung.again) or codes & rung.when_failed):
                return number
        return None


LeftRung = Callable[[int, Rung, Failure, "int | None"], None]


@dataclass(slots=True)
class _Descent:
    """What one climb down a ladder has gathered so far."""

    tried: list[Tried] = field(default_factory=list)
    fallbacks: list[Fallback] = field(default_factory=list)
    statuses: list[Status] = field(default_factory=list)
    used: frozenset[int] = frozenset()
    obstacle: frozenset[str] = frozenset()
    attempts: int = 0
    last: Failure | None = None

    def leave(self, number: int, rung: Rung, over: AttemptsOver) -> None:
        failure = over.failure
        self.tried.append(Tried(number, rung.name, failure.code, failure.message))
        self.attempts += over.attempts
        # A repair that failed leaves the obstacle that led to it: either may be declared below.
        self.obstacle = self.obstacle | {failure.code} if rung.again else frozenset({failure.code})
        if not rung.again or self.last is None:
            self.last = failure
        if rung.again:
            self.used |= {number}


def run_ladder(
    goal: str, ladder: Ladder, context: Context, retry: RetryPolicy | None, left_rung: LeftRung | None = None
) -> Outcome:
    """Climb down until a rung holds. Never raises a Failure: it comes back as a `failed` outcome."""
    descent = _Descent()
    number = 0
    while True:
        rung = ladder.rungs[number]
        if rung.action is None:
            return _given_up(goal, number, rung, descent)
        try:
            judged, attempts = run_with_retry(rung.action, context, retry)
        except AttemptsOver as over:
            descent.leave(number, rung, over)
            following = None
            if not isinstance(over.failure, Interrupted):
                following = ladder.next_rung(number, descent.obstacle, descent.used)
            if left_rung is not None:
                left_rung(number, rung, over.failure, following)
            if following is None:
                return _failed(number, rung, descent, over.failure)
            number = following
            continue
        descent.attempts += attempts
        if not rung.again:
            return _reached(goal, number, rung, judged, descent)
        descent.used |= {number}
        descent.statuses.append(judged.status)
        reason = (judged.acted.reason if judged.acted else "") or judged.probe.reason or rung.name
        descent.fallbacks.append(Fallback(goal, number, reason))
        number = 0


def _reached(goal: str, number: int, rung: Rung, judged: Judged, descent: _Descent) -> Outcome:
    plain = outcome_of(judged, descent.attempts)
    fallbacks = [*descent.fallbacks, *plain.fallbacks]
    lesser = number > 0 and rung.lesser
    reason = plain.reason
    if number > 0:
        why = descent.last.message if descent.last else ""
        fallbacks.append(Fallback(goal, number, why))
        reason = f"{plain.reason} ({why})" if plain.reason and why else plain.reason or why
    return plain._replace(
        status=worst([*descent.statuses, plain.status]),
        reason=reason,
        degraded=plain.degraded or lesser,
        rung=number,
        rung_name=rung.name,
        tried=tuple(descent.tried),
        fallbacks=tuple(fallbacks),
    )


def _given_up(goal: str, number: int, rung: Rung, descent: _Descent) -> Outcome:
    why = descent.last.message if descent.last else ""
    return Outcome(
        status=Status.SKIPPED,
        reason=f"{rung.message}: {why}" if why else rung.message,
        degraded=True,
        attempts=descent.attempts,
        evidence=descent.last.evidence if descent.last else (),
        hint=descent.last.hint if descent.last else None,
        rung=number,
        rung_name=rung.name,
        tried=tuple(descent.tried),
        fallbacks=(*descent.fallbacks, Fallback(goal, number, why or rung.message)),
    )


def _failed(number: int, rung: Rung, descent: _Descent, failure: Failure) -> Outcome:
    return Outcome(
        status=Status.FAILED,
        reason=failure.message,
        attempts=descent.attempts,
        evidence=failure.evidence,
        error=failure.code,
        hint=failure.hint,
        rung=number,
        rung_name=rung.name,
        tried=tuple(descent.tried),
        fallbacks=tuple(descent.fallbacks),
    )
