"""Work that takes all cores: batches shared among forked copies of this process, which only read and compute.

    numbers   one pipe with the number of every batch, from which all draw, this process too: who is slow draws less
    results   a pipe from each copy: batch number and size, then the bytes

A copy is no command: it executes nothing, writes to nothing but its pipe and ends with its last batch, so it does not
cross the seam. It is forked only while this process has one thread (a lock that another one holds would never be free
again in the copy); else, or where nothing can be forked, all is done here. What a copy that was killed has not
delivered is done here too. Standard library only.
"""

from __future__ import annotations

import os
import select
import signal
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

HEAD = struct.Struct("=HI")  # batch number, bytes
NUMBER = struct.Struct("=H")
MOST_BATCHES = 2_000
"""Their numbers fit into a pipe before anybody draws: into one page, all that a user with many pipes may have."""

PIPE_BYTES = 1 << 20
F_SETPIPE_SZ = 1031  # Linux; fcntl names it since Python 3.10 there only
CHUNK = 1 << 20
WAIT_MS = 200

Work = Callable[[int], bytes]


def processors(most: int = 8) -> int:
    """How many cores this process may use, at most `most`; 1 if it has threads that a fork would break."""
    if threading.active_count() > 1 or not hasattr(os, "fork"):
        return 1
    try:
        return min(most, len(os.sched_getaffinity(0)))
    except AttributeError:  # macOS
        return min(most, os.cpu_count() or 1)


def share(
    batches: int, work: Work, processes: int, waiting: Callable[[], object] = lambda: None
) -> Iterator[tuple[int, bytes]]:
    """`work(number)` for every batch number below `batches`, as each is done. At most MOST_BATCHES.

    `waiting` is called now and then while all that is left is in the hands of copies.

    Raises what `work` raises in this process; in a copy that counts as not delivered, and so happens again here.
    """
    if processes <= 1 or batches <= 1:
        for number in range(batches):
            yield number, work(number)
        return
    drawing, filling = os.pipe()
    os.write(filling, b"".join(NUMBER.pack(number) for number in range(batches)))
    os.close(filling)
    copies: list[_Copy] = []
    missing = set(range(batches))
    try:
        for _ in range(min(processes, batches) - 1):
            try:
                copies.append(_Copy(drawing, work, [each.pipe for each in copies]))
            except OSError:  # no more processes or memory: fewer do it
                break
        while data := os.read(drawing, NUMBER.size):
            number = NUMBER.unpack(data)[0]
            missing.discard(number)
            yield number, work(number)
            for copy in copies:
                yield from _noted(copy.delivered(None), missing)
        for copy in copies:
            yield from _noted(copy.delivered(waiting), missing)
        for number in sorted(missing):
            yield number, work(number)
    finally:
        os.close(drawing)
        for copy in copies:
            copy.end()


def _noted(delivered: Iterator[tuple[int, bytes]], missing: set[int]) -> Iterator[tuple[int, bytes]]:
    for number, result in delivered:
        missing.discard(number)
        yield number, result


class _Copy:
    """A forked copy of this process at work. Raises OSError where none can be made."""

    def __init__(self, drawing: int, work: Work, others: list[int]) -> None:
        self.pipe, theirs = os.pipe()
        self._inbox = bytearray()
        _widen(theirs)
        # A signal right behind the fork would be handled in the copy as if it were us.
        before = set[int](signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals()))
        try:
            self._pid = os.fork()
            if not self._pid:
                _work_and_exit(drawing, theirs, work, [self.pipe, *others], before)
        except OSError:
            os.close(self.pipe)
            os.close(theirs)
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(theirs)
        self._arrived = select.poll()
        self._arrived.register(self.pipe, select.POLLIN)

    def delivered(self, waiting: Callable[[], object] | None) -> Iterator[tuple[int, bytes]]:
        """What has come; with something to do while `waiting` all that will ever come."""
        while self._arrived.poll(0) or waiting is not None:
            while waiting is not None and not self._arrived.poll(WAIT_MS):
                waiting()
            data = os.read(self.pipe, CHUNK)
            if not data:
                return
            self._inbox += data
            while len(self._inbox) >= HEAD.size:
                number, size = HEAD.unpack_from(self._inbox)
                if len(self._inbox) < HEAD.size + size:
                    break
                result = bytes(self._inbox[HEAD.size : HEAD.size + size])
                del self._inbox[: HEAD.size + size]
                yield number, result

    def end(self) -> None:
        """It has ended, or is ended; and buried."""
        os.close(self.pipe)
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        with suppress(ChildProcessError):  # somebody in this process ignores its children
            os.waitpid(self._pid, 0)


def _work_and_exit(drawing: int, results: int, work: Work, unneeded: list[int], mask: set[int]) -> None:
    """The life of a copy: never returns, and runs nothing of what the process that it copies would do at its end."""
    code = 1
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for descriptor in unneeded:
            os.close(descriptor)
        while data := os.read(drawing, NUMBER.size):
            number = NUMBER.unpack(data)[0]
            result = work(number)
            _write(results, HEAD.pack(number, len(result)) + result)
        code = 0
    finally:
        os._exit(code)


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _widen(descriptor: int) -> None:
    """Room for what comes while we are at work ourselves."""
    import fcntl

    with suppress(OSError):  # not on this system, or more than this user may have
        fcntl.fcntl(descriptor, F_SETPIPE_SZ, PIPE_BYTES)
