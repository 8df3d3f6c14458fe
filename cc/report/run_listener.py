"""What a person reads of a run: one line a step as it happens, and a recap. A listener for engine events.

changed  clickhouse           2.4 s  clickhouse-otel running and ready
skipped  collector                   requires 'clickhouse', which was skipped
 ...     clickhouse                  waiting for clickhouse to answer (4 s of 60 s)
 down    dashboard                   gunicorn: port 8110 is held by python3 (pid 4711); trying the next way
"""

from __future__ import annotations

from cc.engine.events import AttemptFailed, Event, Note, RunFinished, RungFailed, RunStarted, StepFinished, Waiting
from cc.engine.outcome import NamedOutcome, Outcome, Recap, Status
from cc.report.console import Console
from cc.report.printable import one_line, printable

EVIDENCE_LINES = 10
NAMES = len("clickhouse password")
"""The longest of the stack's steps."""


class RunListener:
    """Tells one console. `names` is the room for the names of steps, until a run tells its own."""

    def __init__(self, console: Console, names: int = NAMES) -> None:
        self._console = console
        self._names = names

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._names = max(map(len, event.steps), default=0)
        elif isinstance(event, StepFinished):
            self._step(event.step, event.outcome)
        elif isinstance(event, RunFinished):
            self._recap(event.recap)
        elif not self._console.quiet:
            self._happening(event)

    def _happening(self, event: Event) -> None:
        if isinstance(event, Waiting):
            of = f" of {event.within_s:g} s" if event.within_s is not None else ""
            self._line("...", event.step, None, f"waiting for {event.what} ({event.elapsed_s:.0f} s{of})")
        elif isinstance(event, RungFailed) and event.next_rung is not None and not event.gives_up:
            self._line("down", event.step, None, f"{event.rung_name}: {event.reason}; trying the next way")
        elif isinstance(event, AttemptFailed):
            text = f"attempt {event.attempt}: {event.reason}; again in {event.retry_in_s:.1f} s"
            self._line("again", event.step, None, text)
        elif isinstance(event, Note):
            self._line("...", event.step, None, event.text)

    def _step(self, name: str, outcome: Outcome) -> None:
        calm = outcome.status in (Status.OK, Status.CHANGED) and not outcome.degraded
        if self._console.quiet and calm:
            return
        reason = f"degraded: {outcome.reason}" if outcome.degraded else outcome.reason
        self._line(outcome.status.value, name, outcome.duration_s if outcome.attempts else None, reason)
        for warning in outcome.warnings:
            self._line("warn", name, None, warning)
        if outcome.status is Status.FAILED or (self._console.verbose and outcome.evidence):
            for line in outcome.evidence[-EVIDENCE_LINES if not self._console.verbose else None :]:
                self._console.say(f"    | {printable(line)}")
        if outcome.diff and self._console.verbose:
            for line in outcome.diff.removesuffix("\n").split("\n"):
                self._console.say(f"    {printable(line)}")

    def _recap(self, recap: Recap) -> None:
        """Counts, each degradation and failure with its reason and what to type next, each fallback taken."""
        counts = "  ".join(f"{key}={value}" for key, value in recap.counts.items())
        status = recap.status.value
        word = self._console.paint(status, status) + (
            ", " + self._console.paint("degraded", "degraded") if recap.degraded else ""
        )
        if recap.stopped:
            word += f", stopped by {'the deadline' if recap.stopped == 'deadline' else recap.stopped}"
        if self._console.quiet and status in ("ok", "changed") and not recap.degraded and not recap.stopped:
            return
        self._console.say("")
        self._console.paragraph(f"{recap.command}: {word}", f"{counts}   {recap.duration_s:.2f} s", gap="   ")
        told = set()
        for step in recap.steps:
            if step.outcome.degraded or step.outcome.status is Status.FAILED:
                self._trouble(step)
                told.add(step.name)
        for fallback in recap.fallbacks:
            if fallback.what not in told:
                self._console.paragraph(
                    f"  {'fallback':9}", one_line(f"{fallback.what}, rung {fallback.rung}: {fallback.reason}")
                )
        for warning in recap.warnings:
            self._console.paragraph(f"  {'warning':9}", one_line(warning))
        if recap.by_hand:
            self._console.paragraph(f"  {'by hand':9}", "type this, or paste it into a shell:")
            for line in recap.by_hand:  # never broken: a part of it would be another command
                self._console.say(f"    {printable(line)}")

    def _trouble(self, step: NamedOutcome) -> None:
        word = "failed" if step.outcome.status is Status.FAILED else "degraded"
        self._console.paragraph(
            f"  {self._console.paint(word, f'{word:9}')}", one_line(f"{step.name}: {step.outcome.reason}")
        )
        if step.outcome.hint:
            self._console.paragraph(f"  {'':9}", f"-> {self._console.paint('hint', one_line(step.outcome.hint))}")

    def _line(self, word: str, name: str, seconds: float | None, text: str) -> None:
        took = f"{seconds:6.2f} s" if seconds is not None else " " * 8
        first, _, rest = text.partition("\n")
        self._console.paragraph(
            f"{self._console.paint(word, f'{word:8}')} {name:{self._names}} {took}", printable(first), gap="  "
        )
        if rest and self._console.verbose:
            for line in rest.split("\n"):
                self._console.say(f"    {printable(line)}")
