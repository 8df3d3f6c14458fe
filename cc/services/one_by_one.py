"""The stack's services one at a time, from a table in the program: for when a playbook of its own is of no use.

L1 rung 2 of LADDERS.md: its own command, the docker CLI, the pid. The steps have the names of the playbooks' steps, so
that flags, the watchdog and `status` mean the same by them.

    up       password -> clickhouse -> collector: docker compose, else `docker start` of what was made once
             dashboard: gunicorn, Flask's own server, another port
    restart  the same, made to begin anew
    down     dashboard -> collector -> clickhouse (docker stop, kill) -> networks and volumes -> leftovers
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from cc.engine.ladder import Ladder, Rung
from cc.engine.runner import Step
from cc.engine.step import Acted, Action, Context, Probe
from cc.errors import Failure
from cc.resources import compose, containers_gone
from cc.resources.container import OWNER_LABEL
from cc.resources.docker import Container, Docker
from cc.resources.host import Host, Verb
from cc.resources.readiness import await_ready, why_not_ready
from cc.services import dashboard, leftovers, secret
from cc.services.selection import PASSWORD_STEP
from cc.services.stack import BY_NAME, SERVICES, Service, Stack

ACT_S = 60.0
WITHIN_S = {"clickhouse": 60.0, "collector": 30.0}
NO_DOCKER = frozenset({"tool_missing", "daemon_down"})
DOCKER_UNASKED = frozenset({"daemon_hung", "permission_denied", "breaker_open"})
"""Enough to start without it; what was to be restarted may still run, and that has failed."""
NO_COMPOSE = frozenset({"tool_missing", "bad_config", "bad_answer", "non_zero_exit"})
LESS = frozenset({"image_missing", "port_in_use"})


def steps(stack: Stack, command: str, services: Collection[str], *, volumes: bool, wait: bool) -> list[Step]:
    """The steps of `up`, `down` or `restart` for these services."""
    host = stack.host(wait=wait)
    if command == "down":
        return _down(stack, host, services, volumes=volumes)
    return _up(stack, host, again=command == "restart")


class Started:
    """The container that was made for a service earlier runs and answers. Makes none: what from is compose's to say."""

    probed = True
    name = "docker start"

    def __init__(self, host: Host, container: str, ready: str, within: float) -> None:
        self._host = host
        self._docker = Docker(host)
        self._container, self._ready, self._within = container, ready if host.wait else None, within

    def probe(self, context: Context) -> Probe:
        found = self._found()
        if found is None:
            return Probe(False, f"there is no container {self._container}", ())
        unready = why_not_ready(found, self._ready)
        return Probe(not unready, unready or f"{found.name} running", (found.id, found.state, found.started_at))

    def _found(self) -> Container | None:
        return self._docker.container(self._container)

    def check(self, context: Context, before: Probe) -> None:
        found = self._found()
        if found is None:
            raise Failure(f"there is no container {self._container} that could be started", code="not_satisfied")
        if found.labels.get(OWNER_LABEL) != self._host.owner:
            raise Failure(f"a container called {self._container} exists and is not ours", code="not_ours")

    def act(self, context: Context, before: Probe) -> Acted:
        self._docker.cli("start", self._container, deadline=context.left(ACT_S))
        await_ready(
            context, self._docker.log_tail, lambda: {self._container: self._found()},
            url=self._ready, within=self._within,
        )  # fmt: skip
        return Acted("by docker start")


def _up(stack: Stack, host: Host, *, again: bool) -> list[Step]:
    settings = stack.settings
    made = [Step(PASSWORD_STEP, _password(stack, host))]
    first = PASSWORD_STEP
    for service in SERVICES:
        if service.container is not None:
            needs, requires = ((first,), ()) if again or first == PASSWORD_STEP else ((), (first,))
            made.append(Step(service.name, _container(stack, host, service, again=again), needs, requires))
            first = service.name
    one, every = (settings.dashboard_ports[0],) * 2, settings.dashboard_ports
    state = "restarted" if again else "running"
    ways: Sequence[tuple[str, tuple[int, int], set[str]]] = (
        ("gunicorn", one, set()),
        ("flask", one, {"tool_missing"}),
        ("any", every, {"port_in_use"}),
    )
    rungs = [
        _rung(dashboard.VERB, host, {"state": state, "server": server, "ports": ports, "within": None}, codes)
        for server, ports, codes in ways
    ]
    rungs.append(_without("Dashboard unavailable", frozenset({"port_in_use", "tool_missing"})))
    made.append(Step("dashboard", Ladder(tuple(rungs))))
    return made


def _password(stack: Stack, host: Host) -> Action:
    container = stack.container_name(BY_NAME["clickhouse"])
    args = {"path": stack.state.password, "container": container, "variable": "CLICKHOUSE_PASSWORD"}
    return secret.verb(stack.settings.clickhouse_password).make(host, args)


def _container(stack: Stack, host: Host, service: Service, *, again: bool) -> Ladder:
    ready = f"http://127.0.0.1:{getattr(stack.settings, service.ready_port)}{service.ready}"
    within = WITHIN_S[service.name]
    by_compose = {
        "file": "docker-compose.yml", "services": (service.name,), "state": "restarted" if again else "up",
        "ready": ready, "within": within, "secrets": {"CC_CLICKHOUSE_PASSWORD": stack.state.password},
    }  # fmt: skip
    started = Started(host, stack.container_name(service) or "", ready, within)
    return Ladder(
        (
            _rung(compose.VERB, host, by_compose, set()),
            Rung(started.name, started, when_failed=NO_COMPOSE, lesser=False),
            _without(
                "Docker unavailable, using file-based analytics", NO_DOCKER if again else NO_DOCKER | DOCKER_UNASKED
            ),
            _without(f"{service.name} unavailable", LESS),
        )
    )


def _down(stack: Stack, host: Host, services: Collection[str], *, volumes: bool) -> list[Step]:
    made = [Step("dashboard", dashboard.VERB.make(host, {"state": "stopped"}))]
    told = {"ports": tuple(map(str, stack.published_ports()))}
    for service in reversed(SERVICES):
        if service.container is not None:
            args = told | {"services": (service.name,)}
            made.append(Step(service.name, _gone(host, args), (made[-1].name,), always=True))
    if len(set(services)) == len(BY_NAME):
        made.append(Step("containers", _gone(host, told | {"volumes": volumes}), (made[-1].name,), always=True))
        made.append(Step("leftovers", leftovers.VERB.make(host, told), (made[-1].name,), always=True))
    return made


def _gone(host: Host, args: dict[str, Any]) -> Ladder:
    ways: Mapping[str, Collection[str]] = {
        "stop": (),
        "kill": ("non_zero_exit", "deadline", "not_satisfied"),
        "accept": ("daemon_down", "tool_missing"),
    }
    verb = containers_gone.VERB
    return Ladder(tuple(_rung(verb, host, args | {"how": how}, codes, lesser=False) for how, codes in ways.items()))


def _rung(verb: Verb, host: Host, args: dict[str, Any], codes: Collection[str], *, lesser: bool = True) -> Rung:
    action = verb.make(host, args)
    return Rung(action.name, action, when_failed=frozenset(codes), lesser=lesser)


def _without(message: str, codes: frozenset[str]) -> Rung:
    return Rung("without", message=message, when_failed=codes)
