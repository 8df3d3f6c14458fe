"""A home, a project and ports of its own, in which the real commands run as a user types them; gone at the end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cc.drill.ground import claim_ports as free_ports
from cc.drill.ground import give_back_ports, path_without
from cc.shell.identity import read_stat

__all__ = [
    "PROGRAM",
    "ROOT",
    "Box",
    "Done",
    "eventually",
    "free_ports",
    "heeds_signals",
    "held",
    "kill",
    "masters",
    "new_box",
    "path_without",
    "session",
    "supervisors",
]

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = (sys.executable, "-c", "from cc.program import main; main()")
COMMAND_S = 90.0


def eventually(look: Callable[[], Any], *, within: float = 20.0, what: str = "it") -> Any:
    """What `look` returns as soon as that is true; fails when the time is over."""
    end = time.monotonic() + within
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < end, f"{what}: not within {within:g} s"
        time.sleep(0.02)


def heeds_signals(pid: int) -> bool:
    """Whether our own handlers stand. TERM tells: Python takes INT for itself long before ours."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    caught = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(caught >> (signal.SIGTERM - 1) & 1)


@dataclass
class Done:
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def step(self, name: str) -> Any:
        return next(step for step in self.json["steps"] if step["name"] == name)


class Box:
    """Everything that one test's stack is made of."""

    def __init__(self, directory: Path) -> None:
        self.dir = directory
        self.ports = ports = free_ports(12)
        self.project = f"cctest-{os.getpid()}-{ports[0]}"
        self.dashboard_ports = ports[4:8]
        self.env: dict[str, str] = {
            "HOME": str(directory),
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "CC_HOME": str(directory / "state"),
            "CC_PROJECT": self.project,
            "CC_CLICKHOUSE_PORT": str(ports[0]),
            "CC_OTLP_GRPC_PORT": str(ports[1]),
            "CC_OTLP_HTTP_PORT": str(ports[2]),
            "CC_OTEL_HEALTH_PORT": str(ports[3]),
            "CC_DASHBOARD_PORTS": f"{ports[4]}-{ports[7]}",
            "CLAUDE_CONFIG_DIR": str(directory / "claude"),
        }
        for name in ("CC_CLICKHOUSE_IMAGE", "CC_COLLECTOR_IMAGE", "DOCKER_HOST", "PYTHONPATH"):
            if name in os.environ:
                self.env[name] = os.environ[name]

    @property
    def state(self) -> Path:
        return Path(self.env["CC_HOME"]) / self.project

    def start(self, *words: str, env: Mapping[str, str] | None = None, **more: Any) -> subprocess.Popen[str]:
        """A command in the background."""
        return subprocess.Popen(
            [*PROGRAM, *words], cwd=self.dir, env={**self.env, **(env or {})}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", **more,
        )  # fmt: skip

    def run(self, *words: str, env: Mapping[str, str] | None = None) -> Done:
        """A command to its end."""
        process = self.start(*words, env=env)
        try:
            out, err = process.communicate(timeout=COMMAND_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        assert "Traceback" not in out + err, err
        return Done(process.returncode, out, err)

    def ask(self, *words: str, env: Mapping[str, str] | None = None) -> Done:
        """A command with --json; stdout must be that one document."""
        done = self.run(*words, "--json", env=env)
        assert isinstance(done.json, dict)
        return done

    def service(self, name: str) -> Any:
        return next(each for each in self.ask("status").json["services"] if each["name"] == name)

    def processes(self) -> list[tuple[int, str]]:
        """Who lives with this home in its environment: pid and command line."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if self.env["CC_HOME"].encode() in Path(f"/proc/{pid}/environ").read_bytes():
                    words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    if words:  # a zombie has none
                        found.append((int(pid), words))
            except OSError:
                continue
        return found

    def wait_for_a_look(self) -> None:
        """Until the watchdog, which looks every five seconds, has looked once more."""
        uptime = lambda: self.ask("status").json["supervisor"]["uptime_s"]  # noqa: E731 - a question
        before = uptime()
        eventually(lambda: uptime() > before + 6, what="the watchdog to look")

    def containers(self, what: str = "{{.Names}}") -> list[str]:
        label = f"label=com.docker.compose.project={self.project}"
        asked = ["docker", "ps", "-a", "--filter", label, "--format", what]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()

    def clean(self) -> None:
        """Whatever the test did: nothing of it stays."""
        self.start("down", "--volumes").communicate(timeout=COMMAND_S)
        if shutil.which("docker"):
            label = f"label=com.docker.compose.project={self.project}"
            for kind, all_of, remove, which in (
                ("container", "-aq", "rm -fv", label),
                ("container", "-aq", "rm -fv", f"name={self.project}"),
                ("network", "-q", "rm", label),
                ("volume", "-q", "rm -f", label),
            ):
                listed = ["docker", kind, "ls", all_of, "--filter", which]
                found = subprocess.run(listed, capture_output=True, text=True, check=False).stdout.split()
                if found:
                    subprocess.run(["docker", kind, *remove.split(), *found], capture_output=True, check=False)
        for pid, _ in self.processes():
            kill(pid)


# A process that was listed may have ended by the time that it is asked about or killed: that is its good right.


def session(pid: int) -> int | None:
    """The session that a listed process is in; None if it has ended meanwhile."""
    stat = read_stat(pid)
    return None if stat is None else stat.session


def kill(pid: int) -> None:
    """A listed process, should it still be there."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def supervisors(box: Box) -> list[int]:
    return [pid for pid, words in box.processes() if "cc.supervisor" in words]


def masters(box: Box) -> list[int]:
    """The dashboard's, without its workers."""
    return [pid for pid, words in box.processes() if "gunicorn" in words and session(pid) == pid]


@contextmanager
def new_box() -> Iterator[Box]:
    """A box in a short path of its own (a socket's path has 107 bytes)."""
    directory = Path(tempfile.mkdtemp(prefix="ccbox-"))
    box = Box(directory)
    try:
        yield box
    finally:
        box.clean()
        shutil.rmtree(directory, ignore_errors=True)
        give_back_ports(box.ports)


@contextmanager
def held(port: int, host: str = "127.0.0.1") -> Iterator[socket.socket]:
    """A stranger that listens on a port."""
    stranger = socket.socket()
    stranger.bind((host, port))
    stranger.listen()
    try:
        yield stranger
    finally:
        stranger.close()
