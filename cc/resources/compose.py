"""Services of a compose file, up or down: by compose, or up by `docker run` where there is no compose.

up    ok when every service runs, was made from this file as it is now (by a hash of its configuration) and from the
      image that is here now, and answers (`ready`, or its own health check). Else: missing images are pulled, taken
      ports are named with their holder before anything is touched, `up -d`, wait for ready. What this act created and
      could not bring to ready is removed again, its last log lines kept; what was there before stays.
      A service that is meant to end (`completes`, or another waits for its success) is up once it ended with 0. One
      that says nothing of it, and has neither port, health check nor restart policy, may do so too: this `up` takes
      it, and as compose does the next one runs it again.
down  ok when no container and no network of the project is left.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from cc.engine.spec import Field, VerbSpec
from cc.engine.step import Acted, Action, Context, Probe
from cc.errors import CommandFailure, ConfigError, Failure, Interrupted
from cc.resources import port
from cc.resources.compose_program import ComposeProgram
from cc.resources.compose_project import Project
from cc.resources.compose_run import DockerRun
from cc.resources.containers_gone import PROJECT_LABEL, gone, naming_what_runs, service_names
from cc.resources.docker import STOP_GRACE_S, Container, Docker
from cc.resources.host import Host, Verb
from cc.resources.readiness import READY_S, await_ready, why_not_ready

ROLL_BACK_S = 30.0
COMPLETED = "service_completed_successfully"
COMPOSE, RUN = "docker compose", "docker run"


class Up:
    """The services run as the file says, and answer. `restarted`: and none of them is the one that ran before."""

    probed = True

    def __init__(self, project: Project, services: tuple[str, ...], args: Mapping[str, Any]) -> None:
        self._project = project
        self._wanted = services
        self._ready: str | None = args.get("ready")
        self._within: float = args.get("within") or READY_S
        self._wait = project.host.wait
        self._again = args["state"] == "restarted"
        self._completes = frozenset(args.get("completes") or ())
        self._before: frozenset[tuple[str, str]] | None = None
        self._old: frozenset[tuple[str, str]] | None = None  # what was there when the act began
        self.name = args.get("by") or COMPOSE

    def probe(self, context: Context) -> Probe:
        self._project.require_file()
        hashes = self._project.hashes()  # first: that docker or compose is missing explains more than a silent engine
        by_service = self._own()
        wanted = self._wanted or tuple(hashes)
        for service in (*wanted, *self._completes):
            if service not in hashes:
                raise self._unknown(service, hashes)
        if self._again and self._before is None:
            self._before = frozenset((c.id, c.started_at) for c in by_service.values() if c.running)
        reasons = [why for service in wanted if (why := self._unlike(by_service.get(service), service))]
        answer = tuple((c.id, c.state, c.started_at) for _, c in sorted(by_service.items()) if c.service in wanted)
        if reasons:
            return Probe(False, "; ".join(reasons), answer)
        if self._wait and (reason := self._unready(by_service, wanted)):
            return Probe(False, reason, answer)
        there = [by_service[service] for service in wanted]
        running = ", ".join(each.name for each in there if each.running)
        said = [running + (" running and ready" if self._wait else " running")] if running else []
        said += [each.describe() for each in there if not each.running]
        return Probe(True, "; ".join(said) or f"{self._project.file} has no service outside of profiles", answer)

    def _unknown(self, service: str, known: Iterable[str]) -> Failure:
        near = difflib.get_close_matches(service, known, 1)
        advice = f"did you mean {near[0]!r}? " if near else ""
        return Failure(
            f"{self._project.file} has no service {service!r}", code="bad_config",
            hint=f"{advice}services are {', '.join(known)}; those of a profile need it in COMPOSE_PROFILES",
        )  # fmt: skip

    def _own(self) -> dict[str, Container]:
        """By service; of several the one that is worst off."""
        found = sorted(self._project.containers(), key=lambda each: not each.running)
        return {container.service: container for container in found if container.service}

    def _finished(self, service: str, container: Container) -> bool | None:
        """True for one that has done its work; False for one that has yet to; None where it has to run."""
        if service in self._completes and container.running:
            return False
        if container.state != "exited" or container.exit_code != 0:
            return None
        return True if service in self._completes or self._may_end(service, container) else None

    def _may_end(self, service: str, container: Container) -> bool:
        services = self._project.services()
        for each in services.values():
            awaited = each.get("depends_on") or {}
            if isinstance(awaited, dict) and (awaited.get(service) or {}).get("condition") == COMPLETED:
                return True
        said = services.get(service) or {}
        serves = said.get("ports") or container.health or said.get("restart") in ("always", "unless-stopped")
        ended_in_this_act = self._old is not None and (container.id, container.started_at) not in self._old
        return ended_in_this_act and not serves

    def _unlike(self, container: Container | None, service: str) -> str | None:
        """Why this container is not what the file says, or None."""
        if container is None:
            return f"{service} has no container"
        finished = self._finished(service, container)
        if not container.running and not finished:
            return container.describe()
        if self._before and (container.id, container.started_at) in self._before:
            return f"{container.name} is to be restarted"
        if not self._project.is_as_described(container, service):
            return f"{container.name} was made from another configuration"
        here = self._project.docker.image_id(container.image)
        if here is not None and here != container.image_id:
            return f"{container.name} runs an older image than {container.image} is now"
        return f"{container.name} has not finished yet" if finished is False and self._wait else None

    def _unready(self, by_service: Mapping[str, Container], wanted: tuple[str, ...]) -> str:
        running = [by_service[service] for service in wanted if by_service[service].running]
        return next((why for each in running if (why := why_not_ready(each, self._ready))), "")

    def check(self, context: Context, before: Probe) -> None:
        own = self._own()
        services = self._project.services()
        for service in self._wanted or tuple(services):
            said = services[service]
            self._check_name(said.get("container_name"))
            there = own.get(service)
            if there is not None and there.alive:
                continue  # it holds its own ports
            for published in said.get("ports") or ():
                number = str(published.get("published") or "")  # a range such as 8000-8010 has no one port to ask
                if number.isdecimal() and int(number) and published.get("protocol", "tcp") == "tcp":
                    address = published.get("host_ip") or "0.0.0.0"  # noqa: S104 - what compose will bind
                    port.refuse_if_held(address, int(number), self._project.docker.publisher)

    def _check_name(self, name: str | None) -> None:
        other = self._project.docker.container(name) if name else None
        if other is not None and other.labels.get(PROJECT_LABEL) != self._project.name:
            project = other.labels.get(PROJECT_LABEL)
            whose = f"project {project!r}" if project else "somebody else"
            raise Failure(
                f"a container called {name} exists and belongs to {whose}",
                code="not_ours",
                hint=f"docker rm -f {name}   # if you don't need it, or set CC_PROJECT to another name",
            )

    def _missing_images(self) -> list[str]:
        services = self._project.services()
        named = {services[service].get("image") for service in self._wanted or tuple(services)}
        return [image for image in sorted(filter(None, named)) if self._project.docker.image_id(image) is None]

    def known_by_trying(self, context: Context) -> str:
        """What no probe can tell of the act: whether a registry gives what is not here (engine/plan.py)."""
        return ", ".join(f"whether image {image} can be pulled" for image in self._missing_images())

    def act(self, context: Context, before: Probe) -> Acted:
        self._project.require_secrets()
        there = self._project.containers()
        existed = {container.id for container in there}
        self._old = frozenset((container.id, container.started_at) for container in there)
        wanted = self._wanted or tuple(self._project.services())
        for image in self._missing_images():
            self._project.docker.pull(image, context)
        try:
            if self._again:
                self._project.stop(self._wanted, STOP_GRACE_S, context)
            if any(container.state == "paused" for container in there):
                self._project.unpause(self._wanted, context)  # `up` leaves it paused
            self._project.start(self._wanted, context)
            if self._wait:
                await_ready(
                    context, self._project.log_tail, lambda: self._named(wanted), url=self._ready, within=self._within,
                    finished=self._finished,
                )  # fmt: skip
        except Failure as failure:
            self._roll_back(existed, failure)
            raise
        return Acted(fallbacks=self._project.fallbacks())

    def _named(self, wanted: tuple[str, ...]) -> dict[str, Container | None]:
        own = self._own()
        return {service: own.get(service) for service in wanted}

    def _roll_back(self, existed: set[str], failure: Failure) -> None:
        """Remove what this act created. Its last words were taken before (`unhealthy`), or are taken now."""
        docker = Docker(self._project.host, despite_cancel=True)
        project = replace(self._project, docker=docker)
        try:
            created = [container for container in project.containers() if container.id not in existed]
            if isinstance(failure, CommandFailure) and not isinstance(failure, Interrupted):
                for container in created:
                    failure.evidence += project.log_tail(container.name)
            if not existed:
                project.remove(ROLL_BACK_S)
            elif created:
                docker.cli("rm", "-fv", *[container.id for container in created], deadline=ROLL_BACK_S)
        except Failure as trouble:
            failure.evidence += (f"what this run made could not be removed again: {trouble.message}",)


class Down:
    """Nothing of the project is left: no container, no network; with `volumes` no data either."""

    probed = True

    def __init__(self, project: ComposeProgram, services: tuple[str, ...], args: Mapping[str, Any]) -> None:
        self._project = project
        self._services = services
        self._timeout = float(args.get("timeout") or STOP_GRACE_S)
        self._volumes = bool(args.get("volumes"))
        self.name = "docker compose down" if not services else "docker compose rm"

    def probe(self, context: Context) -> Probe:
        return gone(self._project.docker, self._project.name, self._services, volumes=self._volumes)

    def check(self, context: Context, before: Probe) -> None:
        self._project.require_file()

    def rehearse(self, context: Context) -> None:
        """Whether there is a compose (engine/plan.py): a real `down` finds out as it goes."""
        self._project.hashes()

    def act(self, context: Context, before: Probe) -> Acted:
        with naming_what_runs(self._project.docker, self._project.name, self._services):
            self._stop(context)
        removed = "stopped, and the stored data removed," if self._volumes else "stopped"
        return Acted(f"{removed} by docker compose", fallbacks=self._project.fallbacks())

    def _stop(self, context: Context) -> None:
        grace = str(round(self._timeout))
        deadline = context.left(self._timeout * 2 + 30)
        if self._services:
            self._project.run("stop", "--timeout", grace, *self._services, deadline=deadline)
            self._project.run("rm", "-f", *self._services, deadline=deadline)
        else:
            flags = ("--volumes",) if self._volumes else ()
            self._project.run("down", "--timeout", grace, "--remove-orphans", *flags, deadline=deadline)


def _make(host: Host, args: Mapping[str, Any]) -> Action:
    secrets = {name: host.path(path) for name, path in (args.get("secrets") or {}).items()}
    about = (host, Docker(host), host.path(args["file"]), args.get("project") or host.project, secrets)
    services = service_names(args)
    if args["state"] == "down":
        if args.get("by") == RUN:
            raise ConfigError("state down has a verb of its own without compose: containers_gone", field="compose.by")
        return Down(ComposeProgram(*about), services, args)
    return Up(DockerRun(*about) if args.get("by") == RUN else ComposeProgram(*about), services, args)


VERB = Verb(
    VerbSpec(
        "compose",
        (
            Field("file", "path", default="docker-compose.yml", doc="the compose file"),
            Field("services", "strings", doc="only these; all of them where it is left out"),
            Field("state", "string", required=True, choices=("up", "restarted", "down"), doc="what to ensure"),
            Field("by", "string", choices=(COMPOSE, RUN), default=COMPOSE, doc="which program makes the containers"),
            Field("project", "string", doc="compose project; this run's own where it is left out"),
            Field("completes", "strings", doc="services that do their work and end with 0, such as a migration"),
            Field("ready", "string", doc="URL that must answer 200 before it counts as up"),
            Field("within", "duration", default=READY_S, doc="how long to wait for ready"),
            Field("timeout", "duration", default=STOP_GRACE_S, doc="grace of a stop, before the kill"),
            Field("volumes", "bool", default=False, doc="down: remove the named volumes and their data"),
            Field("secrets", "mapping", doc="environment variables whose values are read from files"),
        ),
        "services of a compose file",
    ),
    _make,
)
