"""What holds for every test: what it started has ended, and is not left to the next one as a dead child."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


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
