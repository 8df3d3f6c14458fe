"""Where this process's numbers come from: settings and environment -> usage.Sources, made anew for every read.

Anew, because the password appears when the containers first come up and may be replaced later, and a dashboard
outlives both. A store that is out of reach is not asked at every request: the page has a cache, and nobody typed it
(LADDERS.md, L12). Imports settings, resources and usage.
"""

from __future__ import annotations

import os
from datetime import datetime
from typing import TYPE_CHECKING

from cc.dashboard.views import Place
from cc.resources.breakers import Breakers
from cc.resources.state import StateDir
from cc.usage.clickhouse import without_password
from cc.usage.reader import read_usages
from cc.usage.sources import sources, store_urls

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cc.settings import Settings
    from cc.usage.model import Reading, UsageQuery


def now_local() -> datetime:
    """The wall clock with the machine's zone: for what is shown, and for what `7d` means."""
    return datetime.now().astimezone()


class EnvironmentSources:
    """The sources of one project on this machine."""

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        self._settings = settings
        self._environ = environ
        self._breakers = Breakers(StateDir(settings.home, settings.project).path)

    def read(self, queries: Sequence[UsageQuery]) -> tuple[Reading, ...]:
        """Answer these queries from one look at the sources. Raises ConfigError, Failure."""
        return read_usages(queries, sources(self._settings, self._environ, breakers=self._breakers, typed=False))

    def places(self) -> tuple[Place, ...]:
        """Where `read` looks, and what is there."""
        files = tuple(
            Place(str(root), "no session files in it" if os.path.isdir(root) else "does not exist")
            for root in sources(self._settings, self._environ).roots
        )
        urls = store_urls(self._settings)
        return (*files, *(Place(without_password(url), "ClickHouse, for telemetry") for url in urls))
