"""A compose file by compose itself: the plugin `docker compose`, then the legacy program `docker-compose`."""

from __future__ import annotations

import json
import re
from typing import Any

from cc.engine.outcome import Fallback
from cc.engine.step import Context
from cc.errors import Failure
from cc.resources.compose_project import HASH_LABEL, Project
from cc.resources.docker import Container

HASH = re.compile("[0-9a-f]+")
UP_S = 120.0


class ComposeProgram(Project):
    """One compose file in one environment, read and brought about by compose."""

    __slots__ = ()

    def run(self, *args: str, deadline: float | None = None) -> Any:
        """`docker compose ARGS`, or `docker-compose ARGS` where there is no plugin; a read without `deadline`."""
        words = ("-f", self.file, "-p", self.name, *args)
        secrets = self.secret_values()
        extra = {"environ": secrets, "deadline": deadline, "secrets": tuple(secrets.values())}
        if not self.host.memo.get("legacy compose"):
            try:
                return self.docker.cli("compose", *words, **extra)
            except Failure as failure:
                if failure.code != "tool_missing":
                    raise
                result = self._legacy(words, extra, failure)
                self.host.memo["legacy compose"] = True
                return result
        return self._legacy(words, extra, None)

    def _legacy(self, words: tuple[str, ...], extra: dict[str, Any], missing: Failure | None) -> Any:
        try:
            return self.docker.program("docker-compose", *words, **extra)
        except Failure as failure:
            if failure.code == "tool_missing" and missing is not None:
                raise missing from failure  # what the plugin's absence said is what the user can mend
            raise

    def fallbacks(self) -> tuple[Fallback, ...]:
        """That the program of compose's own name stood in for the plugin, if it did."""
        if not self.host.memo.get("legacy compose"):
            return ()
        return (Fallback("compose", 0, "docker compose is not installed; used docker-compose"),)

    def hashes(self) -> dict[str, str]:
        """Compose's own hash of each service's configuration in this environment."""
        key = ("compose hashes", self.file, self.name)
        if key not in self.host.memo:
            pairs = [line.split() for line in self.run("config", "--hash", "*").stdout.splitlines() if line.strip()]
            if any(len(pair) != 2 or not HASH.fullmatch(pair[1]) for pair in pairs):
                raise Failure("docker compose config did not answer with names and hashes", code="bad_answer")
            self.host.memo[key] = dict(pairs)
        found: dict[str, str] = self.host.memo[key]
        return found

    def services(self) -> dict[str, dict[str, Any]]:
        """The services as compose resolved them (`config --format json`)."""
        key = ("compose services", self.file, self.name)
        if key not in self.host.memo:
            text = self.run("config", "--format", "json").stdout
            try:
                self.host.memo[key] = json.loads(text)["services"]
            except (ValueError, KeyError, TypeError):
                raise Failure("docker compose config did not answer with JSON", code="bad_answer") from None
        found: dict[str, dict[str, Any]] = self.host.memo[key]
        return found

    def is_as_described(self, container: Container, service: str) -> bool:
        return container.labels.get(HASH_LABEL) == self.hashes()[service]

    def start(self, services: tuple[str, ...], context: Context) -> None:
        # Not --no-deps: it leaves `depends_on` out of the configuration, and so out of its hash.
        self.run("up", "-d", *services, deadline=context.left(UP_S))

    def stop(self, services: tuple[str, ...], grace: float, context: Context) -> None:
        self.run("stop", "--timeout", str(round(grace)), *services, deadline=context.left(grace * 2 + 30))

    def unpause(self, services: tuple[str, ...], context: Context) -> None:
        self.run("unpause", *services, deadline=context.left(UP_S))

    def remove(self, deadline: float) -> None:
        self.run("down", "--timeout", "2", deadline=deadline)
