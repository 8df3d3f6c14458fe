"""How healthy a service is, and what is known of it (LADDERS.md, L10). A ladder that only reads:

    0  full check with metrics      healthy, or degraded when the service says so of itself
    1  ping answers                 degraded
    2  it exists and doesn't answer unhealthy
    3  nothing can be known         unknown

What failed above is kept as the reason. Each read is bounded (5 s a probe).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cc.clock import wall_time
from cc.errors import Failure
from cc.resources import http
from cc.resources.containers_gone import PROJECT_LABEL
from cc.resources.docker import Container, Docker
from cc.resources.port import read_port
from cc.resources.process_table import describe
from cc.services.dashboard import Running, find_dashboard
from cc.services.stack import BY_NAME, Service, Stack

PROBE_S = 5.0
STATES = {
    "created": "stopped",
    "dead": "fatal",
    "exited": "exited",
    "paused": "stopped",
    "removing": "stopping",
    "restarting": "starting",
    "running": "running",
}
"""Docker's states in the supervisor's words."""


@dataclass(frozen=True, slots=True)
class Health:
    """One service as `status` shows it (CLI.md, "JSON"). `uptime_s` in seconds; None where nothing can be known.

    `rung` is the rung of L10 that answered. A healthy service with a reason is less than its first choice all the same.
    """

    name: str
    kind: str
    state: str
    health: str
    reason: str = ""
    pid: int | None = None
    container: str | None = None
    port: int | None = None
    url: str | None = None
    uptime_s: float | None = None
    restarts: int | None = None
    rss_bytes: int | None = None
    rung: int = 0

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def read_health(stack: Stack, name: str) -> Health:
    """The health of one service, by the first rung that answers."""
    service = BY_NAME[name]
    return _process_health(stack, service) if service.container is None else _container_health(stack, service)


def _container_health(stack: Stack, service: Service) -> Health:
    name = stack.container_name(service)
    port: int = getattr(stack.settings, service.port)
    base: dict[str, Any] = {"name": service.name, "kind": service.kind, "container": name, "port": port, "restarts": 0}
    base["url"] = f"http://127.0.0.1:{port}"
    ready = f"http://127.0.0.1:{getattr(stack.settings, service.ready_port)}{service.ready}"
    try:
        container = Docker(stack.host()).container(name or "")
    except Failure as failure:
        return Health(**base, state="unknown", health="unknown", reason=failure.message, rung=3)
    if container is None:
        reason = "there is no such container" + _held(stack, port)
        return Health(**base, state="stopped", health="unknown", reason=reason, rung=3)
    if (whose := _stranger(stack, container)) is not None:
        reason = f"a container called {name} is there and belongs to {whose}" + _held(stack, port)
        return Health(**base, state="stopped", health="unknown", reason=reason, rung=3)
    base |= {"pid": container.pid, "uptime_s": _uptime(container), "state": STATES.get(container.state, "unknown")}
    if not container.running:
        return Health(**base, health="unhealthy", reason=container.describe() + _held(stack, port), rung=2)
    rung, reason = _answers(ready, container)
    return Health(**base, health=("healthy", "degraded", "unhealthy")[rung], reason=reason, rung=rung)


def _stranger(stack: Stack, container: Container) -> str | None:
    """Whose it is, None if it is ours: one of the same name says nothing of our service."""
    project, owner = container.labels.get(PROJECT_LABEL), container.labels.get("cc.owner")
    if project != stack.state.project:
        return f"project {project!r}" if project else "somebody else"
    if owner and owner != stack.state.owner:
        return f"another home, {container.labels.get('cc.home') or 'which it does not tell'}"
    return None


def _answers(ready: str, container: Container) -> tuple[int, str]:
    """Rungs 0 to 2 of a running container."""
    try:
        answer = http.get(ready, timeout=PROBE_S)
    except Failure as failure:
        return 2, failure.message
    if answer.status != 200:
        return 2, f"{ready} answers {answer.status}"
    if container.health == "unhealthy":
        return 1, f"{ready} answers, but the container's own check says unhealthy"
    return 0, ""


def _held(stack: Stack, number: int) -> str:
    """Who holds the port of a service that does not run: what the next `up` would stumble over. "" if nobody does."""
    fact = read_port("127.0.0.1", number, Docker(stack.host()).publisher)
    return "" if fact.free else f"; port {number} is held by {fact.held_by()}"


def _uptime(container: Container) -> float | None:
    """Seconds since it started. Docker tells nanoseconds, which Python's parser does not take before 3.11."""
    if not container.running or not container.started_at:
        return None
    try:
        started = datetime.fromisoformat(container.started_at[:19] + "+00:00")
    except ValueError:
        return None
    return round(max(0.0, wall_time() - started.timestamp()), 1)


def _process_health(stack: Stack, service: Service) -> Health:
    base: dict[str, Any] = {"name": service.name, "kind": service.kind, "restarts": 0}
    found = find_dashboard(stack.host())
    if found is None:
        reason = "it does not run" + _held(stack, stack.settings.dashboard_ports[0])
        return Health(**base, state="stopped", health="unknown", reason=reason, rung=3)
    told = describe(found.identity.pid)
    base |= {"pid": found.identity.pid, "port": found.port, "url": found.url}
    if told is not None:
        base |= {"uptime_s": round(told.uptime_s, 1), "rss_bytes": told.rss_bytes}
    trouble = found.answers(stack.state.owner)
    if trouble:
        return Health(**base, state="running", health="unhealthy", reason=trouble, rung=2)
    return Health(**base, state="running", health="healthy", reason=_less(stack, found))


def _less(stack: Stack, found: Running) -> str:
    """In what a dashboard that answers is less than the first rung of L4 gives, "" if in nothing."""
    first = stack.settings.dashboard_ports[0]
    less = [] if found.server == "gunicorn" else ["it runs on Flask's own server"]
    less += [] if found.port == first else [f"it runs on port {found.port}, not {first}"]
    return "; ".join(less)
