"""Session files and telemetry of our own making, in the client's format; and the recorded ones, where they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cc.usage.telemetry import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterable

RECORDED = Path(__file__).resolve().parents[3] / "shared" / "data"
"""Recorded sets lie beside a checkout, not in it: where they are, they are read too."""

SESSION = "94037bd8-0fe6-4d07-a1ea-29ce721055c3"


def row(
    message: str | None = "msg_1",
    request: str | None = "req_1",
    *,
    given: Any = 10,
    output: Any = 5,
    write: Any = 0,
    read: Any = 0,
    model: str = "claude-sonnet-4-5-20250929",
    at: Any = "2026-11-23T12:00:00.000Z",
    session: str | None = SESSION,
    cwd: str | None = "/home/user/project",
    split: tuple[int, int] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """An assistant's row. `split` is cache writes for 5 minutes and for an hour; None leaves a field out."""
    usage = {
        "input_tokens": given,
        "output_tokens": output,
        "cache_creation_input_tokens": write,
        "cache_read_input_tokens": read,
    }
    if split is not None:
        usage["cache_creation"] = {"ephemeral_5m_input_tokens": split[0], "ephemeral_1h_input_tokens": split[1]}
    body = {"id": message, "type": "message", "role": "assistant", "model": model, "content": [], "usage": usage}
    whole = {
        "type": "assistant",
        "message": {name: value for name, value in body.items() if value is not None},
        "requestId": request,
        "timestamp": at,
        "sessionId": session,
        "cwd": cwd,
        "isSidechain": False,
        **more,
    }
    return {name: value for name, value in whole.items() if value is not None}


def text(value: Any) -> bytes:
    """A line as the client writes it: no space after a colon, and no newline yet."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def write(path: Path, *lines: Any, end: bytes = b"\n") -> Path:
    """A session file of these lines; a line that is not bytes is written as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join((line if isinstance(line, bytes) else text(line)) + end for line in lines))
    return path


def session_file(root: Path, name: str = SESSION, folder: str = "-home-user-project") -> Path:
    return root / "projects" / folder / f"{name}.jsonl"


def event(request: str = "req_1", **attributes: Any) -> list[str]:
    """A row of telemetry: a request of 10 input and 20 output tokens, and what else is given by attribute name."""
    values: dict[str, Any] = {
        "request_id": request,
        "session.id": SESSION,
        "model": "claude-sonnet-4-5-20250929",
        "input_tokens": 10,
        "output_tokens": 20,
        "event.sequence": 1,
        "event.timestamp": "2026-11-23T12:00:01.000Z",
        "milliseconds": 1795435201000,
        **{name.replace("session_id", "session.id").replace("event_", "event."): v for name, v in attributes.items()},
    }
    return [str(values.get(column, "")) for column in COLUMNS]


def answer(rows: Iterable[list[str]]) -> bytes:
    """What ClickHouse answers, in the shape that the real engine was seen to give (JSONCompact)."""
    rows = list(rows)
    return json.dumps(
        {
            "meta": [{"name": f"arrayElement(LogAttributes, '{column}')", "type": "String"} for column in COLUMNS],
            "data": rows,
            "rows": len(rows),
            "statistics": {"elapsed": 0.008, "rows_read": 11, "bytes_read": 1628},
        },
        indent="\t",
    ).encode()


CLIENT_ROWS = (
    row("msg_stub0001", "req_stub0001", given=101, output=41, write=200, read=3000, split=(150, 50),
        model="claude-opus-5-5", at="2026-11-23T23:57:51.299Z"),
    row("msg_stub0001", "req_stub0001", given=101, output=41, write=200, read=3000, split=(150, 50),
        model="claude-opus-5-5", at="2026-11-23T23:57:51.301Z"),
    row("msg_stub0002", "req_stub0002", given=102, output=42, write=200, read=3000, split=(150, 50),
        model="claude-opus-5-5", at="2026-11-23T23:57:51.376Z"),
)  # fmt: skip
"""One message of two content blocks and one of one, as a real client wrote them; it said that they cost 0.005972."""

CLIENT_EVENTS = (
    ["req_stub0001", SESSION, "claude-opus-5-5", "101", "41", "3000", "200", "150", "50", "0.002974", "2974", "normal",
     "6", "2026-11-23T23:57:51.330Z", "1795478271330"],
    ["req_stub0002", SESSION, "claude-opus-5-5", "102", "42", "3000", "200", "150", "50", "0.002998", "2998", "normal",
     "9", "2026-11-23T23:57:51.379Z", "1795478271379"],
)  # fmt: skip
"""The same two requests as the real engine answered them."""
