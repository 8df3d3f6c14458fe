"""How healthy a service is, and what is known of it (LADDERS.md, L10). A ladder that only reads:

    0  full check with metrics      healthy, or degraded when the service says so of itself (vitals.py)
    1  ping answers                 degraded
    2  it exists and doesn't answer unhealthy
    3  nothing can be known         unknown

              the full check                     the ping
    clickhouse  a query as our own user            /ping answers 200
    collector   its health_check says available    its OTLP port answers HTTP at all
    dashboard   its /healthz says that it is ours  it answers HTTP at all, and is who listens there

What failed above is kept as the reason: a wrong password is `degraded`, and no reason to restart anything. Each read is
bounded: the engine 10 s, the full check 2 s, a ping 5 s.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from cc.clock import wall_time
from cc.errors import Failure
from cc.resources import http
from cc.resources.compose_project import BY_RUN, HASH_LABEL
from cc.resources.containers_gone import PROJECT_LABEL
from cc.resources.docker import Container, Docker
from cc.resources.port import read_port
from cc.resources.process_table import LINUX, describe, listeners
from cc.services import omitted, vitals
from cc.services.dashboard import Running, find_dashboard
from cc.services.stack import BY_NAME, Service, Stack
from cc.services.vitals import Vitals

PROBE_S = 5.0
ALL_S = 25.0
"""The longest that all services at once can take: each in its own thread, its probes one after the other."""
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


class Health(NamedTuple):
    """One service as `status` shows it (CLI.md, "JSON"). `uptime_s` in seconds; None where nothing can be known.

    `rung` is the rung of L10 that answered, `took_ms` the milliseconds until then, `metrics` what the full check told.
    A healthy service with a reason is less than its first choice all the same. `obstacle` is who holds a port that it
    needs and lacks, "" if nobody does; the reason says it too. `left_out` is by what the user chose to do without a
    service that does not run, "" if he did not: then it is not degraded.
    """

    name: str
    kind: str
    state: str
    health: str
    reason: str = ""
    pid: int | None = None
    container: str | None = None
    container_id: str | None = None
    port: int | None = None
    url: str | None = None
    uptime_s: float | None = None
    restarts: int | None = None
    rss_bytes: int | None = None
    rung: int = 0
    took_ms: float = 0.0
    metrics: Mapping[str, Any] = {}
    obstacle: str = ""
    left_out: str = ""

    @property
    def degraded(self) -> bool:
        """It answers, and is less than it could be."""
        return self.health == "degraded" or (self.health == "healthy" and bool(self.reason))

    def as_dict(self) -> dict[str, Any]:
        return self._asdict()


def read_health(stack: Stack, name: str, *, brief: bool = False) -> Health:
    """The health of one service, by the first rung that answers.

    `brief`: whether it answers and not how well, without metrics. The watchdog, which asks all day, acts on no more.
    """
    service = BY_NAME[name]
    began = stack.clock.now()
    read = _process_health if service.container is None else _container_health
    found = read(stack, service, brief=brief)
    return found._replace(took_ms=round(1000 * (stack.clock.now() - began), 1))


def read_all(stack: Stack, names: Sequence[str] = tuple(BY_NAME), within: float = ALL_S) -> list[Health]:
    """The health of these services, asked at the same time; `unknown` for one of which nothing came in so many seconds.

    In threads that do not keep the process from ending: who is interrupted, or out of time, waits for none of them.
    """
    found: dict[str, Health | BaseException] = {}

    def look(name: str) -> None:
        try:
            found[name] = read_health(stack, name)
        except Exception as error:  # noqa: BLE001 - the edge of the thread: raised again where it is waited for
            found[name] = error

    threads = [threading.Thread(target=look, args=(name,), name=f"health-{name}", daemon=True) for name in names]
    for thread in threads:
        thread.start()
    end = stack.clock.now() + within
    for thread in threads:
        thread.join(max(0.0, end - stack.clock.now()))
    return [_came(found.get(name), name, within) for name in names]


def _came(found: Health | BaseException | None, name: str, within: float) -> Health:
    if isinstance(found, BaseException):
        raise found
    if found is not None:
        return found
    reason = f"nothing could be known within {within:g} s"
    return Health(name, BY_NAME[name].kind, "unknown", "unknown", reason, rung=3, took_ms=1000 * within)


def _container_health(stack: Stack, service: Service, *, brief: bool) -> Health:
    name = stack.container_name(service)
    port = stack.ports_of(service)[0]
    base: dict[str, Any] = {"name": service.name, "kind": service.kind, "container": name, "port": port, "restarts": 0}
    base["url"] = f"http://127.0.0.1:{port}"
    try:
        container = Docker(stack.host()).container(name or "")
    except Failure as failure:
        return _kept_away(stack, service, failure.message, **base, state="unknown", docker=False)
    if container is None:
        return _kept_away(stack, service, "there is no such container", **base, state="stopped")
    if (whose := stranger(stack, container)) is not None:
        reason = f"a container called {name} is there and belongs to {whose}"
        return _kept_away(stack, service, reason, **base, state="stopped")
    base |= {
        "container_id": container.id,
        "pid": container.pid,
        "uptime_s": _uptime(container),
        "state": STATES.get(container.state, "unknown"),
    }
    if not container.running:
        return _kept_away(stack, service, container.describe(), **base, health="unhealthy", rung=2)
    rung, reason, told = _answers(stack, service, container, brief=brief)
    if rung == 0 and container.labels.get(HASH_LABEL, "").startswith(BY_RUN):
        reason = "it runs by docker run, without compose; `up` hands it over once compose is there"
    if not brief:
        base |= {"rss_bytes": _rss(container), "metrics": dict(told.metrics)}
    return Health(**base, health=("healthy", "degraded", "unhealthy")[rung], reason=reason, rung=rung)


def stranger(stack: Stack, container: Container) -> str | None:
    """Whose this container is, None if it is ours: one of the same name says nothing of our service."""
    project, owner = container.labels.get(PROJECT_LABEL), container.labels.get("cc.owner")
    if project != stack.state.project:
        return f"project {project!r}" if project else "somebody else"
    if owner and owner != stack.state.owner:
        return f"another home, {container.labels.get('cc.home') or 'which it does not tell'}"
    return None


def _answers(stack: Stack, service: Service, container: Container, *, brief: bool) -> tuple[int, str, Vitals]:
    """Rungs 0 to 2 of a running container."""
    told = Vitals()
    try:
        told = (vitals.BRIEF if brief else vitals.FULL)[service.name](stack)
        less = told.less
    except Failure as failure:
        less = failure.message
    if less:
        ping = _ping(stack, service)
        if isinstance(ping, Failure):
            return 2, ping.message, told
        return 1, f"{ping}, but {less}", told
    if container.health == "unhealthy":
        return 1, "it answers, but the container's own check says unhealthy", told
    return 0, "", told


def _ping(stack: Stack, service: Service) -> str | Failure:
    """What answers below the full check, in words; or why nothing does."""
    if service.name == "collector":  # its own check has failed, so whether it takes telemetry at all
        return _answers_http(f"http://127.0.0.1:{stack.settings.otlp_http_port}/", "its OTLP port")
    url = f"http://127.0.0.1:{getattr(stack.settings, service.ready_port)}{service.ready}"
    try:
        answer = http.get(url, timeout=PROBE_S)
    except Failure as failure:
        return failure
    return f"{service.ready} answers" if answer.status == 200 else Failure(f"{url} answers {answer.status}")


def _answers_http(url: str, what: str) -> str | Failure:
    """`what` answers HTTP, with whatever status; or why it does not."""
    try:
        answer = http.get(url, timeout=PROBE_S)
    except Failure as failure:
        return failure
    return f"{what} answers ({answer.status})"


def _rss(container: Container) -> int | None:
    """Bytes of memory of its first process; None where that is another machine's (Docker in a virtual machine)."""
    try:
        if not LINUX or container.pid is None:
            return None
        with open(f"/proc/{container.pid}/cgroup", encoding="ascii", errors="replace") as file:
            if container.id not in file.read():
                return None
    except OSError:
        return None
    told = describe(container.pid)
    return None if told is None else told.rss_bytes


