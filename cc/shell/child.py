"""A process that was started to stay. Reaped by its own pid, never by waitpid(-1), which steals others' statuses.

Imports cc.shell.identity and the standard library.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from cc.shell.identity import is_alive

if TYPE_CHECKING:
    from collections.abc import Callable


class Child:
    """A detached process: `pid`, `start_time` (cc.shell.identity) and `argv`, masked.

    Also made of a pid and a start time that were written down: then it is somebody else's child, its end can be seen
    and its exit code can't. A start time of 0 says that it ended before it could be asked.
    """

    def __init__(
        self, pid: int, start_time: int, argv: tuple[str, ...], *, reaped: Callable[[], int | None] | None = None
    ) -> None:
        self.pid = pid
        self.start_time = start_time
        self.argv = argv
        self._reaped = reaped  # what somebody else of this process may have reaped: the exit code
        self._exit_code: int | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Child(pid={self.pid}, start_time={self.start_time}, argv={self.argv!r})"

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs, and for ever if it is not our child. Reaps it."""
        with self._lock:
            if self._exit_code is None and self._reaped is not None:
                try:
                    pid, status = os.waitpid(self.pid, os.WNOHANG)
                except ChildProcessError:
                    self._exit_code = self._reaped()
                else:
                    self._exit_code = os.waitstatus_to_exitcode(status) if pid == self.pid else None
            return self._exit_code

    def alive(self) -> bool:
        """Whether this very process lives; a zombie does not."""
        return self.poll() is None and is_alive(self.pid, self.start_time)
