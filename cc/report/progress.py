"""How far a long reading is, as one line that goes away: for the person at a terminal, and nobody else."""

from __future__ import annotations

from typing import TextIO

from cc.clock import Clock

QUIET_S = 0.5
AGAIN_S = 0.1


class Progress:
    """Called with bytes done and bytes to be done. Shows nothing for half a second, nor off a terminal.

    `unit` where it is not bytes that are done: what the whole is told in, and how many make one of it.
    """

    def __init__(self, stream: TextIO, clock: Clock, what: str, unit: tuple[str, float] = ("MB", 1e6)) -> None:
        self._stream, self._clock, self._what, self._unit = stream, clock, what, unit
        self._began = self._next = clock.now()
        self._shown = False
        self._terminal = stream.isatty()

    def __call__(self, done: int, whole: int) -> None:
        now = self._clock.now()
        if not self._terminal or now - self._began < QUIET_S or now < self._next or not whole:
            return
        self._next = now + AGAIN_S
        self._shown = True
        left = (now - self._began) * (whole - done) / done if done else 0.0
        name, size = self._unit
        all_of_it = f"{whole / size:,.0f} {name}"
        self._write(f"\r{self._what}: {100 * done // whole} % of {all_of_it}, about {left:.0f} s left\x1b[K")

    def close(self) -> None:
        """The line goes away."""
        if self._shown:
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            self._terminal = False  # a terminal that is gone: what is read is told all the same