def _kept_away(
    stack: Stack,
    service: Service,
    why: str,
    *,
    docker: bool = True,
    health: str = "unknown",
    rung: int = 3,
    **base: Any,
) -> Health:
    """A service that does not run, and what the next `up` would stumble over. `docker`: whether it can be asked."""
    obstacle = "; ".join(filter(None, (_held(stack, port, docker=docker) for port in stack.ports_of(service))))
    reason = f"{why}; {obstacle}" if obstacle else why
    left = omitted.left_out(stack.state, service.name)
    return Health(**base, health=health, reason=reason, rung=rung, obstacle=obstacle, left_out=left)


def _held(stack: Stack, number: int, *, docker: bool = True) -> str:
    """Who holds this port, with his command line, "" if nobody does. `docker`: whether it can be asked."""
    try:
        fact = read_port("127.0.0.1", number, Docker(stack.host()).publisher if docker else None)
    except Failure:  # Docker's proxy holds it, and Docker can't say for whom
        fact = read_port("127.0.0.1", number)
    return "" if fact.free else f"port {number} is held by {fact.held_by(commands=True)}"


def _uptime(container: Container) -> float | None:
    """Seconds since it started. Docker tells nanoseconds, which Python's parser does not take before 3.11."""
    if not container.running or not container.started_at:
        return None
    try:
        started = datetime.fromisoformat(container.started_at[:19] + "+00:00")
    except ValueError:
        return None
    return round(max(0.0, wall_time() - started.timestamp()), 1)


