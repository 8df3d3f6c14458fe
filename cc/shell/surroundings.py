"""The state of our own process that must be right around a fork: signals, standard descriptors, SIGCHLD.

Imports the standard library only.
"""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_HANDLED = frozenset(  # those that programs have handlers for; holding all 64 costs 0.1 ms
    getattr(signal, f"SIG{name}")
    for name in ("INT", "TERM", "HUP", "QUIT", "USR1", "USR2", "ALRM", "PROF", "CHLD", "WINCH", "TSTP", "CONT")
)


@contextmanager
def signals_held() -> Iterator[None]:
    """Signals wait while we fork: a handler that raises in there left the command alive in 56 of 150 tries, and in 6
    a forked copy went on running our code. Threads that sh starts meanwhile inherit this, so that no signal reaches us
    through them. The child lets them in again once its handlers are gone."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def fill_standard_descriptors() -> None:
    """Whoever closed 0, 1 or 2 gets /dev/null there: a pipe of ours under such a number would be the child's output.
    Raises OSError."""
    for number in range(3):
        if not _is_open(number):
            os.open(os.devnull, os.O_RDWR)


def learn_exit_codes() -> None:
    """SIGCHLD is ignored where whoever started us ignored it, and then the system throws exit codes away."""
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
