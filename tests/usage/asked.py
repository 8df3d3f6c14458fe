"""What the reader answers, and sources of which the store is out of reach."""

from __future__ import annotations

from datetime import timezone
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from cc.usage.clickhouse import ClickHouse
from cc.usage.model import UsageQuery
from cc.usage.reader import Sources, read_usage

if TYPE_CHECKING:
    from cc.usage.model import Reading

NOW = 1795514400.0  # 2026-11-24T10:00:00Z


def read(sources: Sources, **query: Any) -> Reading:
    return read_usage(UsageQuery(tz=timezone.utc, **query), sources)


def down(sources: Sources, port: int, later: float = 0) -> Sources:
    store = ClickHouse((f"http://127.0.0.1:{port}",), "cc", "secret")
    return replace(sources, clickhouse=store, now=lambda: NOW + later)
