"""One step: probe, check, act, probe again.

An Action is what a verb becomes once its arguments are bound to the world. This module knows when to call which of
its three parts and what their answers mean; it does not know what they do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from cc.clock import Cancel, Clock
from cc.engine.outcome import Fallback, Outcome, Status
from cc.engine.retry import RetryPolicy, next_wait
from cc.errors import Failure, Interrupted


class Probe(NamedTuple):
    """A probe's answer.

    `answer` is what was read, compared before and after the act: the step is `changed` only if it differs; None where
    `satisfied` is all there is to it. `less` says in what the state, though satisfied, is less than the primary way
    gives: a reason each, and the step is degraded.
    """

    satisfied: bool
    reason: str = ""
    answer: object = None
    less: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    hint: str | None = None
    diff: str | None = None


class Acted(NamedTuple):
    """What an act tells of itself. `changed` counts only where no probe can tell; `fallbacks` are those within it.

    `reason` is empty where the probe afterwards says it better.
    """

    reason: str = ""
    changed: bool = True
    evidence: tuple[str, ...] = ()
    fallbacks: tuple[Fallback, ...] = ()


class Action(Protocol):
    """A verb with its arguments, bound to the world.

    `probed` is False for one that cannot tell whether it is so already (a bare command): it always acts.
    """

    name: str
    probed: bool

    def probe(self, context: Context) -> Probe:
        """Is it so already? Reads only. Raises Failure when that cannot be known."""
        ...

    def check(self, context: Context, before: Probe) -> None:
        """Raise the Failure that the act would run into, as far as reading can tell. `plan` calls it too."""
        ...

    def act(self, context: Context, before: Probe) -> Acted:
        """Make it so. Raises Failure."""
        ...


class Context(NamedTuple):
    """What an action gets from the run: the time, its end, the wish to stop, and a way to say something.

    `deadline` is in the clock's seconds, None for none. `say` tells what is awaited, `note` a sentence.
    """

    clock: Clock
    cancel: Cancel
    deadline: float | None = None
    say: Callable[[str, float, float | None], None] = lambda what, elapsed, within: None
    note: Callable[[str], None] = lambda text: None
    retried: Callable[[int, Failure, float], None] = lambda attempt, failure, wait: None
    random: Callable[[], float] = lambda: 0.5

    def left(self, at_most: float) -> float:
        """Seconds that an action may still take, at most so many, at least 0."""
        if self.deadline is None:
            return at_most
        return max(0.0, min(at_most, self.deadline - self.clock.now()))

    def until(self, seconds: float | None) -> Context:
        """The same context with an earlier end."""
        if seconds is None:
            return self
        end = self.clock.now() + seconds
        return self if self.deadline is not None and self.deadline <= end else self._replace(deadline=end)

    def stop_if_asked(self) -> None:
        """Raise Interrupted once the run was cancelled, and the Failure `deadline` once its time is over."""
        if self.cancel.requested:
            raise Interrupted(f"cancelled ({self.cancel.requested})")
        if self.deadline is not None and self.clock.now() >= self.deadline:
            raise Failure("its time was over", code="deadline")


class Judged(NamedTuple):
    """How one pass through an action ended, before the ladder has its say."""

    status: Status
    probe: Probe
    acted: Acted | None = None
    warnings: tuple[str, ...] = ()


def run_action(action: Action, context: Context) -> Judged:
    """Probe, check, act, probe again, once. Raises Failure, with code `not_satisfied` if the second probe says no."""
    context.stop_if_asked()
    if not action.probed:
        return _run_unprobed(action, context)
    before = action.probe(context)
    if before.satisfied:
        return Judged(Status.OK, before)
    action.check(context, before)
    context.stop_if_asked()
    trouble: Failure | None = None
    acted: Acted | None = None
    try:
        acted = action.act(context, before)
    except Interrupted:
        raise
    except Failure as failure:
        trouble = failure
    return _judge(action, context, before, acted, trouble)


def _run_unprobed(action: Action, context: Context) -> Judged:
    before = Probe(satisfied=False)
    action.check(context, before)
    acted = action.act(context, before)
    said = Probe(True, acted.reason, evidence=acted.evidence)
    return Judged(Status.CHANGED if acted.changed else Status.OK, said, acted)


def _judge(action: Action, context: Context, before: Probe, acted: Acted | None, trouble: Failure | None) -> Judged:
    """The probe's answer decides, whatever the act's exit code said (DESIGN.md, "step")."""
    try:
        after = action.probe(context)
    except Failure:
        if trouble is not None:
            raise trouble from None  # the act's own failure says more than that nothing can be known afterwards
        raise
    if not after.satisfied:
        if trouble is not None:
            raise trouble
        raise Failure(
            after.reason or "the probe after the act says that it is not so",
            code="not_satisfied",
            hint=after.hint,
            evidence=after.evidence or (acted.evidence if acted else ()),
        )
    warnings = (f"it is so, although: {trouble.message}",) if trouble is not None else ()
    # An act that could only find out that less is to be had leaves the world as it was: ok, and degraded.
    same = before.answer is not None and before.answer == after.answer
    return Judged(Status.OK if same else Status.CHANGED, after, acted, warnings)


def run_with_retry(action: Action, context: Context, retry: RetryPolicy | None) -> tuple[Judged, int]:
    """`run_action`, again after declared failures as the policy allows. Returns what came of it and the attempts made.

    Raises the last Failure; its `attempts` attribute says how many there were.
    """
    started = context.clock.now()
    attempt = 1
    while True:
        try:
            return run_action(action, context), attempt
        except Failure as failure:
            now = context.clock.now()
            wait = None
            if retry is not None and not isinstance(failure, Interrupted):
                left = None if context.deadline is None else context.deadline - now
                wait = next_wait(retry, attempt, now - started, failure.code, left, context.random)
            if wait is None:
                raise AttemptsOver(failure, attempt) from failure
            context.retried(attempt, failure, wait)
            if not context.clock.wait(wait, context.cancel):
                raise AttemptsOver(Interrupted(f"cancelled ({context.cancel.requested})"), attempt) from failure
            attempt += 1


class AttemptsOver(Exception):  # noqa: N818 - a signal between this module and its two callers, never shown
    """The last failure and the number of attempts. Never leaves the engine."""

    def __init__(self, failure: Failure, attempts: int) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.attempts = attempts


def outcome_of(judged: Judged, attempts: int) -> Outcome:
    """The outcome of an action that came through."""
    acted = judged.acted
    reason = acted.reason if acted and acted.reason else judged.probe.reason
    return Outcome(
        status=judged.status,
        reason="; ".join(judged.probe.less) or reason,
        degraded=bool(judged.probe.less),
        attempts=attempts,
        evidence=judged.probe.evidence or (acted.evidence if acted else ()),
        hint=judged.probe.hint,
        fallbacks=acted.fallbacks if acted else (),
        warnings=judged.warnings,
        diff=judged.probe.diff,
    )


def failed(failure: Failure, attempts: int = 1) -> Outcome:
    """The outcome of an action that did not come through."""
    return Outcome(
        status=Status.FAILED,
        reason=failure.message,
        attempts=attempts,
        evidence=failure.evidence,
        error=failure.code,
        hint=failure.hint,
    )
