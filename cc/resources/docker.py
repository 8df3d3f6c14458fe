"""Docker as this host talks to it: is the engine there, what does it run, what does it mean when it refuses.

Reads go to the engine's own socket where it is a local one (0.2 ms a read, a `docker ps` is 15), and through the
docker CLI everywhere else. Acts always go through the CLI, across the seam. What either says is brought to one list of
failure codes here, because ladders descend by them:

    no `docker` on PATH -> tool_missing     nothing at the socket, refused -> daemon_down
    silence past the deadline -> daemon_hung          no right to the socket -> permission_denied
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from cc.errors import CommandFailure, DeadlineExceeded, Failure, ToolMissing
from cc.resources.docker_socket import START_HINT, local_socket, request
from cc.resources.host import Host
from cc.shell import Command, Result

READ_S = 10.0
EVENTS_S = 86400.0
STOP_GRACE_S = 10.0
PULL_SILENCE_S = 60.0

# What docker and compose say on stderr, brought to a failure code; the first that matches counts.
SAID = tuple(
    (code, re.compile(pattern, re.IGNORECASE))
    for code, pattern in (
        (
            "daemon_down",
            r"cannot connect to the docker daemon|failed to connect to the docker api|is the docker daemon running",
        ),
        ("permission_denied", r"permission denied while trying to connect"),
        (
            "tool_missing",
            r"is not a docker command|unknown command: docker compose|unknown shorthand flag|unknown docker command",
        ),
        ("port_in_use", r"port is already allocated|address already in use|ports are not available"),
        ("disk_full", r"no space left on device"),
        (
            "image_missing",
            (
                r"no such image|pull access denied|manifest unknown|manifest for .* not found|repository .* not found"
                r"|failed to resolve reference|error pulling image|no such host|unable to find image"
            ),
        ),
        ("not_ours", r"the container name .* is already in use"),
        (
            "bad_config",
            (
                r"yaml: |services\.\S+ |additional propert|undefined (service|volume|network)|no such service"
                r"|is not valid|invalid compose"
            ),
        ),
    )
)


@dataclass(frozen=True, slots=True)
class Container:
    """A container as `docker inspect` tells it. `health` is healthy, unhealthy, starting, or "" without a check."""

    id: str
    name: str
    state: str
    image: str
    image_id: str
    labels: Mapping[str, str]
    health: str = ""
    exit_code: int = 0
    error: str = ""
    oom_killed: bool = False
    pid: int | None = None
    started_at: str = ""
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    ports: Mapping[str, tuple[str, int]] = field(default_factory=dict)

    @property
    def service(self) -> str:
        return self.labels.get("com.docker.compose.service", "")

    @property
    def running(self) -> bool:
        return self.state == "running"

    @classmethod
    def from_inspect(cls, told: Mapping[str, Any]) -> Container:
        """One object of `docker inspect` or of GET /containers/ID/json."""
        state, config = told.get("State") or {}, told.get("Config") or {}
        bound = (told.get("NetworkSettings") or {}).get("Ports") or {}
        return cls(
            id=told["Id"],
            name=str(told.get("Name", "")).lstrip("/"),
            state=state.get("Status", "unknown"),
            image=config.get("Image", ""),
            image_id=told.get("Image", ""),
            labels=config.get("Labels") or {},
            health=(state.get("Health") or {}).get("Status", ""),
            exit_code=state.get("ExitCode", 0),
            error=state.get("Error", ""),
            oom_killed=bool(state.get("OOMKilled")),
            pid=state.get("Pid") or None,
            started_at=state.get("StartedAt", ""),
            environ=dict(entry.split("=", 1) for entry in config.get("Env") or [] if "=" in entry),
            ports={
                inside: (found[0].get("HostIp", ""), int(found[0]["HostPort"]))
                for inside, found in bound.items()
                if found and found[0].get("HostPort")
            },
        )

    def describe(self) -> str:
        """Its state in words, with what explains it."""
        words = f"{self.name} is {self.state}"
        if self.health and self.running:
            words += f" ({self.health})"
        if self.state == "exited":
            words += f" with code {self.exit_code}" + (", out of memory" if self.oom_killed else "")
        return words + (f": {self.error}" if self.error else "")


HUNG = "docker hung"


class Docker:
    """The engine that this host's docker talks to.

    One that was silent for its whole deadline is not asked again in the same run: its silence is remembered in the
    host's memo under HUNG, until somebody starts it. `despite_cancel` is for cleaning up after a cancelled act: its
    commands are bounded by their deadlines alone.
    """

    def __init__(self, host: Host, *, despite_cancel: bool = False) -> None:
        self._host = host
        self._despite_cancel = despite_cancel
        self._socket = local_socket(host.environ)

    def cli(self, *args: str, **options: Any) -> Result:
        """Run `docker ARGS`; the options of `program`."""
        return self.program("docker", *args, **options)

    def program(
        self, *argv: str, deadline: float = READ_S, environ: Mapping[str, str] | None = None, check: bool = True,
        secrets: tuple[str, ...] = (),
    ) -> Result:  # fmt: skip
        """Run a program that speaks for the engine. Raises the Failure that its words mean."""
        self._refuse_when_hung()
        command = Command(
            argv, env={**self._host.environ, **(environ or {})}, deadline=deadline, check=check,
            secrets=(*self._host.secrets, *secrets), cwd=self._host.base, despite_cancel=self._despite_cancel,
        )  # fmt: skip
        try:
            return self._host.shell.run(command)
        except CommandFailure as failure:
            raise self._noted(self._meaning(failure, deadline)) from failure

    def _meaning(self, failure: CommandFailure, deadline: float) -> Failure:
        """A short read's silence tells of the engine; whether a long act's lateness does, only a read can tell."""
        if isinstance(failure, DeadlineExceeded) and deadline > READ_S:
            try:
                self.version()
            except Failure as silence:
                return silence
            return failure
        return classified(failure)

    def _refuse_when_hung(self) -> None:
        if (silence := self._host.memo.get(HUNG)) is not None:
            raise Failure(silence.message, code="daemon_hung", hint=silence.hint, evidence=silence.evidence)

    def _noted(self, failure: Failure) -> Failure:
        if failure.code == "daemon_hung":
            self._host.memo[HUNG] = failure
        return failure

    def containers(self, labels: Mapping[str, str]) -> tuple[Container, ...]:
        """All containers, running or not, that carry these labels."""
        wanted = [f"{key}={value}" for key, value in labels.items()]
        if self._socket is None:
            filters = [word for label in wanted for word in ("--filter", f"label={label}")]
            ids = self.cli("ps", "-aq", "--no-trunc", *filters).stdout.split()
            return tuple(found for each in ids if (found := self.container(each)) is not None)
        query = urlencode({"all": "1", "filters": json.dumps({"label": wanted})})
        listed = self._get(f"/containers/json?{query}")
        return tuple(found for each in listed if (found := self.container(each["Id"])) is not None)

    def container(self, name: str) -> Container | None:
        """One container by name or id, None if there is none."""
        told = self._inspect("container", f"/containers/{quote(name, safe='')}/json", name)
        return None if told is None else Container.from_inspect(told)

    def deaths(self, project: str) -> Iterator[str]:
        """The names of services whose containers end, as they end; until the engine closes, or for ever.

        Nothing, at once, where the engine is not at a local socket. Raises Failure daemon_down.
        """
        if self._socket is None:
            return
        filters = {"event": ["die"], "label": [f"com.docker.compose.project={project}"]}
        path = f"/events?{urlencode({'filters': json.dumps(filters)})}"
        with request(self._socket, "GET", path, EVENTS_S) as (_, lines):
            for line in lines:
                try:
                    told = json.loads(line)["Actor"]["Attributes"]
                except (ValueError, KeyError, TypeError):
                    continue
                yield str(told.get("com.docker.compose.service", ""))

    def publisher(self, number: int) -> str | None:
        """The name of the container that publishes this port of the machine; None if none does, or nobody can say."""
        try:
            if self._socket is None:
                asked = self.cli("ps", "--filter", f"publish={number}", "--format", "{{.Names}}").stdout.split()
            else:
                query = urlencode({"filters": json.dumps({"publish": [str(number)]})})
                asked = [each["Names"][0].lstrip("/") for each in self._get(f"/containers/json?{query}")]
        except Failure:
            return None
        return asked[0] if asked else None

    def image_id(self, image: str) -> str | None:
        """The id of a local image, None if it is not here."""
        told = self._inspect("image", f"/images/{quote(image, safe='/:@')}/json", image)
        return None if told is None else str(told["Id"])

    def names(self, kind: str, labels: Mapping[str, str]) -> list[str]:
        """Names of the networks or volumes (`kind`) that carry these labels."""
        wanted = [f"{key}={value}" for key, value in labels.items()]
        if self._socket is None:
            filters = [word for label in wanted for word in ("--filter", f"label={label}")]
            return self.cli(kind, "ls", "--format", "{{.Name}}", *filters).stdout.split()
        told = self._get(f"/{kind}s?{urlencode({'filters': json.dumps({'label': wanted})})}")
        return [each["Name"] for each in (told if kind == "network" else told["Volumes"] or ())]

    def version(self) -> str:
        """The engine's version. Raises the Failure that says why there is none."""
        if self._socket is None:
            return self.cli("version", "--format", "{{.Server.Version}}").stdout.strip()
        return str(self._get("/version")["Version"])

    def log_tail(self, name: str, lines: int = 10) -> tuple[str, ...]:
        """The last lines that a container wrote, () if they can't be had: evidence, never a goal."""
        try:
            result = self.cli("logs", "--tail", str(lines), name)
        except Failure:
            return ()
        return tuple((result.stdout + result.stderr).splitlines()[-lines:])

    def _inspect(self, kind: str, path: str, name: str) -> dict[str, Any] | None:
        if self._socket is not None:
            found: dict[str, Any] | None = self._get(path, missing_ok=True)
            return found
        result = self.cli(kind, "inspect", name, check=False)
        if not result:
            if "no such" in result.stderr.lower():
                return None
            raise classified(CommandFailure(result.stderr.strip(), result=result, code="non_zero_exit"))
        first: dict[str, Any] = json.loads(result.stdout)[0]
        return first

    def _get(self, path: str, *, missing_ok: bool = False) -> Any:
        """GET from the engine's socket; None for a 404 with `missing_ok`."""
        assert self._socket is not None  # noqa: S101 - narrowed by every caller
        self._refuse_when_hung()
        try:
            with request(self._socket, "GET", path, READ_S) as (status, lines):
                body = b"".join(lines)
        except Failure as failure:
            raise self._noted(failure) from failure
        if status == 404 and missing_ok:
            return None
        try:
            told = json.loads(body)
        except ValueError:
            raise Failure(f"the Docker engine answered GET {path} with no JSON", code="bad_answer") from None
        if status >= 400:
            raise Failure(f"the Docker engine answered {status}: {told.get('message', '')}", code="bad_answer")
        return told

    def pull(self, image: str, progress: Any) -> None:
        """Fetch an image; `progress(text)` is told what arrives. Raises Failure image_missing, disk_full, ...

        No total deadline (a first pull may be long), only one of 60 s without a sign of progress. The CLI shows none
        where there is no terminal, so progress is read from the engine itself; what needs credentials, which only the
        CLI knows, is left to the CLI.
        """
        if self._socket is not None:
            try:
                return self._pull_from_engine(image, progress)
            except Failure as failure:
                if "denied" not in failure.message and "unauthorized" not in failure.message:
                    raise
        self.cli("pull", image, deadline=1800.0)
        return None

    def _pull_from_engine(self, image: str, progress: Any) -> None:
        assert self._socket is not None  # noqa: S101
        # Without a tag the engine would fetch every one that there is.
        named = "@" in image or ":" in image.rpartition("/")[2]
        path = f"/images/create?{urlencode({'fromImage': image if named else image + ':latest'})}"
        with request(self._socket, "POST", path, PULL_SILENCE_S) as (status, lines):
            for line in lines:
                try:
                    told = json.loads(line)
                except ValueError:
                    continue
                trouble = told.get("error") or (told.get("message") if status >= 400 else None)
                if trouble:
                    raise Failure(
                        f"image {image} is not here and cannot be pulled: {trouble}",
                        code="disk_full" if "no space left" in trouble else "image_missing",
                        hint=f"docker pull {image}",
                    )
                progress(
                    f"pulling {image}: {told.get('id', '')} {told.get('status', '')} {told.get('progress', '')}".strip()
                )


def classified(failure: CommandFailure) -> Failure:
    """The failure that docker's words mean; the given one where they are unknown."""
    if isinstance(failure, ToolMissing):
        return ToolMissing(
            "docker is not installed (no `docker` on PATH)",
            result=failure.result,
            hint="install Docker: https://docs.docker.com/get-docker/",
        )
    if isinstance(failure, DeadlineExceeded):
        return Failure(f"docker does not answer: {failure.message}", code="daemon_hung", evidence=failure.evidence)
    result = failure.result
    if result is None or failure.code != "non_zero_exit":
        return failure
    text = result.stderr + "\n" + result.stdout
    for code, pattern in SAID:
        found = pattern.search(text)
        if found:
            line = next((each for each in text.splitlines() if pattern.search(each)), found[0]).strip()
            hint = START_HINT if code == "daemon_down" else None
            return CommandFailure(_plain(code, line), result=result, code=code, hint=hint, evidence=failure.evidence)
    return failure


def _plain(code: str, line: str) -> str:
    if code == "daemon_down":
        return "the Docker daemon is not running"
    if code == "tool_missing":
        return "docker compose is not installed"
    return line
