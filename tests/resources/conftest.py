"""A host of one's own for each test: real files, real processes, and nothing of them left when the test is over."""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING

import pytest

from cc.clock import Cancel, SystemClock
from cc.engine.step import Context
from cc.resources.host import Host
from cc.resources.process_stop import find_ours, stop_group
from cc.shell import SystemShell

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def context() -> Iterator[Context]:
    cancel = Cancel()
    yield Context(SystemClock(), cancel)
    cancel.close()


@pytest.fixture
def host(tmp_path: Path, context: Context) -> Iterator[Host]:
    """Marked with an owner that no other test has; what still carries the mark at the end is ended, and a failure."""
    for name in ("run", "logs"):
        (tmp_path / name).mkdir()
    made = Host(
        SystemShell(cancel=context.cancel),
        str(tmp_path),
        dict(os.environ),
        owner=f"test:{uuid.uuid4().hex}",
        run_dir=str(tmp_path / "run"),
        log_dir=str(tmp_path / "logs"),
    )
    yield made
    left = find_ours(made.owner)
    for identity in left:
        stop_group(identity, grace=0.0, context=Context(SystemClock(), Cancel()))
    assert not left, "the test left processes behind"
