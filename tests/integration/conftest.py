"""Integration tests run the real commands on real processes, and on a real Docker engine where they are marked so."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.answering import server  # noqa: F401 - a fixture
from tests.integration.box import Box, new_box
from tests.integration.stores import Store, User, engine


@cache
def why_no_docker() -> str | None:
    """None if an engine answers and both images are here; else why not."""
    if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        return "no Docker engine answers"
    images = [os.environ.get("CC_CLICKHOUSE_IMAGE"), os.environ.get("CC_COLLECTOR_IMAGE")]
    if None in images:
        return "CC_CLICKHOUSE_IMAGE and CC_COLLECTOR_IMAGE name no images"
    found = subprocess.run(["docker", "image", "inspect", *map(str, images)], capture_output=True, check=False)
    return None if found.returncode == 0 else f"images {images} are not here"


@pytest.fixture(autouse=True)
def needs_docker(request: pytest.FixtureRequest) -> None:
    """Without Docker a test that is marked so is skipped on a contributor's machine, and fails in CI."""
    if request.node.get_closest_marker("docker") is None:
        return
    why = why_no_docker()
    if why is not None:
        words = f'{why}: run `tests/lab/lab all`, then eval "$(tests/lab/lab env)"'
        pytest.fail(words) if os.environ.get("CI") else pytest.skip(words)


@pytest.fixture
def box() -> Iterator[Box]:
    with new_box() as made:
        yield made


@pytest.fixture(scope="module")
def running() -> Iterator[Store]:
    with engine() as store:
        yield store


@pytest.fixture
def store(running: Store) -> Store:
    running.empty()
    return running


@pytest.fixture
def user(store: Store, tmp_path: Path) -> User:
    return User(tmp_path, store.url)
