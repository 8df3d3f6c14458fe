"""A command that tells line by line, as it happens: on stdout, for as long as somebody reads there.

What is no line of what was asked for (that something is waited for) goes to stderr. May import what operations may.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from cc.command_line import LostError, Session, write_out
from cc.errors import Interrupted

UNREAD = "nobody reads stdout"


class Feed:
    """The output of one command."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.terminal = sys.stdout.isatty()

    def line(self, text: str) -> None:
        """Tell one line, at once. Raises LostError."""
        encoding = "utf-8" if self._session.options.json else sys.stdout.encoding or "utf-8"
        write_out((text + "\n").encode(encoding, "replace"))

    def aside(self, text: str) -> None:
        """Say something beside it, on stderr; not with `--quiet`."""
        if self._session.options.quiet:
            return
        try:
            sys.stderr.write(f"-- {text}\n")
            sys.stderr.flush()
        except OSError:
            pass  # nobody listens there, and the lines matter more

    @contextmanager
    def until_unread(self) -> Iterator[None]:
        """End what waits for more in here once nobody reads stdout: `| head` must not wait for a line to find out."""
        threading.Thread(target=self._await_unread, name="stdout", daemon=True).start()
        try:
            yield
        except Interrupted as interrupted:
            if self._session.cancel.requested == UNREAD:
                raise LostError(BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))) from interrupted
            raise

    def _await_unread(self) -> None:
        try:
            mode = os.fstat(1).st_mode
        except OSError:
            return
        if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
            poller = select.poll()
            poller.register(1, 0)  # of errors a poll tells unasked
            poller.poll()
            self._session.cancel.request(UNREAD)
