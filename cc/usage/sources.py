"""Where this machine's usage lies: the session files of this user, this project's store and its cache."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cc.resources.state import StateDir
from cc.settings import Settings
from cc.usage import transcripts
from cc.usage.clickhouse import ClickHouse
from cc.usage.reader import Sources


def sources(settings: Settings, environ: Mapping[str, str]) -> Sources:
    """The sources of these settings. The password is read now: it may appear or change while a dashboard runs."""
    state = StateDir(settings.home, settings.project)
    urls = settings.clickhouse_urls or (f"http://127.0.0.1:{settings.clickhouse_port}",)
    given = {"CLAUDE_CONFIG_DIR": settings.claude_config_dir} if settings.claude_config_dir else {}
    return Sources(
        roots=transcripts.roots({**environ, **given}),
        clickhouse=ClickHouse(urls, settings.clickhouse_user, settings.clickhouse_password or _stored(state.password)),
        cache_dir=Path(state.cache),
        prices=_own_prices(settings),
    )


def _stored(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None  # the store then refuses, and says so


def _own_prices(settings: Settings) -> Path | None:
    path = Path(settings.home) / "prices.json"
    return path if path.exists() else None
