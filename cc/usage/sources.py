"""Where this machine's usage lies: the session files of this user, this project's store and its cache."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cc.errors import Failure
from cc.resources.secret_file import read_secret
from cc.resources.state import StateDir
from cc.settings import Settings
from cc.usage import transcripts
from cc.usage.clickhouse import ClickHouse
from cc.usage.reader import Sources


def sources(settings: Settings, environ: Mapping[str, str]) -> Sources:
    """The sources of these settings. The password is read now: it may appear or change while a dashboard runs."""
    state = StateDir(settings.home, settings.project)
    password = settings.clickhouse_password or _stored(state.password)
    given = {"CLAUDE_CONFIG_DIR": settings.claude_config_dir} if settings.claude_config_dir else {}
    return Sources(
        roots=transcripts.roots({**environ, **given}),
        clickhouse=ClickHouse(store_urls(settings), settings.clickhouse_user, password),
        cache_dir=Path(state.cache),
        prices=_own_prices(settings),
    )


def store_urls(settings: Settings) -> tuple[str, ...]:
    """The stores to ask in turn: those that were set, else this stack's own container."""
    return settings.clickhouse_urls or (f"http://127.0.0.1:{settings.clickhouse_port}",)


def _stored(path: str) -> str | None:
    try:
        return read_secret(path) or None
    except (Failure, OSError):
        return None  # the store then refuses, and says so


def _own_prices(settings: Settings) -> Path | None:
    path = Path(settings.home) / "prices.json"
    return path if path.exists() else None
