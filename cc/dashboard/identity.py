"""Who answers on this port: what /healthz says, so that whoever started a dashboard knows its own from a stranger's.

    CC_OWNER              <project>:<id>, the marker on all that a project's runs start
    CC_DASHBOARD_BOUND    host:port that the server listens on
    CC_DASHBOARD_SERVER   gunicorn | flask

Pure. Imports only leaves.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cc import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

SERVICE = "context-cleaner-dashboard"


@dataclass(frozen=True, slots=True)
class Identity:
    """`owner`, `bound` and `server` are None where nobody said: what a person started by hand is not ours."""

    project: str
    owner: str | None = None
    bound: str | None = None
    server: str | None = None

    @property
    def bound_host(self) -> str | None:
        """The host of `bound`, without the brackets of an IPv6 address."""
        if self.bound is None:
            return None
        host, colon, _ = self.bound.rpartition(":")
        return (host if colon else self.bound).strip("[]").lower()

    def as_dict(self) -> dict[str, Any]:
        """The document of /healthz. `pid` is the process that answers: under gunicorn a worker, not the master."""
        return {
            "service": SERVICE,
            "owner": self.owner,
            "project": self.project,
            "version": __version__,
            "server": self.server,
            "bound": self.bound,
            "pid": os.getpid(),
        }


def identity(environ: Mapping[str, str], project: str) -> Identity:
    """The identity that the environment gives; `project` is the settings', for when there is no marker."""
    owner = environ.get("CC_OWNER") or None
    return Identity(
        project=owner.rpartition(":")[0] if owner and ":" in owner else project,
        owner=owner,
        bound=environ.get("CC_DASHBOARD_BOUND") or None,
        server=environ.get("CC_DASHBOARD_SERVER") or None,
    )
