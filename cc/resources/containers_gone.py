"""Containers of a compose project, gone: stopped or killed and removed one by one, without compose (LADDERS.md, L6).

The verb `containers_gone`, and the probe that all of L6's rungs share.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from cc.engine.spec import Field, VerbSpec
from cc.engine.step import Acted, Context, Probe
from cc.errors import ConfigError, Failure
from cc.resources.docker import STOP_GRACE_S, Docker
from cc.resources.host import Host, Verb
from cc.resources.port import read_port

PROJECT_LABEL = "com.docker.compose.project"


def service_names(args: Mapping[str, Any]) -> tuple[str, ...]:
    """The services named; a variable may bring several in one word, or none."""
    return tuple(name for given in args.get("services") or () for name in str(given).replace(",", " ").split())


def gone(docker: Docker, project: str, services: tuple[str, ...] = (), *, volumes: bool = False) -> Probe:
    """Is nothing of this project there? Satisfied, or what is."""
    labels = {PROJECT_LABEL: project}
    containers = [c for c in docker.containers(labels) if not services or c.service in services]
    left = [container.describe() for container in containers]
    answer: list[str] = [container.id + container.state for container in containers]
    if not services:
        kinds = ("network", "volume") if volumes else ("network",)
        for kind in kinds:
            names = docker.names(kind, labels)
            left += [f"{kind} {name}" for name in names]
            answer += names
    if left:
        return Probe(False, "; ".join(left), tuple(answer))
    return Probe(True, "Containers not running", tuple(answer))


@contextmanager
def naming_what_runs(docker: Docker, project: str, services: tuple[str, ...]) -> Iterator[None]:
    """What stops containers. If docker hangs while it does, the failure says what still is there, as far as it can."""
    try:
        yield
    except Failure as failure:
        if failure.code != "daemon_hung":
            raise
        try:
            left = gone(docker, project, services)
            still = "" if left.satisfied else f"; still there: {left.reason}"
        except Failure:
            still = "; what still runs cannot be told"
        raise Failure(
            failure.message + still, code="daemon_hung", evidence=failure.evidence,
            hint=failure.hint or "see why `docker version` does not answer, then run this again",
        ) from failure  # fmt: skip


PORTS = Field(
    "ports", "strings", doc="what they publish here: while one is held, an engine out of reach proves nothing"
)


def port_numbers(args: Mapping[str, Any]) -> tuple[int, ...]:
    """The ports named; a variable may bring several in one word. Raises ConfigError."""
    words = [word for given in args.get("ports") or () for word in str(given).replace(",", " ").split()]
    for word in words:
        if not word.isdecimal() or not 0 < int(word) < 65536:
            raise ConfigError(f"{word!r} is no port", field="ports")
    return tuple(int(word) for word in words)


def held_ports(numbers: tuple[int, ...]) -> str:
    """Those that somebody holds, by name and with the holder: "" if none.

    An engine that does not answer at one endpoint says nothing of another, whose containers would hold these.
    """
    facts = (read_port("127.0.0.1", number) for number in numbers)
    return "; ".join(f"port {fact.port} is held by {fact.held_by()}" for fact in facts if not fact.free)


def elsewhere(held: str, down: Failure) -> Failure:
    """The failure that an engine out of reach is while ports of ours are held."""
    return Failure(
        f"{down.message}, and yet {held}: containers may still run behind another Docker endpoint",
        code="not_satisfied",
        hint="unset DOCKER_HOST, or `docker context ls` and `docker context use`, then run this again",
    )


class Gone:
    """Containers of a project stopped (or killed) and removed one by one, networks too: without compose.

    `accept` stops nothing: it is satisfied where nothing runs, or where the daemon provably doesn't: nothing answers
    at its endpoint, and nobody holds the ports of the containers. A daemon that hangs proves nothing (LADDERS.md, L6
    rung 3).
    """

    probed = True

    def __init__(self, host: Host, args: Mapping[str, Any]) -> None:
        self._docker = Docker(host)
        self._project = args.get("project") or host.project
        self._how: str = args.get("how") or "stop"
        self._grace = round(float(args.get("timeout") or STOP_GRACE_S))
        self._services = service_names(args)
        self._volumes = bool(args.get("volumes"))
        self._ports = port_numbers(args)
        self.name = "accept" if self._how == "accept" else f"docker {self._how}"

    def probe(self, context: Context) -> Probe:
        try:
            return gone(self._docker, self._project, self._services, volumes=self._volumes)
        except Failure as failure:
            if self._how != "accept" or failure.code != "daemon_down":
                raise
            if held := held_ports(self._ports):
                raise elsewhere(held, failure) from failure
            return Probe(True, "Containers not running")

    def check(self, context: Context, before: Probe) -> None:
        if self._how == "accept":
            raise Failure(f"nothing could stop what still runs: {before.reason}", code="not_satisfied")

    def rehearse(self, context: Context) -> None:
        """Whether there is a docker (engine/plan.py)."""
        if self._how != "accept":
            self._docker.cli("--version")

    def act(self, context: Context, before: Probe) -> Acted:
        with naming_what_runs(self._docker, self._project, self._services):
            self._remove(context)
        data = ", and the stored data, too" if self._volumes else ""
        return Acted(f"{'stopped' if self._how == 'stop' else 'killed'} and removed by docker{data}")

    def _remove(self, context: Context) -> None:
        labels = {PROJECT_LABEL: self._project}
        found = [c for c in self._docker.containers(labels) if not self._services or c.service in self._services]
        running = [c.id for c in found if c.state not in ("exited", "created", "dead")]
        if running:
            grace = ("-t", str(self._grace)) if self._how == "stop" else ()
            self._docker.cli(self._how, *grace, *running, deadline=context.left(self._grace * len(running) + 20))
        if found:
            self._docker.cli("rm", "-f", *[c.id for c in found], deadline=context.left(30))
        if not self._services:
            for kind in ("network", "volume") if self._volumes else ("network",):
                for name in self._docker.names(kind, labels):
                    self._docker.cli(kind, "rm", name, deadline=context.left(20))


VERB = Verb(
    VerbSpec(
        "containers_gone",
        (
            Field("project", "string", doc="compose project; this run's own where it is left out"),
            Field("services", "strings", doc="only these"),
            Field(
                "how",
                "string",
                choices=("stop", "kill", "accept"),
                default="stop",
                doc="how; or accept that there are none",
            ),
            Field("timeout", "duration", default=STOP_GRACE_S, doc="grace of a stop, before the kill"),
            Field("volumes", "bool", default=False, doc="remove the named volumes and their data"),
            PORTS,
        ),
        "containers of a project stopped and removed one by one, without compose",
    ),
    Gone,
)
