"""What a client says that its session cost is compared with what is counted, and never counted itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cc.usage.model import UsageQuery
from cc.usage.reader import Sources, read_usage
from tests.usage.rows import CLIENT_ROWS, RECORDED, SESSION, session_file, write


def state(cost: Any, **more: Any) -> dict[str, Any]:
    return {"type": "cost-state", "sessionId": SESSION, "totalCostUSD": cost, "hasUnknownModelCost": False, **more}


def client_totals(root: Path, index: Path | None = None) -> Any:
    reading = read_usage(UsageQuery(source="files"), Sources((root,), index_dir=index))
    assert reading.total.messages in (0, 2)
    return reading.as_dict()["coverage"]["client_totals"]


AGREED: dict[str, Any] = {"sessions": 1, "differ": []}


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], {"sessions": 0, "differ": []}),
        ([state(0.005972)], AGREED),
        ([state(0.001), state(0.005972)], AGREED),  # a running total: the last counts
        ([state(0.0059719)], AGREED),  # less than a micro-dollar beside it
        (
            [state(0.0051)],
            {"sessions": 1, "differ": [{"session": SESSION, "client_usd": 0.0051, "counted_usd": 0.005972}]},
        ),
        ([state(0.0051, hasUnknownModelCost=True)], {"sessions": 0, "differ": []}),
        ([state(-1)], {"sessions": 0, "differ": []}),
        ([state("much")], {"sessions": 0, "differ": []}),
        ([state(None)], {"sessions": 0, "differ": []}),
        ([state(0.0051, sessionId="another")], {"sessions": 0, "differ": []}),
    ],
)
def test_what_is_said_beside_what_is_counted(lines: list[Any], expected: Any, tmp_path: Path) -> None:
    write(session_file(tmp_path / "claude"), *CLIENT_ROWS, *lines)
    for _ in range(2):  # also from the index
        assert client_totals(tmp_path / "claude", tmp_path / "index") == expected


def test_a_model_without_price_is_a_difference_that_says_so(tmp_path: Path) -> None:
    rows = json.loads(json.dumps(CLIENT_ROWS).replace("claude-opus-5-5", "claude-unheard-of"))
    write(session_file(tmp_path), *rows, state(0.005972))
    assert client_totals(tmp_path)["differ"] == [{"session": SESSION, "client_usd": 0.005972, "counted_usd": None}]


def test_the_recorded_client_agrees_with_us(tmp_path: Path) -> None:
    root = RECORDED / "client"
    if not root.is_dir():
        write(session_file(tmp_path), *CLIENT_ROWS, state(0.005972))
        root = tmp_path
    assert client_totals(root) == AGREED
