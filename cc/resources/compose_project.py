"""A compose file in one environment: what it says, and who can bring it about. What compose's two ways have in common.

compose_program   by `docker compose`, or the legacy program of its own name
compose_run       by `docker run`, where there is neither
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cc.engine.outcome import Fallback
from cc.engine.step import Context
from cc.errors import Failure
from cc.resources.containers_gone import PROJECT_LABEL
from cc.resources.docker import Container, Docker
from cc.resources.host import Host
from cc.resources.secret_file import read_secret

ONE_OFF_LABEL = "com.docker.compose.oneoff"
HASH_LABEL = "com.docker.compose.config-hash"
BY_RUN = "docker-run-"
"""How that label begins on a container that was made without compose."""


@dataclass(frozen=True, slots=True)
class Project(ABC):
    """One compose file as one project. What is read of it is read once in a run."""

    host: Host
    docker: Docker
    file: str
    name: str
    secrets: Mapping[str, str] = field(default_factory=dict)

    @abstractmethod
    def hashes(self) -> dict[str, str]:
        """A hash of each active service's configuration in this environment, by service."""

    @abstractmethod
    def services(self) -> dict[str, dict[str, Any]]:
        """The services as `docker compose config --format json` gives them."""

    @abstractmethod
    def is_as_described(self, container: Container, service: str) -> bool:
        """Whether it was made from what the file says now."""

    @abstractmethod
    def start(self, services: tuple[str, ...], context: Context) -> None:
        """Make and start what these services (all, for none) need, dependencies first. Raises Failure."""

    @abstractmethod
    def stop(self, services: tuple[str, ...], grace: float, context: Context) -> None:
        """Stop their containers; `grace` in seconds."""

    @abstractmethod
    def unpause(self, services: tuple[str, ...], context: Context) -> None:
        """Let paused containers of theirs go on."""

    @abstractmethod
    def remove(self, deadline: float) -> None:
        """Remove the containers and networks of the project, keeping its data."""

    def fallbacks(self) -> tuple[Fallback, ...]:
        """The ways below the first that were taken on the way."""
        return ()

    def require_file(self) -> None:
        """Raise Failure bad_config where there is no such file: compose would say so, after much else was done."""
        if not os.path.isfile(self.file):
            what = "is no file" if os.path.lexists(self.file) else "does not exist"
            raise Failure(f"the compose file {self.file} {what}", code="bad_config", hint=f"ls -l {self.file}")

    def secret_values(self) -> dict[str, str]:
        """What the secrets' files hold, by variable."""
        return {name: _read_secret(name, path) for name, path in self.secrets.items()}

    def require_secrets(self) -> None:
        """Raise Failure bad_config for a secret whose file holds nothing."""
        for name, value in self.secret_values().items():
            if not value:
                raise Failure(f"{name}: {self.secrets[name]} holds no secret", code="bad_config")

    def log_tail(self, name: str) -> tuple[str, ...]:
        """The last lines of a container, which knows the secrets and may have written them."""
        return self.docker.log_tail(name, secrets=tuple(filter(None, self.secret_values().values())))

    def containers(self) -> tuple[Container, ...]:
        """Those of services. What somebody runs by `docker compose run` is his own affair."""
        found = self.docker.containers({PROJECT_LABEL: self.name})
        return tuple(each for each in found if each.labels.get(ONE_OFF_LABEL) != "True")


def _read_secret(name: str, path: str) -> str:
    """What the file holds; "" while there is none, which no act may begin with (a plan does not make the file)."""
    try:
        return read_secret(path)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise Failure(f"{name}: cannot read {path}: {error.strerror}", code="bad_config") from error
