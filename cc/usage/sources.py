"""Where this machine's usage lies: the session files of this user, this project's store and its cache."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cc.errors import Failure
from cc.resources.breakers import Breakers
from cc.resources.secret_file import read_secret
from cc.resources.state import StateDir
from cc.settings import Settings
from cc.usage import places
from cc.usage.clickhouse import ClickHouse, without_password
from cc.usage.reader import Sources


def sources(
    settings: Settings, environ: Mapping[str, str], *, breakers: Breakers | None = None, typed: bool = True
) -> Sources:
    """The sources of these settings. The password is read now: it may appear or change while a dashboard runs.

    `breakers`: those that this process has already. `typed`: a person waits for the answer, so the store is asked
    although it was out of reach (LADDERS.md, L12).
    """
    state = StateDir(settings.home, settings.project)
    password = settings.clickhouse_password or _stored(state.password)
    shared = breakers or Breakers(state.path)
    given = {"CLAUDE_CONFIG_DIR": settings.claude_config_dir} if settings.claude_config_dir else {}
    return Sources(
        roots=places.roots({**environ, **given}),
        clickhouse=ClickHouse(
            store_urls(settings),
            settings.clickhouse_user,
            password,
            guard=lambda: shared.guarding(_breaker_name(settings), typed=typed),
        ),
        cache_dir=Path(state.cache),
        index_dir=Path(state.cache),
        prices=_own_prices(settings),
    )


def store_urls(settings: Settings) -> tuple[str, ...]:
    """The stores to ask in turn: those that were set, else this stack's own container."""
    return settings.clickhouse_urls or (f"http://127.0.0.1:{settings.clickhouse_port}",)


def _breaker_name(settings: Settings) -> str:
    """This stack's own store goes by the name of its service: whoever sees that ready says so. Others by their URLs."""
    if not settings.clickhouse_urls:
        return "clickhouse"
    return "clickhouse at " + ", ".join(map(without_password, settings.clickhouse_urls))


def _stored(path: str) -> str | None:
    try:
        return read_secret(path) or None
    except (Failure, OSError):
        return None  # the store then refuses, and says so


def _own_prices(settings: Settings) -> Path | None:
    path = Path(settings.home) / "prices.json"
    return path if path.exists() else None
