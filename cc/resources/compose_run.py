"""A compose file by `docker run`, where there is no compose (LADDERS.md, L3 rung 1).

The file is read by compose_file.py, each service said in words of `docker run` (run_words.py), with compose's labels
on containers, networks and volumes: without them a compose that comes back fails on their names. The label for its hash
of the configuration holds one of ours, which no hash of compose's equals: so it makes the containers anew, from volumes
that stay. A container that compose made before it went is left as it is while image, environment and ports are right.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

from cc import __version__
from cc.engine.step import Context
from cc.engine.waiting import wait_for
from cc.errors import Failure
from cc.resources.compose_project import BY_RUN, HASH_LABEL, ONE_OFF_LABEL, Project
from cc.resources.containers_gone import PROJECT_LABEL
from cc.resources.docker import STOP_GRACE_S, Container
from cc.resources.go_duration import seconds
from cc.resources.run_words import network_words, refuse_unknown, words

ACT_S = 60.0
DEPENDENCY_S = 120.0
LABEL = "com.docker.compose."
NO_NETWORK = ("none", "host")


class DockerRun(Project):
    """One compose file in one environment, read by ourselves and brought about by the docker CLI."""

    __slots__ = ()

    def hashes(self) -> dict[str, str]:
        return {name: self._hash(name) for name in self.services()}

    def _hash(self, service: str) -> str:
        model = self._model()
        used = {kind: model.get(kind) for kind in ("networks", "volumes")}
        told = json.dumps([model["services"][service], used], sort_keys=True)
        return BY_RUN + hashlib.sha256(told.encode()).hexdigest()[:32]

    def services(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = self._model()["services"]
        return found

    def _model(self) -> dict[str, Any]:
        """The file, resolved. Raises Failure tool_missing without docker, bad_config for what can't be done."""
        key = ("compose file", self.file, self.name)
        if key not in self.host.memo:
            self.docker.require_program()
            from cc.resources.compose_file import read  # 21 ms, which only who has no compose shall wait

            environ = {**self.host.environ, **self.secret_values()}
            model = read(self.file, environ, self.name)
            for name, service in model["services"].items():
                refuse_unknown(name, service)
            self.host.memo[key] = model
        found: dict[str, Any] = self.host.memo[key]
        return found

    def is_as_described(self, container: Container, service: str) -> bool:
        label = container.labels.get(HASH_LABEL, "")
        if label.startswith(BY_RUN):
            return label == self._hash(service)
        said = self.services()[service]
        environ = _environment(said)
        right = container.image == said["image"] and environ.items() <= container.environ.items()
        return right and (not container.running or _published(said) <= _bound(container))

    def start(self, services: tuple[str, ...], context: Context) -> None:
        for service in self._in_order(services or tuple(self.services())):
            self._await_dependencies(service, context)
            self._ensure(service, context)

    def stop(self, services: tuple[str, ...], grace: float, context: Context) -> None:
        running = [each.id for each in self.containers() if each.alive and (not services or each.service in services)]
        if running:
            within = context.left(grace * len(running) + 20)
            self.docker.cli("stop", "-t", str(round(grace)), *running, deadline=within)

    def unpause(self, services: tuple[str, ...], context: Context) -> None:
        for each in self.containers():
            if each.state == "paused" and (not services or each.service in services):
                self.docker.cli("unpause", each.id, deadline=context.left(ACT_S))

    def remove(self, deadline: float) -> None:
        there = [each.id for each in self.containers()]
        if there:
            self.docker.cli("rm", "-f", *there, deadline=deadline)
        for name in self.docker.names("network", {PROJECT_LABEL: self.name}):
            self.docker.cli("network", "rm", name, deadline=deadline)

    def _in_order(self, wanted: tuple[str, ...]) -> list[str]:
        """These and what they depend on, dependencies first. A circle was refused when the file was read."""
        ordered: dict[str, None] = {}

        def visit(name: str) -> None:
            if name not in ordered:
                for each in self.services()[name].get("depends_on") or {}:
                    if each in self.services():
                        visit(each)
                ordered[name] = None

        for name in wanted:
            visit(name)
        return list(ordered)

    def _own(self, service: str) -> Container | None:
        found = sorted(self.containers(), key=lambda each: not each.running)
        return next((each for each in found if each.service == service), None)

    def _await_dependencies(self, service: str, context: Context) -> None:
        for name, said in (self.services()[service].get("depends_on") or {}).items():
            condition = said.get("condition") or "service_started"
            if name in self.services() and condition != "service_started":
                self._await(name, condition, context)

    def _await(self, name: str, condition: str, context: Context) -> None:
        def look() -> str | None:
            found = self._own(name)
            if found is None:
                return f"{name} has no container any more"
            if condition == "service_healthy":
                if not found.health and found.running:
                    return f"{found.name} has no health check, and somebody depends on its health"
                wrong = found.health == "unhealthy" or not found.alive
                return "" if found.health == "healthy" else found.describe() if wrong else None
            if found.alive:
                return None
            return "" if found.exit_code == 0 else found.describe()

        why = wait_for(context, f"{name} ({condition.removeprefix('service_')})", look, within=DEPENDENCY_S)
        if why != "":
            said = why or f"not within {DEPENDENCY_S:g} s"
            found = self._own(name)
            evidence = self.log_tail(found.name) if found is not None else ()
            raise Failure(f"dependency failed to start: {said}", code="unhealthy", evidence=evidence)

    def _ensure(self, service: str, context: Context) -> None:
        found = self._own(service)
        if found is not None and self.is_as_described(found, service) and self._same_image(found):
            if not found.running:
                self.docker.cli("start", found.id, deadline=context.left(ACT_S))
            return
        kept = {} if found is None else self._anonymous(found, service)
        if found is not None:
            grace = _grace(self.services()[service])
            self.docker.cli("stop", "-t", str(round(grace)), found.id, deadline=context.left(grace + 20))
            self.docker.cli("rm", "-f", found.id, deadline=context.left(ACT_S))
        for network in self._networks(service):
            self._make("network", network, context)
        for mount in self.services()[service].get("volumes") or ():
            if mount["type"] == "volume" and mount.get("source"):
                self._make("volume", mount["source"], context)
        self._run(service, kept, context)

    def _same_image(self, found: Container) -> bool:
        return self.docker.image_id(found.image) in (None, found.image_id)

    def _anonymous(self, found: Container, service: str) -> dict[str, str]:
        """The volumes without a name that hold this container's data, by where they are mounted: as with compose they
        go on to the one that takes its place."""
        named = {mount["target"] for mount in self.services()[service].get("volumes") or () if mount.get("source")}
        return {target: volume for volume, target in found.volumes.items() if target not in named}

    def _networks(self, service: str) -> list[str]:
        """By its key in the file, the one with the highest priority first."""
        said = self.services()[service]
        if said.get("network_mode"):
            return []
        attached = said.get("networks") or {}
        return sorted(attached, key=lambda name: -int((attached[name] or {}).get("priority") or 0))

    def _make(self, kind: str, key: str, context: Context) -> None:
        """A network or a volume, if there is none. Raises Failure for one of that name which is another's."""
        said = (self._model().get(f"{kind}s") or {}).get(key) or {}
        name = self._real_name(kind, key)
        labels = self.docker.labels(kind, name)
        if said.get("external"):
            if labels is None:
                raise Failure(f"{kind} {name} is external and does not exist", code="bad_config")
            return
        if labels is not None:
            whose = labels.get(PROJECT_LABEL)
            if kind == "network" and whose != self.name:
                theirs = f"project {whose!r}" if whose else "somebody else"
                raise Failure(
                    f"a network called {name} exists and belongs to {theirs}", code="not_ours",
                    hint=f"docker network rm {name}   # if you don't need it",
                )  # fmt: skip
            return
        own = {PROJECT_LABEL: self.name, f"{LABEL}version": __version__, f"{LABEL}{kind}": key}
        self.docker.cli(kind, "create", *_made_words(kind, said, own), name, deadline=context.left(ACT_S))

    def _run(self, service: str, kept: Mapping[str, str], context: Context) -> None:
        said = self.services()[service]
        name = said.get("container_name") or f"{self.name}-{service}-1"
        secrets = self.secret_values()
        environment = _environment(said)
        hidden = {key: value for key, value in environment.items() if value and value in secrets.values()}
        # A name that docker itself reads stays a word of its own.
        hidden = {key: value for key, value in hidden.items() if key not in self.host.environ}
        mounts = [self._with_real_name(mount) for mount in said.get("volumes") or () if mount["target"] not in kept]
        mounts += [{"type": "volume", "source": volume, "target": target} for target, volume in kept.items()]
        named = {**said, "volumes": mounts}
        flags = words(named, environment=environment, labels=self._labels(service), by_name=frozenset(hidden))
        mode, *more = self._attachments(service, name)
        begin = ("run", "-d") if not more else ("create",)
        given = {"deadline": context.left(ACT_S), "environ": hidden, "secrets": tuple(secrets.values())}
        self.docker.cli(*begin, "--pull", "never", "--name", name, *mode, *flags, **given)
        for attachment in more:
            self.docker.cli("network", "connect", *attachment, name, deadline=context.left(ACT_S))
        if more:
            self.docker.cli("start", name, deadline=context.left(ACT_S))

    def _with_real_name(self, mount: Mapping[str, Any]) -> Mapping[str, Any]:
        """In a compose file volumes go by their key; to Docker, by the name that holds the project's data."""
        if mount["type"] != "volume" or not mount.get("source"):
            return mount
        return {**mount, "source": self._real_name("volume", mount["source"])}

    def _real_name(self, kind: str, key: str) -> str:
        said = (self._model().get(f"{kind}s") or {}).get(key) or {}
        return str(said.get("name") or f"{self.name}_{key}")

    def _attachments(self, service: str, container: str) -> list[list[str]]:
        """The flags of `docker run` for the first network; for each further one those of `docker network connect`."""
        said = self.services()[service]
        mode = said.get("network_mode")
        if mode:
            other = str(mode).removeprefix("service:")
            if other != mode:
                found = self._own(other)
                mode = f"container:{found.id if found is not None else other}"
            return [["--network", str(mode)]]
        names, attached = (container, service), said.get("networks") or {}
        attachments = [
            network_words(self._real_name("network", key), attached[key], names) for key in self._networks(service)
        ]
        if not attachments:
            return [["--network", "none"]]
        first = ["--network-alias" if word == "--alias" else word for word in attachments[0][:-1]]
        return [["--network", attachments[0][-1], *first], *attachments[1:]]

    def _labels(self, service: str) -> dict[str, str]:
        """Those that compose knows its containers by."""
        said = self.services()[service]
        awaited = (said.get("depends_on") or {}).items()
        depends = (f"{name}:{each.get('condition')}:{str(bool(each.get('restart'))).lower()}" for name, each in awaited)
        return {
            HASH_LABEL: self._hash(service),
            f"{LABEL}container-number": "1",
            f"{LABEL}depends_on": ",".join(depends),
            f"{LABEL}image": self.docker.image_id(said["image"]) or "",
            ONE_OFF_LABEL: "False",
            PROJECT_LABEL: self.name,
            f"{LABEL}project.config_files": self.file,
            f"{LABEL}project.working_dir": os.path.dirname(self.file),
            f"{LABEL}service": service,
            f"{LABEL}version": __version__,
        }


