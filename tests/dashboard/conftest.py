"""A home of one's own for each test: session files, state directory, and a port on which no store answers."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from cc.dashboard.app import create_app
from cc.dashboard.identity import Identity
from cc.dashboard.sources import EnvironmentSources
from cc.settings import load
from tests.dashboard.sessions import Sessions
from tests.fakes import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from flask.testing import FlaskClient

ME = Identity("context-cleaner", owner="context-cleaner:0123", bound="127.0.0.1:8110", server="flask")


@pytest.fixture
def sessions(tmp_path: Path) -> Sessions:
    """No session yet: not even the directory exists."""
    return Sessions(tmp_path / "claude")


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that is taken, so that nobody else gets it, and on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
def environ(tmp_path: Path, sessions: Sessions, silent_port: int) -> dict[str, str]:
    return {
        "HOME": str(tmp_path),
        "CC_HOME": str(tmp_path / "state"),
        "CLAUDE_CONFIG_DIR": str(sessions.root),
        "CC_CLICKHOUSE_PORT": str(silent_port),
    }


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def connect(environ: dict[str, str], tmp_path: Path, clock: FakeClock) -> Callable[[], FlaskClient]:
    """A client of the application that this environment makes."""

    def made() -> FlaskClient:
        sources = EnvironmentSources(load(environ, str(tmp_path)), environ)
        return create_app(sources.read, ME, places=sources.places, clock=clock).test_client()

    return made


@pytest.fixture
def client(connect: Callable[[], FlaskClient]) -> FlaskClient:
    return connect()
