"""Talking with one running command: its input, its two outputs, its end, and the wish to stop; in the caller's thread.

One poll over all of them: no thread, no timer, and a listener that raises is simply an exception of the caller.
Imports the standard library, cc.clock and the neighbours in cc.shell; knows nothing of `sh`.
"""

from __future__ import annotations

import os
import select
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from cc.clock import Clock
    from cc.shell.output import Output

CHUNK = 64 * 1024
TICK = 0.02  # seconds between two looks where the system can't wake us at the end of a process
ROUND = 3600.0  # seconds of one poll at most: an infinite deadline is no number of milliseconds
LAST_WORDS = 1024 * 1024  # bytes read after the end; more than any pipe holds


class Streams:
    """The descriptors between us and the command. `child` is (stdin, stdout, stderr) for the other side."""

    def __init__(self, *, with_input: bool) -> None:
        self._open: set[int] = set()
        self.input: int | None = None
        try:
            if with_input:
                stdin, self.input = self._pipe()
                os.set_blocking(self.input, False)
            else:
                stdin = self._add(os.open(os.devnull, os.O_RDONLY))
            self.stdout, stdout = self._pipe()
            self.stderr, stderr = self._pipe()
            os.set_blocking(self.stdout, False)
            os.set_blocking(self.stderr, False)
        except OSError:
            self.close()
            raise
        self.child = (stdin, stdout, stderr)

    def close_child(self) -> None:
        for number in self.child:
            self.drop(number)

    def drop(self, number: int) -> None:
        if number in self._open:
            self._open.remove(number)
            os.close(number)

    def close(self) -> None:
        for number in tuple(self._open):
            self.drop(number)

    def _add(self, number: int) -> int:
        self._open.add(number)
        return number

    def _pipe(self) -> tuple[int, int]:
        reading, writing = os.pipe()
        return self._add(reading), self._add(writing)


class Ending:
    """Tells a poll that a process ended: a pidfd on Linux, a kqueue on macOS. Without either `fileno` is None."""

    def __init__(self, pid: int) -> None:
        self.fileno: int | None = None
        self._close: Callable[[], None] | None = None
        try:
            if sys.platform == "linux":
                if hasattr(os, "pidfd_open"):
                    handle = os.pidfd_open(pid)
                    self.fileno, self._close = handle, lambda: os.close(handle)
            elif hasattr(select, "kqueue"):
                queue = select.kqueue()
                self.fileno, self._close = queue.fileno(), queue.close
                watch = select.kevent(pid, select.KQ_FILTER_PROC, select.KQ_EV_ADD, select.KQ_NOTE_EXIT)
                queue.control([watch], 0)
        except OSError:  # it ended already, or the kernel is too old
            self.close()

    def close(self) -> None:
        if self._close is not None:
            self._close()
        self.fileno = self._close = None


class Conversation:
    """Moves bytes until told to stop. `ended` is true once the command has ended, `quiet` once both outputs have."""

    def __init__(
        self,
        streams: Streams,
        given: bytes,
        outputs: tuple[Output, Output],
        *,
        is_alive: Callable[[], bool],
        ending: Ending,
        clock: Clock,
    ) -> None:
        self.ended = False
        self._streams = streams
        self._given = memoryview(given)
        self._reading = {streams.stdout: outputs[0], streams.stderr: outputs[1]}
        self._is_alive = is_alive
        self._ending = ending
        self._clock = clock
        self._cancel: int | None = None
        self._poll = select.poll()
        for number in self._reading:
            self._poll.register(number, select.POLLIN)
        if streams.input is not None:
            self._poll.register(streams.input, select.POLLOUT)
        if ending.fileno is not None:
            self._poll.register(ending.fileno, select.POLLIN)

    @property
    def quiet(self) -> bool:
        return not self._reading

    def heed(self, cancel: int | None) -> None:
        """Wake up for this descriptor from now on; None: no more."""
        if self._cancel is not None:
            self._poll.unregister(self._cancel)
        if cancel is not None:
            self._poll.register(cancel, select.POLLIN)
        self._cancel = cancel

    def until(self, when: float, wanted: Callable[[], bool]) -> bool:
        """Go on until the clock says `when` (False) or `wanted` (True)."""
        while not wanted():
            left = when - self._clock.now()
            if left <= 0:
                return False
            self._step(min(left, ROUND))
        return True

    def finish(self) -> None:
        """Read what is in the pipes by now and close the books."""
        for number, output in tuple(self._reading.items()):
            limit = output.total + LAST_WORDS
            while number in self._reading and output.total < limit:
                if not self._read(number, output):
                    break
            output.close()
        self._reading.clear()

    def _step(self, seconds: float) -> None:
        if self._ending.fileno is None and not self.ended:
            seconds = min(seconds, TICK)
        # poll rounds down to milliseconds where we would rather be late than spin
        for number, _ in self._poll.poll(seconds * 1000 + 1):
            if number in self._reading:
                self._read(number, self._reading[number])
            elif number == self._streams.input:
                self._write(number)
            elif number == self._ending.fileno:
                self._poll.unregister(number)
                self.ended = True
            elif number == self._cancel:
                self.heed(None)
        if not self.ended and self._ending.fileno is None:
            self.ended = not self._is_alive()

    def _read(self, number: int, output: Output) -> bool:
        """One chunk. False if there is none now."""
        try:
            chunk = os.read(number, CHUNK)
        except BlockingIOError:
            return False
        if not chunk:
            self._poll.unregister(number)
            del self._reading[number]
            self._streams.drop(number)
            output.close()
            return False
        output.feed(chunk)
        return True

    def _write(self, number: int) -> None:
        try:
            self._given = self._given[os.write(number, self._given[:CHUNK]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:  # it wanted no more, which is its own affair (`head`)
            self._given = self._given[:0]
        if not self._given:
            self._poll.unregister(number)
            self._streams.drop(number)
