"""What holds for every test: what it started has ended, and is not left to the next one as a dead child."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

import pytest

from cc.drill.ground import claim_ports, give_back_ports

pytest_plugins = ["tests.interrupts"]

HANG = 30.0  # seconds: whoever takes so long hangs; nothing here needs more than a few


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """`-n auto`: twice as many as there are cores, because half of the time they wait for processes and containers."""
    return min(2 * (os.cpu_count() or 1), 8)


@pytest.fixture(autouse=True)
def dead_children_are_buried() -> Iterator[None]:
    """A process that a test spawned and stopped waits for its parent, which is pytest: a command would have ended."""
    yield
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return


@pytest.fixture
def port() -> Iterator[int]:
    """A port of this machine on which nobody listens, and that nobody else is given meanwhile."""
    claimed = claim_ports(1)
    yield claimed[0]
    give_back_ports(claimed)


@pytest.fixture
def eventually() -> Callable[[Callable[[], object]], bool]:
    """Whether a condition comes true in time."""

    def wait(condition: Callable[[], object]) -> bool:
        until = time.monotonic() + HANG
        while not condition():
            if time.monotonic() > until:
                return False
            time.sleep(0.01)
        return True

    return wait
