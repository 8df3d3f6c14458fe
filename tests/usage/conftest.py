"""A server that answers as it is told, and a port without one."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from tests.answering import Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


@pytest.fixture
def closed_port() -> int:
    """A port of this machine on which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Where an index is kept."""
    return tmp_path / "index"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where session files lie."""
    return tmp_path / "claude"
