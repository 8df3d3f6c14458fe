"""A server that counts, texts with recorded counts, and a way to ask as the command does."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.answering import Server

if TYPE_CHECKING:
    from collections.abc import Iterator

RECORDED = json.loads((Path(__file__).parent / "recorded.json").read_text(encoding="utf-8"))["texts"]


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


@pytest.fixture(
    params=RECORDED, ids=lambda text: text.get("language") or text["text"][:12].encode("unicode_escape").decode()
)
def recorded(request: pytest.FixtureRequest) -> dict[str, Any]:
    """One text of each kind in turn, with what count_tokens said of it."""
    return dict(request.param)
