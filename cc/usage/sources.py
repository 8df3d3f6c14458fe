"""Where this machine's usage lies: the session files of this user, this project's store and its cache."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from cc.errors import Failure
from cc.resources.state import StateDir
from cc.settings import Settings
from cc.usage import places
from cc.usage.reader import Sources

if TYPE_CHECKING:
    from cc.resources.breakers import Breakers
    from cc.usage.clickhouse import ClickHouse


def sources(
    settings: Settings,
    environ: Mapping[str, str],
    *,
    breakers: Breakers | None = None,
    typed: bool = True,
    store: bool = True,
) -> Sources:
    """The sources of these settings. The password is read now: it may appear or change while a dashboard runs.

    `breakers`: those that this process has already. `typed`: a person waits for the answer, so the store is asked
    although it was out of reach (LADDERS.md, L12). `store`: it is among them, as whoever does not ask it need not wait
    for all that asking it takes.
    """
    state = StateDir(settings.home, settings.project)
    given = {"CLAUDE_CONFIG_DIR": settings.claude_config_dir} if settings.claude_config_dir else {}
    return Sources(
        roots=places.roots({**environ, **given}),
        clickhouse=_store(settings, state, breakers, typed=typed) if store else None,
        cache_dir=Path(state.cache),
        index_dir=Path(state.cache),
        prices=_own_prices(settings),
    )


def _store(settings: Settings, state: StateDir, breakers: Breakers | None, *, typed: bool) -> ClickHouse:
    from cc.resources.breakers import Breakers
    from cc.usage.clickhouse import ClickHouse

    shared = breakers or Breakers(state.path)
    return ClickHouse(
        store_urls(settings),
        settings.clickhouse_user,
        settings.clickhouse_password or _password(state.password),
        guard=lambda: shared.guarding(_breaker_name(settings), typed=typed),
    )


def store_urls(settings: Settings) -> tuple[str, ...]:
    """The stores to ask in turn: those that were set, else this stack's own container."""
    return settings.clickhouse_urls or (f"http://127.0.0.1:{settings.clickhouse_port}",)


def _breaker_name(settings: Settings) -> str:
    """This stack's own store goes by the name of its service: whoever sees that ready says so. Others by their URLs."""
    if not settings.clickhouse_urls:
        return "clickhouse"
    from cc.usage.clickhouse import without_password

    return "clickhouse at " + ", ".join(map(without_password, settings.clickhouse_urls))


def _password(path: str) -> str | None:
    from cc.resources.secret_file import read_secret

    try:
        return read_secret(path) or None
    except (Failure, OSError):
        return None  # the store then refuses, and says so


def _own_prices(settings: Settings) -> Path | None:
    path = Path(settings.home) / "prices.json"
    return path if path.exists() else None
