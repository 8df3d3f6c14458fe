"""A stack of one's own on this machine, whose Docker is what the test says; nothing of it stays."""

from __future__ import annotations

import json
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from cc.clock import Cancel, SystemClock
from cc.engine.step import Context
from cc.resources.process_stop import find_ours, stop_group
from cc.services.stack import Stack
from cc.settings import load
from cc.shell import SystemShell
from tests.engines import answer, engine
from tests.integration.box import free_ports

PROJECT = "com.docker.compose.project"


class Yard:
    """`stack` is made when first asked for, of `environ` as it is then. Its Docker engine is down unless `docker`."""

    def __init__(self, directory: Path) -> None:
        self.dir = directory
        self.cancel = Cancel()
        ports = free_ports(8)
        self.ports = ports[4:]
        self.environ = {
            "PATH": os.environ["PATH"], "HOME": str(directory), "CC_HOME": str(directory / "home"), "CC_PROJECT": "p",
            "CC_CLICKHOUSE_PORT": str(ports[0]), "CC_OTLP_GRPC_PORT": str(ports[1]),
            "CC_OTLP_HTTP_PORT": str(ports[2]), "CC_OTEL_HEALTH_PORT": str(ports[3]),
            "CC_DASHBOARD_PORTS": f"{ports[4]}-{ports[7]}", "CLAUDE_CONFIG_DIR": str(directory / "claude"),
            "DOCKER_HOST": f"unix://{directory}/none.sock",
        }  # fmt: skip
        self._stack: Stack | None = None

    @property
    def stack(self) -> Stack:
        if self._stack is None:
            settings = load(self.environ, str(self.dir))
            shell = SystemShell(cancel=self.cancel)
            self._stack = Stack(settings, shell, self.environ, cancel=self.cancel)
            self._stack.state.ensure()
        return self._stack

    @property
    def context(self) -> Context:
        return Context(SystemClock(), self.cancel)

    @contextmanager
    def docker(self, *containers: dict[str, Any]) -> Iterator[None]:
        """An engine that runs these."""

        def says(target: str) -> bytes:
            path, _, _ = target.partition("?")
            if path == "/version":
                return answer({"Version": "27.1"})
            if path == "/containers/json":
                return answer([{"Id": each["Id"]} for each in containers])
            if path == "/networks":
                return answer([])
            for each in containers:
                if path in (f"/containers/{each['Id']}/json", f"/containers/{unquote(each['Name'])[1:]}/json"):
                    return answer(each)
            return answer({"message": "no such thing"}, 404)

        with engine(says) as found:
            self.environ["DOCKER_HOST"] = f"unix://{found.path}"
            self._stack = None
            yield

    def container(self, name: str = "p-clickhouse-otel", **more: Any) -> dict[str, Any]:
        """As inspect tells it: running, of this project and home."""
        labels = {PROJECT: "p", "cc.owner": self.stack.state.owner, "cc.home": self.stack.state.home}
        told = {
            "Id": f"id-{name}", "Name": f"/{name}", "Image": "sha256:1",
            "State": {"Status": "running", "Pid": 7, "StartedAt": "2026-11-24T10:00:00Z"},
            "Config": {"Image": "x", "Labels": labels, "Env": []},
        }  # fmt: skip
        return {**told, **more}


@pytest.fixture
def yard() -> Iterator[Yard]:
    with tempfile.TemporaryDirectory(prefix="ccserv-") as directory:
        made = Yard(Path(directory))
        yield made
        left = find_ours(made.stack.state.owner)
        for identity in left:
            stop_group(identity, grace=0.0, context=Context(SystemClock(), Cancel()))
        made.cancel.close()
        assert not left, "the test left processes behind"


Says = Callable[[str], "tuple[int, bytes]"]


@contextmanager
def web(port: int, says: Says, heard: list[tuple[str | None, str | None]] | None = None) -> Iterator[None]:
    """A stranger's HTTP server: `says` gives status and body for a path. `heard`: user and password of each request."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if heard is not None:
                heard.append((self.headers["X-ClickHouse-User"], self.headers["X-ClickHouse-Key"]))
            status, body = says(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def as_json(told: object) -> bytes:
    return json.dumps(told).encode()
