"""What a service says of itself: the full check of its health, with metrics (LADDERS.md, L10, rung 0).

    clickhouse   a query as our own user     version, uptime, memory, rows of telemetry
    collector    its extension health_check  {"status": "Server available", "uptime": "4m1.5s"}
    dashboard    /healthz                    version, server; its workers as the process table has them

Each is one request of a few milliseconds, and never one that reads data. The watchdog, which asks every 5 s, asks in
brief: ClickHouse's /ping, and nobody's memory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

from cc.errors import Failure
from cc.resources import http
from cc.resources.go_duration import seconds
from cc.resources.process_table import children, describe
from cc.resources.secret_file import read_secret
from cc.services.dashboard import Running
from cc.services.stack import Stack

FULL_S = 2.0
"""Shorter than a ping's 5 s: a server that is busy for longer is alive all the same, and the ping below finds that."""

QUERY = """\
SELECT version(), uptime(), (SELECT value FROM system.metrics WHERE metric = 'MemoryTracking'),
       sumIf(total_rows, name = 'otel_logs'), sumIf(total_rows, startsWith(name, 'otel_metrics_')),
       sumIf(total_rows, name = 'otel_traces'), sum(total_bytes)
FROM system.tables WHERE database = 'otel' FORMAT TabSeparated
"""
"""From what the server holds in memory: no table is read. `\\N` where the collector has not made its tables yet."""
COLUMNS = ("version", "uptime_s", "memory_bytes", "log_rows", "metric_rows", "trace_rows", "disk_bytes")
REFUSED = r"Code: (192|193|194|497|516)\."
AVAILABLE = "Server available"


class Vitals(NamedTuple):
    """`metrics` by name, None for one that nobody knows. `less`: in what the service calls itself degraded."""

    metrics: Mapping[str, Any] = {}
    less: str = ""


def clickhouse(stack: Stack) -> Vitals:
    """Raises Failure permission_denied if it refuses our user, bad_answer, or as http.get does."""
    user, password = stack.settings.clickhouse_user, clickhouse_password(stack)
    if not (user + password).isprintable():
        raise Failure("ClickHouse's user or password has what cannot be sent in it", code="bad_config")
    headers = {"X-ClickHouse-User": _sent(user), "X-ClickHouse-Key": _sent(password)}
    url = f"http://127.0.0.1:{stack.settings.clickhouse_port}/?{urlencode({'query': QUERY})}"
    answer = http.get(url, timeout=FULL_S, headers=headers)
    if answer.status != 200:
        if answer.status in (401, 403) or re.search(REFUSED, answer.text):
            raise Failure(f"ClickHouse refuses the user {user} or its password", code="permission_denied")
        raise Failure(f"a query is answered with {answer.shown()}", code="bad_answer")
    cells = answer.text.rstrip("\n").split("\t")
    if len(cells) != len(COLUMNS):
        raise Failure(f"a query is answered with {answer.shown()}", code="bad_answer")
    return Vitals({"version": cells[0], **dict(zip(COLUMNS[1:], map(_number, cells[1:]), strict=True))})


def clickhouse_password(stack: Stack) -> str:
    """The password that ClickHouse's container was given, "" if there is none that can be read."""
    if stack.settings.clickhouse_password:
        return stack.settings.clickhouse_password
    try:
        return read_secret(stack.state.password)
    except (Failure, OSError):
        return ""  # a container that was brought up by hand has none; ours then refuses, and says so


def _sent(text: str) -> str:
    """As a header: http.client writes latin-1, and the server reads UTF-8."""
    return text.encode(errors="replace").decode("latin-1")


def _number(cell: str) -> int | None:
    return int(cell) if cell.removeprefix("-").isdecimal() else None


def collector(stack: Stack) -> Vitals:
    """Raises Failure unhealthy if its own check says so, bad_answer, or as http.get does."""
    url = f"http://127.0.0.1:{stack.settings.otel_health_port}/"
    answer = http.get(url, timeout=FULL_S)
    try:
        told = json.loads(answer.body)
    except (ValueError, RecursionError):
        told = None
    if answer.status != 200:
        status = told.get("status") if isinstance(told, dict) else None
        raise Failure(f"{url} answers {answer.status}" + (f" ({status})" if status else ""), code="unhealthy")
    if not isinstance(told, dict) or "status" not in told:
        raise Failure(f"{url} answers 200 and tells no status", code="bad_answer")
    metrics = {"uptime_s": _uptime(told.get("uptime")), "status": str(told["status"])}
    return Vitals(metrics, "" if told["status"] == AVAILABLE else f"it says of itself: {told['status']}")


def _uptime(told: object) -> float | None:
    try:
        return round(seconds(str(told)), 1)
    except ValueError:
        return None


def dashboard(found: Running, owner: str, *, brief: bool = False) -> Vitals:
    """Of the dashboard that runs. `rss_bytes` is of the server and its workers together; what they share counts for
    each. Raises Failure bad_answer, or as http.get does."""
    said = found.said(owner)
    if brief:
        return Vitals()
    workers = children(found.identity.pid)
    facts = [describe(pid) for pid in (found.identity.pid, *(workers or ()))]
    return Vitals({
        "version": said.get("version"),
        "server": found.server,
        "workers": None if workers is None else len(workers),
        "rss_bytes": sum(fact.rss_bytes for fact in facts if fact is not None),
    })  # fmt: skip


def _clickhouse_ping(stack: Stack) -> Vitals:
    url = f"http://127.0.0.1:{stack.settings.clickhouse_port}/ping"
    answer = http.get(url, timeout=FULL_S)
    if answer.status != 200:
        raise Failure(f"{url} answers {answer.status}", code="bad_answer")
    return Vitals()


FULL: Mapping[str, Callable[[Stack], Vitals]] = {"clickhouse": clickhouse, "collector": collector}
"""The full check of each service in a container."""
BRIEF: Mapping[str, Callable[[Stack], Vitals]] = {"clickhouse": _clickhouse_ping, "collector": collector}
"""Whether it answers, and no more."""
