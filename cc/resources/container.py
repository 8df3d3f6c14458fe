"""One container by `docker run`: running as described, stopped, or absent. The verb `container`.

What it was made from is a hash of the description in a label, so that another description makes another container and
the same one changes nothing. A container that does not carry our mark is a stranger's and never touched.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from cc.engine.spec import Field, VerbSpec
from cc.engine.step import Acted, Action, Context, Probe
from cc.errors import ConfigError, Failure
from cc.resources import port
from cc.resources.docker import STOP_GRACE_S, Container, Docker
from cc.resources.host import Host, Verb
from cc.resources.readiness import READY_S, await_ready, why_not_ready

OWNER_LABEL = "cc.owner"
SPEC_LABEL = "cc.spec"
ACT_S = 60.0
ROLL_BACK_S = 30.0


class _Named:
    """What the three states have in common: a name, and whose it is."""

    probed = True

    def __init__(self, host: Host, args: Mapping[str, Any]) -> None:
        self._host = host
        self._docker = Docker(host)
        self._args = args
        self._container: str = args["name"]
        self._grace: float = args.get("timeout") or STOP_GRACE_S
        self.name = f"container {self._container}"

    def _found(self) -> Container | None:
        return self._docker.container(self._container)

    def check(self, context: Context, before: Probe) -> None:
        found = self._found()
        if found is not None and found.labels.get(OWNER_LABEL) != self._host.owner:
            raise Failure(
                f"a container called {self._container} exists and is not ours",
                code="not_ours",
                hint=f"docker rm -f {self._container}   # if you don't need it",
            )


class RunningContainer(_Named):
    """It runs as described, and answers."""

    def probe(self, context: Context) -> Probe:
        found = self._found()
        if found is None:
            return Probe(False, f"there is no container {self._container}", ())
        answer = (found.id, found.state, found.started_at)
        if found.labels.get(SPEC_LABEL) != self._spec():
            return Probe(False, f"{found.name} was made from another description", answer)
        here = self._docker.image_id(found.image)
        if here is not None and here != found.image_id:
            return Probe(False, f"{found.name} runs an older image than {found.image} is now", answer)
        if not found.running:
            return Probe(False, found.describe(), answer)
        unready = self._unready(found)
        return Probe(not unready, unready or f"{found.name} running", answer)

    def _unready(self, found: Container) -> str:
        return why_not_ready(found, self._args.get("ready") if self._host.wait else None)

    def check(self, context: Context, before: Probe) -> None:
        super().check(context, before)
        found = self._found()
        if found is None or not found.alive:
            for published in self._args.get("ports") or ():
                address, number = _published(published)
                if number:
                    port.refuse_if_held(address, number, self._docker.publisher)

    def act(self, context: Context, before: Probe) -> Acted:
        image = self._args["image"]
        if self._docker.image_id(image) is None:
            self._docker.pull(image, context)
        found = self._found()
        try:
            if found is not None and found.labels.get(SPEC_LABEL) == self._spec() and self._same_image(found):
                again = "unpause" if found.state == "paused" else "start"
                self._docker.cli(again, found.id, deadline=context.left(ACT_S))
            else:
                if found is not None:
                    self._docker.cli("rm", "-f", found.id, deadline=context.left(ACT_S))
                self._docker.cli(*self._run_words(), deadline=context.left(ACT_S))
            url = self._args.get("ready") if self._host.wait else None
            within = self._args.get("within") or READY_S
            await_ready(
                context, self._docker.log_tail, lambda: {self._container: self._found()}, url=url, within=within
            )
        except Failure as failure:
            self._roll_back(found, failure)
            raise
        return Acted()

    def _roll_back(self, before: Container | None, failure: Failure) -> None:
        """Remove what this act created, also half-made or when it was cancelled; its last words are kept."""
        docker = Docker(self._host, despite_cancel=True)
        try:
            made = docker.container(self._container)
            if made is None or (before is not None and made.id == before.id):
                return
            if made.labels.get(OWNER_LABEL) == self._host.owner:
                failure.evidence = failure.evidence or docker.log_tail(made.name)
                docker.cli("rm", "-fv", made.id, deadline=ROLL_BACK_S)
        except Failure as trouble:
            failure.evidence += (f"what this run made could not be removed again: {trouble.message}",)

    def _same_image(self, found: Container) -> bool:
        return self._docker.image_id(found.image) in (None, found.image_id)

    def _run_words(self) -> list[str]:
        args = self._args
        words = ["run", "-d", "--name", self._container]
        words += ["--label", f"{OWNER_LABEL}={self._host.owner}", "--label", f"{SPEC_LABEL}={self._spec()}"]
        for published in args.get("ports") or ():
            words += ["-p", published]
        for volume in args.get("volumes") or ():
            words += ["-v", self._volume(volume)]
        for name, value in (args.get("env") or {}).items():
            words += ["-e", f"{name}={value}"]
        return [*words, args["image"], *(args.get("command") or ())]

    def _volume(self, given: str) -> str:
        """A path starts from the playbook's directory, as compose has it; a bare name is a volume."""
        source, colon, rest = given.partition(":")
        return f"{self._host.path(source)}{colon}{rest}" if source[:1] in ("/", ".", "~") else given

    def _spec(self) -> str:
        described = {key: self._args.get(key) for key in ("image", "ports", "volumes", "env", "command")}
        return hashlib.sha256(json.dumps(described, sort_keys=True, default=list).encode()).hexdigest()[:16]


