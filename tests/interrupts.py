"""Ctrl-C, `kill` and a lost terminal end the tests alike: whoever is in a test cleans up after it, and is waited for.

With workers (pytest-xdist) the signal reaches all of them, or only the process that started them, which would kill them
ten seconds later. To take away a stack that hangs may need longer: it passes the signal on, and then waits for a lock
that every worker holds until it has cleaned up, and that goes with a worker however that ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import tempfile
import time
from collections.abc import Iterator

import pytest

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
CLEAN_UP_S = 120.0
AT_WORK = pytest.StashKey[int]()  # the file of the lock, open; in it the workers' pids, one a line
PATH = pytest.StashKey[str]()  # its name, where the workers are started


class Interrupt:
    """The first signal counts: a second is the first passed on. During the cleaning up after a test it waits."""

    def __init__(self) -> None:
        self.said = ""
        self.cleaning = False

    def __call__(self, number: int, frame: object) -> None:
        if not self.said:
            self.said = signal.Signals(number).name
            if not self.cleaning:
                raise KeyboardInterrupt(self.said)

    @contextlib.contextmanager
    def waits(self) -> Iterator[None]:
        interrupted, self.cleaning = self.said, True
        try:
            yield
        finally:
            self.cleaning = False
        if self.said != interrupted:
            raise KeyboardInterrupt(self.said)


interrupt = Interrupt()


def pytest_configure(config: pytest.Config) -> None:
    # Also where SIGINT is ignored, as in the background: a program that a test starts has it at its default again.
    for number in SIGNALS:
        signal.signal(number, interrupt)
    path = getattr(config, "workerinput", {}).get("at_work")
    if path is not None:
        config.stash[AT_WORK] = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.write(config.stash[AT_WORK], f"{os.getpid()}\n".encode())
        fcntl.flock(config.stash[AT_WORK], fcntl.LOCK_SH)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Iterator[None]:
    with interrupt.waits():
        yield


def pytest_unconfigure(config: pytest.Config) -> None:
    if AT_WORK in config.stash:
        os.close(config.stash[AT_WORK])


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: pytest.Item) -> None:
    """Before a worker is started, where it is started."""
    stash = node.config.stash
    if PATH not in stash:
        stash[AT_WORK], stash[PATH] = tempfile.mkstemp(prefix="cc-tests-")
        node.config.add_cleanup(lambda: os.unlink(stash[PATH]))
    node.workerinput["at_work"] = stash[PATH]  # type: ignore[attr-defined]


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    stash = session.config.stash
    if PATH not in stash or exitstatus != pytest.ExitCode.INTERRUPTED:
        return
    with open(stash[PATH], encoding="ascii") as workers:
        for pid in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGINT)
    end = time.monotonic() + CLEAN_UP_S
    while time.monotonic() < end:
        try:
            fcntl.flock(stash[AT_WORK], fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05)
        else:
            return
