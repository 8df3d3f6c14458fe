"""Where this process's numbers come from: settings and environment -> usage.Sources, made anew for every read.

Anew, because the password appears when the containers first come up and may be replaced later, and a dashboard
outlives both. Imports settings, resources.state and usage.
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cc.dashboard.views import Place
from cc.resources.state import StateDir
from cc.usage import transcripts
from cc.usage.clickhouse import ClickHouse, without_password
from cc.usage.reader import Sources, read_usages

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
        self._state = StateDir(settings.home, settings.project)

    def read(self, queries: Sequence[UsageQuery]) -> tuple[Reading, ...]:
        """Answer these queries from one look at the sources. Raises ConfigError, Failure."""
        clickhouse = ClickHouse(self._urls, user=self._settings.clickhouse_user, password=self._password())
        sources = Sources(transcripts.roots(self._environ), clickhouse, Path(self._state.cache))
        return read_usages(queries, sources)

    def places(self) -> tuple[Place, ...]:
        """Where `read` looks, and what is there."""
        files = tuple(
            Place(str(root), "no session files in it" if os.path.isdir(root) else "does not exist")
            for root in transcripts.roots(self._environ)
        )
        return (*files, *(Place(without_password(url), "ClickHouse, for telemetry") for url in self._urls))

    @property
    def _urls(self) -> tuple[str, ...]:
        return self._settings.clickhouse_urls or (f"http://127.0.0.1:{self._settings.clickhouse_port}",)

    def _password(self) -> str:
        if self._settings.clickhouse_password is not None:
            return self._settings.clickhouse_password
        try:
            with open(self._state.password, encoding="utf-8") as file:
                return file.read().strip()
        except (OSError, ValueError):  # not made yet, or unreadable: ClickHouse will say that the password is wrong
            return ""
