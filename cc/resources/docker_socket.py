"""The Docker engine's own HTTP interface over its Unix socket: one request, and what it means when there is no answer.

May import the leaves. Knows nothing of containers.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Mapping
from typing import Any

from cc.errors import Failure

DEFAULT_SOCKET = "/var/run/docker.sock"
START_HINT = "start it (Docker Desktop, `systemctl start docker`, `colima start`), then run this again"


def local_socket(environ: Mapping[str, str]) -> str | None:
    """The engine's Unix socket as docker itself would choose it, None where it is not a local socket.

    Order as in Docker's CLI: DOCKER_HOST, DOCKER_CONTEXT, `currentContext` of config.json, the default.
    """
    given = environ.get("DOCKER_HOST")
    if given:
        return given.removeprefix("unix://") if given.startswith("unix://") else None
    folder = environ.get("DOCKER_CONFIG") or os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".docker")
    context = environ.get("DOCKER_CONTEXT")
    if not context:
        try:
            with open(os.path.join(folder, "config.json"), "rb") as file:
                context = json.load(file).get("currentContext")
        except (OSError, ValueError, AttributeError):
            context = None
    if not context or context == "default":
        return DEFAULT_SOCKET
    import hashlib

    digest = hashlib.sha256(context.encode()).hexdigest()  # the folder's name is the context's, hashed
    try:
        with open(os.path.join(folder, "contexts", "meta", digest, "meta.json"), "rb") as file:
            address = json.load(file)["Endpoints"]["docker"]["Host"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return address.removeprefix("unix://") if str(address).startswith("unix://") else None


class request:  # noqa: N801 - reads as a call
    """One request to the engine over its socket: a context manager of (status, lines of the body)."""

    def __init__(self, path: str, method: str, target: str, silence_s: float) -> None:
        import http.client

        self._connection = http.client.HTTPConnection("docker", timeout=silence_s)
        self._path, self._method, self._target, self._silence = path, method, target, silence_s

    def __enter__(self) -> tuple[int, Iterator[bytes]]:
        unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        unix.settimeout(self._silence)
        try:
            unix.connect(self._path)
        except OSError as error:
            unix.close()
            raise self._unreachable(error) from error
        self._connection.sock = unix
        try:
            self._connection.request(self._method, self._target)
            answer = self._connection.getresponse()
        except OSError as error:
            self._connection.close()
            raise self._unreachable(error) from error
        return answer.status, self._lines(answer)

    def _lines(self, answer: Any) -> Iterator[bytes]:
        try:
            yield from answer
        except OSError as error:
            raise self._unreachable(error) from error

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def _unreachable(self, error: OSError) -> Failure:
        if isinstance(error, TimeoutError):
            return Failure(
                f"the Docker daemon does not answer at {self._path} (silent for {self._silence:g} s)",
                code="daemon_hung",
                hint="restart it; `docker info` shows when it answers again",
            )
        if isinstance(error, PermissionError):
            return Failure(
                f"no right to the Docker socket {self._path}", code="permission_denied",
                hint="join the group `docker` (`sudo usermod -aG docker $USER`, then log in again)",
            )  # fmt: skip
        return Failure(
            f"the Docker daemon is not running (nothing answers at {self._path})", code="daemon_down", hint=START_HINT
        )
