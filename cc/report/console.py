"""What a person reads: one line a step as it happens, and a recap. A listener for engine events.

changed  clickhouse           2.4 s  clickhouse-otel running and ready
skipped  collector                   requires 'clickhouse', which was skipped
 ...     clickhouse                  waiting for clickhouse to answer (4 s of 60 s)
 down    dashboard                   gunicorn: port 8110 is held by python3 (pid 4711); trying the next way
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping
from typing import TextIO

from cc.engine.events import AttemptFailed, Event, Note, RunFinished, RungFailed, RunStarted, StepFinished, Waiting
from cc.engine.outcome import NamedOutcome, Outcome, Recap, Status
from cc.report.printable import ESCAPES, one_line, printable

COLOURS = {"ok": "32", "changed": "33", "skipped": "36", "failed": "31", "degraded": "35", "hint": "1"}
EVIDENCE_LINES = 10
COLUMNS = 80


def wants_colour(stream: TextIO, environ: Mapping[str, str], *, refused: bool) -> bool:
    """Colour only for a terminal that can show it (https://no-color.org)."""
    return not refused and stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def painted(word: str, text: str) -> str:
    """The text in the colour of this word, as it is if that has none."""
    code = COLOURS.get(word)
    return f"\x1b[{code}m{text}\x1b[0m" if code else text


def _columns(stream: TextIO) -> int | None:
    """The width of the terminal that this very stream writes to, None where it is none."""
    if not stream.isatty():
        return None
    try:
        return os.get_terminal_size(stream.fileno()).columns or COLUMNS
    except OSError:
        return COLUMNS


class Console:
    """Writes to one stream. `width` is the terminal's in columns, None where lines are not broken (a pipe); `names` is
    the room for the names of steps, until a run tells its own.

    A stream that takes no more must not end what is told about: the first error is kept in `lost`, the rest unsaid.
    """

    def __init__(
        self, stream: TextIO, *, colour: bool = False, quiet: bool = False, verbose: bool = False, names: int = 12
    ) -> None:
        self._stream = stream
        self._colour = colour
        self._quiet = quiet
        self._verbose = verbose
        self.width = _columns(stream)
        self.lost: OSError | None = None
        self._names = names

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._names = max(map(len, event.steps), default=0)
        elif isinstance(event, StepFinished):
            self._step(event.step, event.outcome)
        elif isinstance(event, RunFinished):
            self.recap(event.recap)
        elif not self._quiet:
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
        if self._quiet and calm:
            return
        reason = f"degraded: {outcome.reason}" if outcome.degraded else outcome.reason
        self._line(outcome.status.value, name, outcome.duration_s if outcome.attempts else None, reason)
        for warning in outcome.warnings:
            self._line("warn", name, None, warning)
        if outcome.status is Status.FAILED or (self._verbose and outcome.evidence):
            for line in outcome.evidence[-EVIDENCE_LINES if not self._verbose else None :]:
                self._write(f"    | {printable(line)}")
        if outcome.diff and self._verbose:
            for line in outcome.diff.removesuffix("\n").split("\n"):
                self._write(f"    {printable(line)}")

    def recap(self, recap: Recap) -> None:
        """Counts, each degradation and failure with its reason and what to type next, each fallback taken."""
        counts = "  ".join(f"{key}={value}" for key, value in recap.counts.items())
        status = recap.status.value
        word = self._paint(status, status) + (", " + self._paint("degraded", "degraded") if recap.degraded else "")
        if recap.stopped:
            word += f", stopped by {'the deadline' if recap.stopped == 'deadline' else recap.stopped}"
        if self._quiet and status in ("ok", "changed") and not recap.degraded and not recap.stopped:
            return
        self._write("")
        self._paragraph(f"{recap.command}: {word}", f"{counts}   {recap.duration_s:.2f} s", gap="   ")
        told = set()
        for step in recap.steps:
            if step.outcome.degraded or step.outcome.status is Status.FAILED:
                self._trouble(step)
                told.add(step.name)
        for fallback in recap.fallbacks:
            if fallback.what not in told:
                self._paragraph(
                    f"  {'fallback':9}", one_line(f"{fallback.what}, rung {fallback.rung}: {fallback.reason}")
                )
        for warning in recap.warnings:
            self._paragraph(f"  {'warning':9}", one_line(warning))
        if recap.by_hand:
            self._paragraph(f"  {'by hand':9}", "type this, or paste it into a shell:")
            for line in recap.by_hand:  # never broken: a part of it would be another command
                self._write(f"    {printable(line)}")

    def _trouble(self, step: NamedOutcome) -> None:
        word = "failed" if step.outcome.status is Status.FAILED else "degraded"
        self._paragraph(f"  {self._paint(word, f'{word:9}')}", one_line(f"{step.name}: {step.outcome.reason}"))
        if step.outcome.hint:
            self._paragraph(f"  {'':9}", f"-> {self._paint('hint', one_line(step.outcome.hint))}")

    def _line(self, word: str, name: str, seconds: float | None, text: str) -> None:
        took = f"{seconds:6.2f} s" if seconds is not None else " " * 8
        first, _, rest = text.partition("\n")
        self._paragraph(f"{self._paint(word, f'{word:8}')} {name:{self._names}} {took}", printable(first), gap="  ")
        if rest and self._verbose:
            for line in rest.split("\n"):
                self._write(f"    {printable(line)}")

    def _paragraph(self, head: str, text: str, *, gap: str = " ") -> None:
        """Head and text on one line where they fit; else the text below it, broken at the terminal's width."""
        line = f"{head}{gap}{text}".rstrip()
        if self.width is None or len(ESCAPES.sub("", line)) <= self.width:
            self._write(line)
            return
        indent = "    " if self.width > 40 else " "
        self._write(head.rstrip())
        self._write(textwrap.fill(text, max(self.width, 10), initial_indent=indent, subsequent_indent=indent))

    def _paint(self, word: str, text: str) -> str:
        return painted(word, text) if self._colour else text

    def say(self, text: str) -> None:
        """A sentence outside any step."""
        self._write(text)

    def _write(self, text: str) -> None:
        if self.lost is not None:
            return
        encoding = self._stream.encoding or "utf-8"
        try:
            self._stream.write(text.encode(encoding, "replace").decode(encoding) + "\n")
            self._stream.flush()
        except OSError as error:
            self.lost = error
