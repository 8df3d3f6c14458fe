"""Where session files lie and an index is kept, and a server that answers as it is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cc.usage.clickhouse import ClickHouse
from cc.usage.reader import Sources
from tests.answering import Server, server  # noqa: F401 - a fixture
from tests.usage.asked import NOW
from tests.usage.rows import row, session_file, write

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Where an index is kept."""
    return tmp_path / "index"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where session files lie."""
    return tmp_path / "claude"


@pytest.fixture
def sources(tmp_path: Path, server: Server) -> Sources:  # noqa: F811 - that fixture
    """Two messages in the files; a store that the test tells what to answer; a cache; a clock that stands."""
    write(session_file(tmp_path), row("m1", "r1", output=3), row("m2", "r2", output=5))
    store = ClickHouse((server.url,), "cc", "secret", timeout=5)
    return Sources((tmp_path,), store, tmp_path / "home" / "cache", lambda: NOW)
