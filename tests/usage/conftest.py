"""Where session files lie and an index is kept, and a server that answers as it is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.answering import server  # noqa: F401 - a fixture

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
