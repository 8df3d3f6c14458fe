"""A stack of its own beside the user's: another project, another home, ports that nobody has. Gone at the end.

The commands are this program's own, run across the seam as a user would type them. What is broken is broken for them
alone: by their environment, or by what happens to their processes and containers.

What the caller's environment means to them:

    PATH, DOCKER_HOST and the rest   this machine and its engine: as they are
    CC_FAULTS                        how this machine is broken already: after what the drill breaks, which counts first
    the images (also of cc.yaml)     what this machine has: as they are
    CC_HOME, CC_PROJECT, ports ...   the user's own stack: all else of CC_* is the drill's
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from cc.clock import Cancel, Clock
from cc.drill.exercise import expect
from cc.drill.ground import claim_ports, give_back_ports, path_without
from cc.engine.step import Context
from cc.engine.waiting import wait_for
from cc.errors import Failure, Interrupted
from cc.resources.containers_gone import PROJECT_LABEL
from cc.resources.docker import Docker
from cc.resources.docker_socket import DEFAULT_SOCKET, local_socket
from cc.resources.host import Host
from cc.resources.port import accepts
from cc.resources.process_stop import find_ours, stop_group
from cc.resources.state import StateDir
from cc.services.stack import BY_NAME
from cc.settings import load
from cc.shell import Child, Command, SystemShell
from cc.shell.faults import VARIABLE as FAULTS

PROGRAM = (sys.executable, "-c", "from cc.program import main; main()")
COMMAND_S = 80.0
SETTLE_S = 30.0
PORTS = 12
NO_COMPOSE = "docker compose=fail:1:docker: 'compose' is not a docker command.;docker-compose=missing"


@dataclass(frozen=True, slots=True)
class Typed:
    """What a command came back with: its exit code, its document, what it said to people."""

    code: int
    document: Mapping[str, Any]
    said: str

    def step(self, name: str) -> Mapping[str, Any]:
        """One step of a recap. Raises Failure if there is none."""
        for step in self.document.get("steps", ()):
            if step["name"] == name:
                return dict(step)
        raise Failure(f"no step {name!r} in the answer: {self.said[-300:]}", code="not_satisfied")

    def fallbacks(self, what: str) -> dict[int, str]:
        """Those of a ladder: rung and reason."""
        return {each["rung"]: each["reason"] for each in self.document["fallbacks"] if each["what"] == what}


def machine(environ: Mapping[str, str]) -> dict[str, str]:
    """What of the caller's environment is this machine's and not his stack's. Raises ConfigError."""
    settings = load(environ)
    images = {"CC_CLICKHOUSE_IMAGE": settings.clickhouse_image, "CC_COLLECTOR_IMAGE": settings.collector_image}
    kept = {name: value for name, value in environ.items() if not name.startswith("CC_") or name == FAULTS}
    return kept | {name: image for name, image in images.items() if image}


def _callers() -> tuple[str, ...]:
    """The variables of whoever called us, which end here."""
    return tuple(name for name in os.environ if name.startswith("CC_"))


