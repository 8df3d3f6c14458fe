"""`health` for people, for scripts, and as an exit code."""

from __future__ import annotations

from typing import Any

import pytest

from cc.report.health import health_code, health_document, health_text
from cc.services.health import Health

DOCKER = {"here": "unix:///a.sock", "supervisor": None}


def one(health: str, reason: str = "", rung: int = 0, **metrics: Any) -> Health:
    return Health("clickhouse", "container", "running", health, reason, rung=rung, took_ms=4.25, metrics=metrics)


CODES = [
    # healths -> exit code, with --strict
    ([("healthy", "")], 0, 0),
    ([("healthy", ""), ("healthy", "on another port")], 0, 3),
    ([("degraded", "ping")], 0, 3),
    ([("degraded", "ping"), ("unhealthy", "x")], 1, 1),
    ([("unknown", "no Docker")], 1, 1),
    ([("healthy", ""), ("unknown", "x")], 1, 1),
]


@pytest.mark.parametrize(("healths", "code", "strict"), CODES)
def test_the_exit_code_is_of_the_worst(healths: list[tuple[str, str]], code: int, strict: int) -> None:
    found = [one(*each) for each in healths]
    assert (health_code(found, strict=False), health_code(found, strict=True)) == (code, strict)


def test_the_document_has_every_service_and_the_worst() -> None:
    document = health_document([one("healthy", rows=1), one("degraded", "x", 1)], DOCKER)
    assert document["docker"] == DOCKER
    assert (document["healthy"], document["degraded"]) == (False, True)
    assert [(each["rung"], each["took_ms"], each["metrics"]) for each in document["services"]] == [
        (0, 4.25, {"rows": 1}), (1, 4.25, {}),
    ]  # fmt: skip


def test_the_text_tells_rung_time_reason_and_metrics() -> None:
    found = [one("degraded", "/ping answers, but no", 1, uptime_s=61, memory_bytes=5 << 20, log_rows=1234, x=None)]
    text = health_text(found, DOCKER)
    assert text.splitlines()[2].split() == ["clickhouse", "degraded", "1", "ping", "4.2", "ms"]
    assert text.splitlines()[4:] == [
        "clickhouse: /ping answers, but no", "clickhouse: up 1.0 min, memory 5 MiB, log rows 1,234",
    ]  # fmt: skip
    assert "\x1b" not in text


def test_colour_is_on_the_word_alone_and_a_reason_cannot_move_the_cursor() -> None:
    text = health_text([one("unhealthy", "a\x1b[2Jb", 2)], DOCKER, colour=True)
    assert "\x1b[31munhealthy\x1b[0m" in text
    assert text.count("\x1b") == 2


def test_lines_are_broken_at_the_terminals_width() -> None:
    text = health_text([one("healthy", **{f"metric_{number}": number for number in range(20)})], DOCKER, width=50)
    assert max(map(len, text.splitlines()[4:])) <= 50
