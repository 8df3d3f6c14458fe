"""Proof that nothing of ours is left: no process that carries our mark, no container, no network and no port of the
project. The verb `leftovers`.

What is left is ended here (LADDERS.md, L5 rung 2: terminate, 5 s, kill), and what then still is there is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cc.clock import wall_time
from cc.engine.spec import VerbSpec
from cc.engine.step import Acted, Context, Probe
from cc.errors import Failure
from cc.resources.containers_gone import PORTS, PROJECT_LABEL, elsewhere, held_ports, port_numbers
from cc.resources.docker import Container, Docker
from cc.resources.host import Host, Verb
from cc.resources.port import read_port
from cc.resources.process_stop import find_ours, ours, stop_group
from cc.resources.process_table import ProcessFact, environment
from cc.services.dashboard import find_dashboard

GRACE_S = 5.0
SEAM = b"CC_SEAM="
PROXY = "docker-proxy"


def end_commands_of(owner: str, context: Context) -> int:
    """End the commands that a killed run of ours left at work; returns how many there were.

    Known by two marks: ours, and the seam's, which what is meant to stay (a dashboard) does not carry.
    """
    ended = 0
    for identity in find_ours(owner):
        if any(line.startswith(SEAM) for line in environment(identity.pid)):
            stop_group(identity, grace=GRACE_S, context=context)
            ended += 1
    return ended


@dataclass(frozen=True, slots=True)
class Remains:
    """What is there of ours. `unseen` is why containers can't be told of, None if they can; `ports` are sentences."""

    processes: tuple[ProcessFact, ...] = ()
    containers: tuple[Container, ...] = ()
    networks: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    unseen: Failure | None = None

    def __bool__(self) -> bool:
        return bool(self.processes or self.containers or self.networks or self.volumes or self.ports)

    def of_before(self, since: float) -> tuple[Remains, bool]:
        """Of it what was there then (seconds since 1970), and whether there is more: another run has begun meanwhile,
        and what it makes is no remainder. Networks and ports are made anew under the same names: they go with the rest.
        """
        now = wall_time()
        processes = tuple(fact for fact in self.processes if now - fact.uptime_s < since)
        containers = tuple(each for each in self.containers if (_started(each) or 0.0) < since)
        if len(processes) == len(self.processes) and len(containers) == len(self.containers):
            return self, False
        return Remains(processes, containers, unseen=self.unseen), True

    def words(self) -> tuple[str, ...]:
        """Each of them, by name."""
        return (
            *(f"{fact.program} (pid {fact.identity.pid})" for fact in self.processes),
            *(container.describe() for container in self.containers),
            *(f"network {name}" for name in self.networks),
            *(f"volume {name}" for name in self.volumes),
            *self.ports,
        )


def _started(container: Container) -> float | None:
    """When it was started, in seconds since 1970; None if it does not run or does not tell."""
    if not container.alive or not container.started_at:
        return None
    whole, _, fraction = container.started_at.rstrip("Z").partition(".")  # nanoseconds, without the zeros at their end
    try:
        return datetime.fromisoformat(f"{whole}+00:00").timestamp() + float(f"0.{fraction or 0}")
    except ValueError:
        return None


def remains(
    host: Host,
    ports: tuple[int, ...] = (),
    *,
    served: tuple[str, int] | None = None,
    volumes: bool = False,
    unseen: Failure | None = None,
) -> Remains:
    """What there is of ours now.

    `ports` are those that our containers publish: while the engine is out of reach and somebody holds one, it proves
    nothing; and one that Docker's proxy goes on holding for no container is ours. `served`: where our dashboard
    listened, which nobody else took meanwhile. `unseen`: why Docker is not to be asked (again).
    """
    processes = ours(host.owner)
    if unseen is not None:
        return Remains(processes, unseen=unseen)
    docker = Docker(host)
    labels = {PROJECT_LABEL: host.project}
    try:
        containers, networks = docker.containers(labels), tuple(docker.names("network", labels))
        kept_data = tuple(docker.names("volume", labels)) if volumes else ()
    except Failure as failure:
        # No daemon, no containers, unless somebody holds their ports. One that is silent may still run some: the
        # step of the containers says so.
        held = held_ports(ports) if failure.code == "daemon_down" else ""
        return Remains(processes, ports=(elsewhere(held, failure).message,) if held else (), unseen=failure)
    kept = [_kept_by_proxy(docker, number) for number in ports] if not containers else []
    if served is not None and not (fact := read_port(*served, docker.publisher)).free:
        kept.append(f"port {fact.port}, the dashboard's, is still held by {fact.held_by()}")
    return Remains(processes, tuple(containers), networks, kept_data, tuple(filter(None, kept)))


def _kept_by_proxy(docker: Docker, number: int) -> str:
    """A proxy of Docker's that outlived its container, "" if there is none."""
    fact = read_port("127.0.0.1", number)
    if fact.free or docker.publisher(number) or not any(owner.program == PROXY for owner in fact.owners):
        return ""
    return f"port {number} is still held by {fact.held_by()}"


class Leftovers:
    """Nothing of ours is left."""

    probed = True
    name = "leftovers"

    def __init__(self, host: Host, args: Mapping[str, Any]) -> None:
        self._host = host
        self._ports = port_numbers(args)
        running = find_dashboard(host)
        self._served = None if running is None else (running.host, running.port)

    def probe(self, context: Context) -> Probe:
        found = remains(self._host, self._ports, served=self._served)
        if found:
            return Probe(False, "left: " + "; ".join(found.words()), found.words())
        unseen = "" if found.unseen is None else f"containers not looked at: {found.unseen.message}"
        return Probe(True, unseen or "nothing of ours is left", ())

    def check(self, context: Context, before: Probe) -> None:
        pass

    def act(self, context: Context, before: Probe) -> Acted:
        for identity in find_ours(self._host.owner):
            stop_group(identity, grace=GRACE_S, context=context)
        return Acted("what was left of ours was ended")


VERB = Verb(VerbSpec("leftovers", (PORTS,), "proof that nothing of ours is left"), Leftovers)
