"""L7 analytics."""

from __future__ import annotations

import json
import os
import time
import urllib.request

from cc.drill.exercise import DOCKER, Drill, expect
from cc.drill.stage import Stage, ok

LINE = {
    "type": "assistant", "sessionId": "s", "requestId": "req_1", "timestamp": "2026-01-01T00:00:00.000Z",
    "message": {"id": "m", "model": "claude-sonnet-4-5", "usage": {"input_tokens": 5, "output_tokens": 7}},
}  # fmt: skip


def _session(stage: Stage) -> None:
    folder = os.path.join(stage.environ["CLAUDE_CONFIG_DIR"], "projects", "p")
    os.makedirs(folder)
    with open(os.path.join(folder, "s.jsonl"), "w", encoding="utf-8") as file:
        file.write(json.dumps(LINE) + "\n")


def _send_event(stage: Stage) -> None:
    """One event as Claude Code's own exporter sends it, by OTLP over HTTP."""
    told = {"event.name": "api_request", "model": "claude-sonnet-4-5", "input_tokens": "11", "output_tokens": "12",
            "request_id": "req_2", "session.id": "s"}  # fmt: skip
    attributes = [{"key": key, "value": {"stringValue": value}} for key, value in told.items()]
    body = {"stringValue": "claude_code.api_request"}
    record = {"timeUnixNano": str(time.time_ns()), "body": body, "attributes": attributes}
    document = {"resourceLogs": [{"resource": {"attributes": []}, "scopeLogs": [{"logRecords": [record]}]}]}
    asked = urllib.request.Request(
        f"http://127.0.0.1:{stage.environ['CC_OTLP_HTTP_PORT']}/v1/logs", json.dumps(document).encode(),
        {"content-type": "application/json"},
    )  # fmt: skip
    urllib.request.urlopen(asked, timeout=10).close()  # noqa: S310


def _usage(stage: Stage, source: str) -> str:
    typed = ok(stage.type("usage"))
    expect(typed.document["source"] == source, f"source {source}", f"{typed.document['source']}: {typed.document}")
    return f"{source}: {typed.document['reason'] or 'fresh'}"[:150]


def stored(stage: Stage) -> None:
    """The stack is up and ClickHouse has an event."""
    ok(stage.up("docker"))
    _send_event(stage)
    stage.until("the event in usage", lambda: stage.type("usage").document.get("total", {}).get("input_tokens") == 11)


def from_clickhouse(stage: Stage) -> str:
    stored(stage)
    return _usage(stage, "clickhouse")


def from_cache(stage: Stage) -> str:
    stored(stage)
    ok(stage.type("down"))
    return _usage(stage, "cache")


def cache_spoilt(stage: Stage) -> str:
    stored(stage)
    ok(stage.type("down"))
    _session(stage)
    for folder, _, names in os.walk(stage.state.cache):
        for name in names:
            with open(os.path.join(folder, name), "r+b") as file:
                file.write(b"spoilt")
    return _usage(stage, "files")


def from_files(stage: Stage) -> str:
    _session(stage)
    return _usage(stage, "files")


def from_nothing(stage: Stage) -> str:
    return _usage(stage, "empty")


DRILLS = (
    Drill(
        "L7",
        0,
        "nothing",
        "source clickhouse",
        "the event is counted",
        from_clickhouse,
        DOCKER,
    ),
    Drill(
        "L7",
        1,
        "ClickHouse is stopped",
        "source cache, with its age",
        "",
        from_cache,
        DOCKER,
    ),
    Drill(
        "L7",
        2,
        "no store and no cache",
        "source files",
        "",
        from_files,
    ),
    Drill(
        "L7",
        3,
        "no store, no cache, no session files",
        "source empty, with the reason",
        "",
        from_nothing,
    ),
    Drill(
        "L7",
        2,
        "ClickHouse is stopped and the cache spoilt",
        "source files, and why",
        "",
        cache_spoilt,
        DOCKER,
    ),
)