def _process_health(stack: Stack, service: Service, *, brief: bool) -> Health:
    base: dict[str, Any] = {"name": service.name, "kind": service.kind, "restarts": 0}
    found = find_dashboard(stack.host())
    if found is None:
        return _kept_away(stack, service, "it does not run", **base, state="stopped")
    told = describe(found.identity.pid)
    base |= {"pid": found.identity.pid, "port": found.port, "url": found.url}
    if told is not None:
        base |= {"uptime_s": round(told.uptime_s, 1), "rss_bytes": told.rss_bytes}
    try:
        full = vitals.dashboard(found, stack.state.owner, brief=brief)
    except Failure as failure:
        rung, reason = _still_answers(found, failure)
        return Health(**base, state="running", health=("degraded", "unhealthy")[rung - 1], reason=reason, rung=rung)
    return Health(
        **base, state="running", health="healthy", reason=_less(stack, found, brief=brief), metrics=dict(full.metrics)
    )


def _still_answers(found: Running, failure: Failure) -> tuple[int, str]:
    """Rungs 1 and 2 of a dashboard whose /healthz failed. A stranger on its port is no answer of its own."""
    if not any(owner.pid == found.identity.pid for owner in listeners(found.port)):
        return 2, failure.message
    ping = _answers_http(f"{found.base}/ping", found.url)  # a page that is not there: none that reads data
    return (2, failure.message) if isinstance(ping, Failure) else (1, f"{ping}, but {failure.message}")


def _less(stack: Stack, found: Running, *, brief: bool) -> str:
    """In what a dashboard that answers is less than the first rung of L4 gives, "" if in nothing.

    `brief`: who holds its first port is not asked, for which Docker may have to be waited for.
    """
    first = stack.settings.dashboard_ports[0]
    less = [] if found.server == "gunicorn" else ["it runs on Flask's own server"]
    if found.port != first:
        held = "" if brief else _held(stack, first)
        less.append(f"it runs on port {found.port}, not {first}" + (f", and {held}" if held else ""))
    return "; ".join(less)
