"""The Docker engine as something that can be started: the verb `docker_engine`.

    this machine has    it is started by
    systemctl, a unit   systemctl start docker        (rootless: systemctl --user start docker)
    service             service docker start
    colima              colima start
    Docker Desktop      open -g -a Docker
    dockerd, as root    dockerd, detached, without our mark: it is the user's from then on

The first that this machine has, and the next if it fails. Then the engine must answer within 60 s. The machine's own
(all but colima and Docker Desktop) only where they serve the socket that is asked: to start one daemon because another
is out of reach would help nobody.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cc.engine.spec import Field, VerbSpec
from cc.engine.step import Acted, Context, Probe
from cc.engine.waiting import wait_for
from cc.errors import CommandFailure, Failure, Interrupted
from cc.resources.docker import HUNG, PROGRAM_HUNG, Docker
from cc.resources.docker_socket import DEFAULT_SOCKET, START_HINT, local_socket
from cc.resources.host import Host, Verb
from cc.shell import Child, Command

START_S = 60.0
SYSTEMD = "/run/systemd/system"
INIT_SCRIPT = "/etc/init.d/docker"
SYSTEM_SOCKETS: tuple[str, ...] = (DEFAULT_SOCKET, "/run/docker.sock")
USER_SOCKET = "/run/user/"


class DockerEngine:
    """The engine answers."""

    probed = True

    def __init__(self, host: Host, args: Mapping[str, Any]) -> None:
        self._host = host
        self._docker = Docker(replace(host, typed=True))  # whoever is starting it is not told to wait
        self._within: float = args.get("within") or START_S
        self.name = "docker engine"

    def probe(self, context: Context) -> Probe:
        try:
            return Probe(True, f"Docker {self._docker.version()} answers")
        except Failure as failure:
            if failure.code in ("daemon_down", "daemon_hung"):
                return Probe(False, failure.message, hint=failure.hint)
            raise

    def check(self, context: Context, before: Probe) -> None:
        if not self._ways():
            raise Failure(
                "the Docker daemon is not running, and nothing here can start it", code="daemon_down", hint=START_HINT
            )

    def known_by_trying(self, context: Context) -> str:
        """What no probe can tell of the act (engine/plan.py)."""
        return f"whether `{' '.join(self._ways()[0])}` brings it up"

    def act(self, context: Context, before: Probe) -> Acted:
        refusals = []
        for way in self._ways():
            try:
                child = self._start(way, context)
            except Interrupted:
                raise
            except Failure as failure:
                refusals.append(f"`{' '.join(way)}`: {failure.message}")
                continue
            answers = self._await(child, context)
            if answers:
                return Acted(f"Docker started by `{' '.join(way)}`")
            late = "it ended at once" if answers is False else f"no engine answered within {self._within:g} s"
            refusals.append(f"`{' '.join(way)}`: {late}")
        raise Failure(
            "the Docker daemon is not running and could not be started: " + "; ".join(refusals),
            code="daemon_down", hint=START_HINT, evidence=self._log_tail(),
        )  # fmt: skip

    def _ways(self) -> list[tuple[str, ...]]:
        """The ways of starting it that this machine has, in the order of the table above."""
        path = self._host.environ.get("PATH")
        root = os.geteuid() == 0
        socket = local_socket(self._host.environ)
        if socket is None:
            return []  # another machine's
        system = socket in SYSTEM_SOCKETS
        rootless = system or socket.startswith(USER_SOCKET)

        def has(name: str) -> bool:
            return shutil.which(name, path=path) is not None

        ways: list[tuple[str, ...]] = []
        if has("systemctl") and os.path.isdir(SYSTEMD):
            if root and system:
                ways.append(("systemctl", "start", "docker"))
            elif rootless and not root:
                ways.append(("systemctl", "--user", "start", "docker"))
        elif has("service") and root and system and os.path.exists(INIT_SCRIPT):
            ways.append(("service", "docker", "start"))
        if has("colima"):
            ways.append(("colima", "start"))
        if sys.platform == "darwin" and os.path.isdir("/Applications/Docker.app"):
            ways.append(("open", "-g", "-a", "Docker"))
        if has("dockerd") and root and system:
            ways.append(("dockerd",))
        return ways

    def _start(self, way: tuple[str, ...], context: Context) -> Child | None:
        """The daemon itself where we are its parent. What they start is the user's: it must not carry our mark, or
        `down` would end it as one of ours.
        """
        ours = tuple(name for name in {*os.environ, *self._host.environ} if name.startswith("CC_"))
        theirs = {name: value for name, value in self._host.environ.items() if name not in ours}
        command = Command(way, env=theirs, env_remove=ours, deadline=context.left(self._within), owned=False)
        if way == ("dockerd",):
            return self._host.shell.spawn(command, log=self._log())
        try:
            self._host.shell.run(command)
        except Interrupted:
            raise
        except CommandFailure as failure:
            raise Failure(failure.message, code="daemon_down", evidence=failure.evidence) from failure
        return None

    def _await(self, child: Child | None, context: Context) -> bool | None:
        return wait_for(context, "the Docker daemon to answer", lambda: self._answers(child), within=self._within)

    def _answers(self, child: Child | None) -> bool | None:
        """True once it answers, False if it cannot any more."""
        for key in (HUNG, PROGRAM_HUNG):
            self._host.memo.pop(key, None)
        try:
            self._docker.version()
        except Failure:
            return None if child is None or child.alive() else False
        return True

    def _log(self) -> str:
        return os.path.join(self._host.log_dir, "dockerd.log")

    def _log_tail(self) -> tuple[str, ...]:
        try:
            with open(self._log(), encoding="utf-8", errors="replace") as file:
                return tuple(file.read()[-4096:].splitlines()[-10:])
        except OSError:
            return ()


VERB = Verb(
    VerbSpec(
        "docker_engine",
        (
            Field("state", "string", required=True, choices=("running",), doc="what to ensure"),
            Field("within", "duration", default=START_S, doc="how long it may take to answer"),
        ),
        "the Docker engine, started by whatever this machine starts it with",
    ),
    DockerEngine,
)
