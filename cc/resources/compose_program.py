"""A compose file by compose itself: the plugin `docker compose`, then the legacy program `docker-compose`."""

from __future__ import annotations

import json
import re
from typing import Any

from cc.engine.outcome import Fallback
from cc.engine.step import Context
from cc.errors import Failure, ToolMissing
from cc.resources import compose_legacy
from cc.resources.compose_project import HASH_LABEL, Project
from cc.resources.docker import Container

HASH = re.compile("[0-9a-f]+")
UP_S = 120.0
NO_PLUGIN = "why there is no docker compose"


class ComposeProgram(Project):
    """One compose file in one environment, read and brought about by compose."""

    __slots__ = ()

    def run(self, *args: str, deadline: float | None = None) -> Any:
        """`docker compose ARGS`, or `docker-compose ARGS` where there is no plugin; a read without `deadline`."""
        secrets = self.secret_values()
        options = {"environ": secrets, "deadline": deadline, "secrets": tuple(secrets.values())}
        if self._instead():
            return compose_legacy.run(self, args, options)
        try:
            return self.docker.cli("compose", "-f", self.file, "-p", self.name, *args, **options)
        except Failure as missing:
            if missing.code != "tool_missing":
                raise
            result = self._by_legacy(args, options, missing)
            self.host.memo[NO_PLUGIN] = missing.message
            return result

    def _by_legacy(self, args: tuple[str, ...], options: dict[str, Any], missing: Failure) -> Any:
        try:
            return compose_legacy.run(self, args, options)
        except Failure as neither:
            if neither.code != "tool_missing":
                raise
            if "is not installed" in neither.message:
                raise missing from neither  # what the plugin's absence said is what the user can mend
            raise ToolMissing(
                f"{missing.message}; {neither.message}", hint=missing.hint, evidence=neither.evidence
            ) from neither

    def _instead(self) -> str:
        """Why the program of compose's own name is used in place of the plugin, "" where it isn't."""
        return str(self.host.memo.get(NO_PLUGIN) or "")

    def fallbacks(self) -> tuple[Fallback, ...]:
        """That the program of compose's own name stood in for the plugin, if it did."""
        why = self._instead()
        return (Fallback("compose", 0, f"{why}; used docker-compose"),) if why else ()

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
        """The services as compose resolved them."""
        key = ("compose services", self.file, self.name)
        if key not in self.host.memo:
            active = frozenset(self.hashes())  # which also finds out who answers
            if self._instead():
                self.host.memo[key] = compose_legacy.services(self, active)
            else:
                self.host.memo[key] = _services(self.run("config", "--format", "json").stdout)
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


def _services(text: str) -> dict[str, dict[str, Any]]:
    try:
        found: dict[str, dict[str, Any]] = json.loads(text)["services"]
    except (ValueError, KeyError, TypeError):
        raise Failure("docker compose config did not answer with JSON", code="bad_answer") from None
    return found