class Stage:
    """Where one drill plays, on a machine as `machine` tells it."""

    def __init__(self, environ: Mapping[str, str], clock: Clock, cancel: Cancel) -> None:
        self._machine = dict(environ)
        self.ports = claim_ports(PORTS)
        self.dir = tempfile.mkdtemp(prefix="cc-drill-")
        self.clock, self.cancel = clock, cancel
        self._shell = SystemShell(cancel=cancel, clock=clock)
        self.project = f"cc-drill-{os.path.basename(self.dir).removeprefix('cc-drill-').lower().replace('_', '-')}"
        self.environ: dict[str, str] = self._machine | {
            "HOME": self.dir, "CC_HOME": os.path.join(self.dir, "state"), "CC_PROJECT": self.project,
            "CC_CLICKHOUSE_PORT": str(self.ports[0]), "CC_OTLP_GRPC_PORT": str(self.ports[1]),
            "CC_OTLP_HTTP_PORT": str(self.ports[2]), "CC_OTEL_HEALTH_PORT": str(self.ports[3]),
            "CC_DASHBOARD_PORTS": f"{self.ports[4]}-{self.ports[7]}",
            "CLAUDE_CONFIG_DIR": os.path.join(self.dir, "claude"),
            # compose may be a plugin in the user's own directory, which another HOME would hide
            "DOCKER_CONFIG": environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker"),
        }  # fmt: skip

    @property
    def state(self) -> StateDir:
        return StateDir(self.environ["CC_HOME"], self.project)

    @property
    def context(self) -> Context:
        return Context(self.clock, self.cancel)

    def type(self, *words: str, **environ: str) -> Typed:
        """A command with --json, to its end."""
        return self._typed((*words, "--json"), environ)

    def read(self, *words: str) -> str:
        """What a command says to people."""
        return self._typed(words, {}).said

    def up(self, *flags: str, **environ: str) -> Typed:
        """`up`, without containers unless `docker` is among the flags."""
        words = [flag for flag in flags if flag != "docker"]
        return self.type("up", *([] if "docker" in flags else ["--no-docker"]), *words, **environ)

    def _typed(self, words: tuple[str, ...], environ: Mapping[str, str], *, despite_cancel: bool = False) -> Typed:
        together = {**self.environ, **environ}
        if FAULTS in environ and FAULTS in self._machine:
            together[FAULTS] = f"{environ[FAULTS]};{self._machine[FAULTS]}"
        command = Command(
            (*PROGRAM, *words), env=together, env_remove=_callers(), deadline=COMMAND_S, check=False, cwd=self.dir,
            despite_cancel=despite_cancel,
        )  # fmt: skip
        done = self._shell.run(command)
        try:
            document = json.loads(done.stdout)
        except ValueError:
            document = {}
        return Typed(done.exit_code, document, done.stdout + done.stderr)

    # -- what there is

    def service(self, name: str) -> Mapping[str, Any]:
        """One service as `status` tells it."""
        found = self.type("status").document.get("services", ())
        return next((each for each in found if each["name"] == name), {"health": "unknown", "state": "unknown"})

    def until(self, what: str, look: Callable[[], Any], within: float = SETTLE_S) -> Any:
        """What `look` gives as soon as that is true. Raises the Failure of a drill when the time is over."""
        found = wait_for(self.context, what, lambda: look() or None, within=within, longest_pause=0.5)
        expect(found, f"{what} within {within:g} s", "nothing of it")
        return found

    def healthy(self, name: str, other_than: int | None = None, within: float = SETTLE_S) -> Mapping[str, Any]:
        """The service, once it is healthy again in another process than this."""

        def look() -> Mapping[str, Any] | None:
            found = self.service(name)
            return found if found["health"] == "healthy" and found.get("pid") != other_than else None

        return dict(self.until(f"{name} healthy again", look, within))

    def supervisor(self) -> int:
        """Its pid. Raises the Failure of a drill if there is not exactly one."""
        found = find_ours(self.state.owner, "supervisor")
        expect(len(found) == 1, "one supervisor", f"{len(found)}")
        return found[0].pid

    def nothing_left(self) -> None:
        """Nothing of this stack lives any more, and no socket of it is there."""
        left = [str(identity.pid) for identity in find_ours(self.state.owner)] + self.containers()
        run = self.state.run
        left += [name for name in (os.listdir(run) if os.path.isdir(run) else ()) if name.endswith(".sock")]
        expect(not left, "nothing left", ", ".join(left))

    def containers(self) -> list[str]:
        """Names of this stack's containers; none where there is no engine to ask."""
        with suppress(Failure):
            return [each.name for each in Docker(self.host()).containers({PROJECT_LABEL: self.project})]
        return []

    def host(self) -> Host:
        """The user's own Docker, whatever a drill did to the commands' environment."""
        return Host(self._shell, self.dir, self._machine, project=self.project)

    def engine(self) -> str:
        """The socket of the user's own engine."""
        return local_socket(self._machine) or DEFAULT_SOCKET

    def container(self, service: str) -> str:
        return f"{self.project}-{BY_NAME[service].container}"

    # -- what is broken

    @contextmanager
    def stranger_on(self, *ports: int) -> Iterator[None]:
        """Somebody else, this very process, listens there; and still does afterwards."""
        with ExitStack() as held:
            try:
                for port in ports:
                    held.enter_context(socket.create_server(("127.0.0.1", port)))
            except OSError as error:
                raise Failure(f"a stranger's port: {error}", code="not_satisfied") from error
            yield
            for port in ports:
                expect(accepts("127.0.0.1", port), "the stranger to live on", f"nobody on port {port}")

    def path_without(self, *programs: str) -> str:
        """A PATH with everything of the user's but these programs."""
        return path_without(self.dir, *programs, path=self._machine.get("PATH"))

    def script(self, name: str, text: str) -> str:
        """A program in a directory of the drill's own, which comes first on its PATH."""
        folder = os.path.join(self.dir, "bin")
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, 0o755)  # noqa: S103 - in a directory that only we may enter
        if not self.environ["PATH"].startswith(folder):
            self.environ["PATH"] = folder + os.pathsep + self.environ["PATH"]
        return path

    def docker(self, *words: str) -> None:
        """The user's own docker, for what a stranger would do to a container of the drill's."""
        Docker(self.host()).cli(*words, deadline=30.0)

    def shell(self, *lines: str) -> int:
        """What a person does with lines that he was told to type; the exit code."""
        command = Command(
            ("sh", "-c", "\n".join(lines)), env_remove=_callers(), deadline=COMMAND_S, check=False, cwd="/"
        )
        return self._shell.run(command).exit_code

    def start(self, *words: str, **environ: str) -> Child:
        """A process of the drill's own that stays until somebody ends it."""
        command = Command(words, env={**self.environ, **environ}, env_remove=_callers(), cwd=self.dir)
        return self._shell.spawn(command, log=os.path.join(self.dir, "started.log"))

    # -- the end

    def clear(self) -> None:
        """Nothing of it stays, whatever happened to it; also when the drill was interrupted."""
        with suppress(Failure):
            self._typed(("down", "--volumes", "--json"), {}, despite_cancel=True)
        for identity in find_ours(self.state.owner):
            with suppress(Failure):
                stop_group(identity, grace=0.0, context=Context(self.clock, Cancel()))
        self._clear_docker()
        shutil.rmtree(self.dir, ignore_errors=True)
        give_back_ports(self.ports)

    def _clear_docker(self) -> None:
        docker, labels = Docker(self.host(), despite_cancel=True), {PROJECT_LABEL: self.project}
        with suppress(Failure, Interrupted):
            there = [each.id for each in docker.containers(labels)]
            if there:
                docker.cli("rm", "-fv", *there, deadline=30.0)
            for kind in ("network", "volume"):
                for name in docker.names(kind, labels):
                    docker.cli(kind, "rm", name, deadline=30.0)


def ok(typed: Typed) -> Typed:
    """It, if it ended with 0. Raises the Failure of a drill."""
    expect(typed.code == 0, "exit code 0", f"{typed.code}: {typed.said[-300:]}")
    return typed


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """A signal to a process of the drill's own."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)
