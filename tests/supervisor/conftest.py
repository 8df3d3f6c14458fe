"""A run directory of its own for each test, and a server in it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cc.supervisor import connection as connection_side
from cc.supervisor.server import Server
from tests.supervisor.ipc_support import serving


@pytest.fixture
def run() -> Iterator[Path]:
    """Short, as a real one is: pytest's own directories come near the 107 bytes of a socket's path."""
    directory = Path(tempfile.mkdtemp(prefix="cc"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def deep(run: Path) -> Path:
    """A run directory whose socket has too long a path."""
    directory = run / ("d" * 60) / ("e" * 60) / "run"
    directory.mkdir(parents=True, mode=0o700)
    return directory


@pytest.fixture
def log() -> list[str]:
    return []


@pytest.fixture
def server(run: Path, log: list[str]) -> Iterator[Server]:
    with serving(run, log=log.append) as one:
        yield one


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is silent is dropped after a tenth of a second."""
    monkeypatch.setattr(connection_side, "REQUEST_S", 0.1)
    monkeypatch.setattr(connection_side, "LINGER_S", 0.1)