def _grace(said: Mapping[str, Any]) -> float:
    return seconds(said["stop_grace_period"]) if said.get("stop_grace_period") else STOP_GRACE_S


def _environment(said: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in (said.get("environment") or {}).items() if value is not None}


def _published(said: Mapping[str, Any]) -> set[tuple[str, int]]:
    """Inside and outside of what it publishes on a port of its own choice."""
    found = said.get("ports") or ()
    return {
        (f"{port['target']}/{port.get('protocol') or 'tcp'}", int(port["published"]))
        for port in found
        if str(port.get("published") or "").isdecimal()
    }


def _bound(container: Container) -> set[tuple[str, int]]:
    return {(inside, outside) for inside, (_, outside) in container.ports.items()}


def _made_words(kind: str, said: Mapping[str, Any], labels: Mapping[str, str]) -> list[str]:
    """The flags of `docker network create` and `docker volume create`."""
    together = {**(said.get("labels") or {}), **labels}
    flags = [word for key, value in together.items() for word in ("--label", f"{key}={value}")]
    if said.get("driver"):
        flags += ["--driver", said["driver"]]
    for key, value in (said.get("driver_opts") or {}).items():
        flags += ["--opt", f"{key}={value}"]
    if kind == "network":
        for key, flag in (("internal", "--internal"), ("attachable", "--attachable"), ("enable_ipv6", "--ipv6")):
            flags += [flag] if said.get(key) else []
        for pool in (said.get("ipam") or {}).get("config") or ():
            for key, flag in (("subnet", "--subnet"), ("gateway", "--gateway"), ("ip_range", "--ip-range")):
                flags += [flag, pool[key]] if pool.get(key) else []
    return flags