class StoppedContainer(_Named):
    """It does not run; it may be there."""

    def probe(self, context: Context) -> Probe:
        found = self._found()
        if found is None or not found.alive:
            return Probe(True, f"{self._container} not running")
        return Probe(False, found.describe())

    def act(self, context: Context, before: Probe) -> Acted:
        grace = round(self._grace)
        self._docker.cli("stop", "-t", str(grace), self._container, deadline=context.left(grace + 20))
        return Acted()


class AbsentContainer(_Named):
    """It is not there."""

    def probe(self, context: Context) -> Probe:
        found = self._found()
        return Probe(found is None, f"there is no container {self._container}" if found is None else found.describe())

    def act(self, context: Context, before: Probe) -> Acted:
        grace = round(self._grace)
        self._docker.cli("stop", "-t", str(grace), self._container, deadline=context.left(grace + 20))
        self._docker.cli("rm", "-fv", self._container, deadline=context.left(ACT_S))  # its anonymous volumes too
        return Acted()


def _published(text: str) -> tuple[str, int | None]:
    """Address and TCP port that `[ADDRESS:][PORT:]CONTAINER_PORT` publishes; None for one that Docker picks."""
    outside, colon, inside = text.rpartition(":")
    if inside.endswith(("/udp", "/sctp")):
        return "", None
    address, _, number = outside.rpartition(":")
    return address.strip("[]") or "0.0.0.0", int(number) if colon and number.isdecimal() else None  # noqa: S104


def _make(host: Host, args: Mapping[str, Any]) -> Action:
    if args["state"] == "running":
        if not args.get("image"):
            raise ConfigError(f"container {args['name']}: state running needs an image", field="container.image")
        return RunningContainer(host, args)
    return StoppedContainer(host, args) if args["state"] == "stopped" else AbsentContainer(host, args)


VERB = Verb(
    VerbSpec(
        "container",
        (
            Field("name", "string", required=True, doc="the container's name"),
            Field("image", "string", doc="what it runs; needed for state: running"),
            Field("ports", "strings", doc="[ADDRESS:][PORT:]CONTAINER_PORT"),
            Field("volumes", "strings", doc="NAME_OR_PATH:PATH[:ro]"),
            Field("env", "mapping", doc="environment"),
            Field("command", "words", doc="instead of the image's own"),
            Field("state", "string", required=True, choices=("running", "stopped", "absent"), doc="what to ensure"),
            Field("ready", "string", doc="URL that must answer 200"),
            Field("within", "duration", default=READY_S, doc="how long to wait for ready"),
            Field("timeout", "duration", default=STOP_GRACE_S, doc="grace of a stop, before the kill"),
        ),
        "one container by docker run",
    ),
    _make,
)
