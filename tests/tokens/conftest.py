"""A server that counts, texts with recorded counts, and a way to ask as the command does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.answering import server  # noqa: F401 - a fixture

RECORDED = json.loads((Path(__file__).parent / "recorded.json").read_text(encoding="utf-8"))["texts"]


@pytest.fixture(
    params=RECORDED, ids=lambda text: text.get("language") or text["text"][:12].encode("unicode_escape").decode()
)
def recorded(request: pytest.FixtureRequest) -> dict[str, Any]:
    """One text of each kind in turn, with what count_tokens said of it."""
    return dict(request.param)
