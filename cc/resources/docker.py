"""Docker as this host talks to it: is the engine there, what does it run, what does it mean when it refuses.

Reads go to the engine's own socket where it is a local one (0.2 ms a read, a `docker ps` is 15), and through the
docker CLI everywhere else. Acts always go through the CLI, across the seam. What either says is brought to one list of
failure codes here, because ladders descend by them:

    no `docker`, or one that is broken -> tool_missing     nothing at the socket, refused -> daemon_down
    silence past the deadline -> daemon_hung          no right to the socket -> permission_denied
    out of reach five times in a row, and nobody typed this -> breaker_open (LADDERS.md, L12)
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from cc.engine.step import Context
from cc.errors import CommandFailure, DeadlineExceeded, Failure
from cc.resources.docker_pull import follow, not_pulled
from cc.resources.docker_said import classified
from cc.resources.docker_socket import breaker_name, local_socket, request
from cc.resources.docker_unusable import explained
from cc.resources.host import Host
from cc.shell import Command, Result

READ_S = 10.0
EVENTS_S = 86400.0
STOP_GRACE_S = 10.0
PULL_SILENCE_S = 60.0
PULL_S = 1800.0


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
    volumes: Mapping[str, str] = field(default_factory=dict)  # by name, those without one too: where it is mounted

    @property
    def service(self) -> str:
        return self.labels.get("com.docker.compose.service", "")

    @property
    def running(self) -> bool:
        return self.state == "running"

    @property
    def alive(self) -> bool:
        """It holds its ports and its memory, whether or not it does anything."""
        return self.state in ("running", "paused", "restarting")

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
            volumes={
                mount["Name"]: mount["Destination"]
                for mount in told.get("Mounts") or ()
                if mount.get("Type") == "volume" and mount.get("Name")
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
PROGRAM_HUNG = "docker program hung"
OUT_OF_REACH = frozenset({"daemon_down", "daemon_hung"})


class Docker:
    """The engine that this host's docker talks to.

    One that was silent for its whole deadline is not asked again in the same run: its silence is remembered in the
    host's memo under HUNG, until somebody starts it. So is that of the program where the engine has a socket to be
    read from, under PROGRAM_HUNG: then what runs can still be told, and nothing be done. `despite_cancel` is for
    cleaning up after a cancelled act: its commands are bounded by their deadlines alone.

    The engine's breaker spares the background what the memo spares one run. Neither stands for the other: a typed run
    passes the breaker at every read, and would wait 10 s at each; a look of the watchdog begins with an empty memo.
    Only reads tell the breaker something: an act fails at its own work, and compose answers much by itself.
    """

    def __init__(self, host: Host, *, despite_cancel: bool = False) -> None:
        self._host = host
        self._despite_cancel = despite_cancel
        self._socket = local_socket(host.environ)
        self._breaker = breaker_name(host.environ, self._socket)

    def _asking(self, *, by_program: bool = False, tells: bool = True) -> AbstractContextManager[None]:
        """Inside of it the engine is asked, or nobody while the breaker is open.

        The silence of the program where there is a socket is the program's.
        """

        def counts(failure: Failure) -> bool:
            code = (classified(failure) if isinstance(failure, CommandFailure) else failure).code
            return code in OUT_OF_REACH and not (by_program and self._socket is not None and code == "daemon_hung")

        return self._host.breakers.guarding(self._breaker, typed=self._host.typed, counts=counts, tells=tells)

    def cli(self, *args: str, **options: Any) -> Result:
        """Run `docker ARGS`; the options of `program`."""
        return self.program("docker", *args, **options)

    def program(
        self, *argv: str, deadline: float | None = None, environ: Mapping[str, str] | None = None, check: bool = True,
        secrets: tuple[str, ...] = (),
    ) -> Result:  # fmt: skip
        """Run a program that speaks for the engine. Raises the Failure that its words mean.

        Without a `deadline` it is a read, whose silence for READ_S tells of the engine. Whether the lateness of an act
        does, only a read can tell.
        """
        self._refuse_when_hung(HUNG, PROGRAM_HUNG)
        command = Command(
            argv, env={**self._host.environ, **(environ or {})}, check=check,
            deadline=READ_S if deadline is None else deadline,
            secrets=(*self._host.secrets, *secrets), cwd=self._host.base, despite_cancel=self._despite_cancel,
        )  # fmt: skip
        tells = deadline is None and argv[0] == "docker" and argv[1] != "compose"
        try:
            with self._asking(by_program=True, tells=tells):
                result = self._host.shell.run(command)
                if tells and not result and (said := _as_failure(result)).code in OUT_OF_REACH:
                    raise said
                return result
        except CommandFailure as failure:
            meaning = explained(self._meaning(failure, reads=deadline is None), argv, self._ask)
            raise self._noted(meaning, HUNG if self._socket is None else PROGRAM_HUNG) from failure

    def require_program(self) -> None:
        """Raise ToolMissing where there is no `docker` that can be used, though its engine may answer."""
        self.cli("--version", deadline=READ_S)

    def _ask(self, *argv: str) -> Result:
        """Of a program itself: without its engine, and in a directory that everybody may enter."""
        environ, despite = self._host.environ, self._despite_cancel
        return self._host.shell.run(Command(argv, env=environ, deadline=READ_S, cwd="/", despite_cancel=despite))

    def _meaning(self, failure: CommandFailure, *, reads: bool) -> Failure:
        if isinstance(failure, DeadlineExceeded) and not reads:
            try:
                self.version()
                if self._socket is not None:  # the engine answers: does the program?
                    self.cli("version", "--format", "{{.Server.Version}}")
            except Failure as silence:
                return failure if silence.code == "tool_missing" else silence
            return failure
        return classified(failure)

    def _refuse_when_hung(self, *keys: str) -> None:
        for key in keys:
            if (silence := self._host.memo.get(key)) is not None:
                raise Failure(silence.message, code="daemon_hung", hint=silence.hint, evidence=silence.evidence)

    def _noted(self, failure: Failure, key: str = HUNG) -> Failure:
        if failure.code == "daemon_hung":
            self._host.memo[key] = failure
        return failure

    def containers(self, labels: Mapping[str, str]) -> tuple[Container, ...]:
        """All containers, running or not, that carry these labels."""
        wanted = [f"{key}={value}" for key, value in labels.items()]
        if self._socket is None:
            filters = [word for label in wanted for word in ("--filter", f"label={label}")]
            ids = self.cli("ps", "-aq", "--no-trunc", *filters).stdout.split()
            return tuple(found for each in ids if (found := self.container(each)) is not None)
        query = urlencode({"all": "1", "filters": json.dumps({"label": wanted})})
        listed = self._get(f"/containers/json?{query}", list)
        ids = [_told(each, "Id") for each in listed]
        return tuple(found for each in ids if (found := self.container(each)) is not None)

    def container(self, name: str) -> Container | None:
        """One container by name or id, None if there is none."""
        told = self._inspect("container", f"/containers/{quote(name, safe='')}/json", name)
        try:
            return None if told is None else Container.from_inspect(told)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise _unreadable(f"container {name}") from error

    def deaths(self, project: str) -> Iterator[str]:
        """The names of services whose containers end, as they end; until the engine closes, or for ever.

        Nothing, at once, where the engine is not at a local socket. Raises Failure daemon_down. An open breaker
        does not hold it up, as to be refused costs nothing: it is how an engine that is back is noticed first.
        """
        if self._socket is None:
            return
        filters = {"event": ["die"], "label": [f"com.docker.compose.project={project}"]}
        path = f"/events?{urlencode({'filters': json.dumps(filters)})}"
        with request(self._socket, "GET", path, EVENTS_S) as (_, lines):
            self._host.breakers.mended(self._breaker)
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
                listed = self._get(f"/containers/json?{query}", list)
                asked = [str(_told(each, "Names")[0]).lstrip("/") for each in listed]
        except Failure:
            return None
        return asked[0] if asked else None

    def image_id(self, image: str) -> str | None:
        """The id of a local image, None if it is not here."""
        told = self._inspect("image", f"/images/{quote(image, safe='/:@')}/json", image)
        return None if told is None else str(_told(told, "Id"))

    def names(self, kind: str, labels: Mapping[str, str]) -> list[str]:
        """Names of the networks or volumes (`kind`) that carry these labels."""
        wanted = [f"{key}={value}" for key, value in labels.items()]
        if self._socket is None:
            filters = [word for label in wanted for word in ("--filter", f"label={label}")]
            return self.cli(kind, "ls", "--format", "{{.Name}}", *filters).stdout.split()
        query = urlencode({"filters": json.dumps({"label": wanted})})
        if kind == "network":
            return [_told(each, "Name") for each in self._get(f"/networks?{query}", list)]
        return [_told(each, "Name") for each in self._get(f"/{kind}s?{query}").get("Volumes") or ()]

    def labels(self, kind: str, name: str) -> dict[str, str] | None:
        """The labels of the network or volume (`kind`) of that name, None if there is none."""
        told = self._inspect(kind, f"/{kind}s/{quote(name, safe='')}", name)
        return None if told is None else dict(told.get("Labels") or {})

    def version(self) -> str:
        """The engine's version. Raises the Failure that says why there is none."""
        if self._socket is None:
            return self.cli("version", "--format", "{{.Server.Version}}").stdout.strip()
        return str(_told(self._get("/version"), "Version"))

    def log_tail(self, name: str, lines: int = 10, *, secrets: tuple[str, ...] = ()) -> tuple[str, ...]:
        """The last lines that a container wrote, `secrets` masked; () if they can't be had: evidence, never a goal."""
        try:
            result = self.cli("logs", "--tail", str(lines), name, secrets=secrets)
        except Failure:
            return ()
        return tuple((result.stdout + result.stderr).splitlines()[-lines:])

    def _inspect(self, kind: str, path: str, name: str) -> dict[str, Any] | None:
        if self._socket is not None:
            found: dict[str, Any] | None = self._get(path, missing_ok=True)
            return found
        result = self.cli(kind, "inspect", name, check=False)
        if not result:
            if re.search(rf"no such (object|{kind})", result.stderr, re.IGNORECASE):
                return None
            raise self._noted(explained(_as_failure(result), result.argv, self._ask))
        try:
            first = json.loads(result.stdout)[0]
        except (ValueError, LookupError, TypeError):
            raise _unreadable(f"{kind} {name}") from None
        return first if isinstance(first, dict) else {}

    def _get(self, path: str, kind: type = dict, *, missing_ok: bool = False) -> Any:
        """GET from the engine's socket: a JSON value of this kind; None for a 404 with `missing_ok`."""
        assert self._socket is not None  # noqa: S101 - narrowed by every caller
        self._refuse_when_hung(HUNG)
        try:
            with self._asking(), request(self._socket, "GET", path, READ_S, total_s=READ_S) as (status, lines):
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
            said = told.get("message", "") if isinstance(told, dict) else ""
            raise Failure(f"the Docker engine answered {status}: {said}", code="bad_answer")
        if not isinstance(told, kind):
            raise _unreadable(path)
        return told

    def pull(self, image: str, context: Context) -> None:
        """Fetch an image, and say now and then what arrives. Raises Failure image_missing, disk_full, ...

        No total deadline (a first pull may be long), only one of 60 s without a sign of progress. The CLI shows none
        where there is no terminal, so progress is read from the engine itself; what needs credentials, which only the
        CLI knows, is left to the CLI.
        """
        context.note(f"pulling {image}")
        if self._socket is not None:
            try:
                return self._pull_from_engine(image, context)
            except Failure as failure:
                if "denied" not in failure.message and "unauthorized" not in failure.message:
                    raise
        self.cli("pull", image, deadline=context.left(PULL_S))
        return None

    def _pull_from_engine(self, image: str, context: Context) -> None:
        assert self._socket is not None  # noqa: S101
        self._refuse_when_hung(HUNG)
        # Without a tag the engine would fetch every one that there is.
        named = "@" in image or ":" in image.rpartition("/")[2]
        path = f"/images/create?{urlencode({'fromImage': image if named else image + ':latest'})}"
        left = None if context.deadline is None else context.left(PULL_S)
        ask = request(self._socket, "POST", path, PULL_SILENCE_S, total_s=left, cancel=context.cancel)
        try:
            with self._asking(tells=False), ask as (status, lines):
                follow(image, status, lines, context)
        except Failure as failure:
            if failure.code != "daemon_hung":
                raise
            context.stop_if_asked()
            self.version()  # raises if it is the engine that is silent; else it waits for the registry
            raise not_pulled(image, f"no progress for {PULL_SILENCE_S:g} s") from failure


def _as_failure(result: Result) -> Failure:
    """What a program that was run unchecked means by its end."""
    return classified(CommandFailure(result.stderr.strip(), result=result, code="non_zero_exit"))


def _told(told: Any, key: str) -> Any:
    """One field of what the engine told. Raises Failure bad_answer where it is missing."""
    try:
        return told[key]
    except (LookupError, TypeError):
        raise _unreadable(f"no {key}") from None


def _unreadable(what: str) -> Failure:
    return Failure(f"the Docker engine answered in a way that cannot be read ({what})", code="bad_answer")
