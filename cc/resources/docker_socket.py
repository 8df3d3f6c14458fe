"""The Docker engine's own HTTP interface over its Unix socket: one request, and what it means when there is no answer.

May import the leaves. Knows nothing of containers.
"""

from __future__ import annotations

import io
import json
import os
import select
import socket
import time
from collections.abc import Iterator, Mapping
from typing import Any

from cc.clock import Cancel
from cc.errors import Failure, Interrupted

DEFAULT_SOCKET = "/var/run/docker.sock"
START_HINT = "start it (Docker Desktop, `systemctl start docker`, `colima start`), then run this again"
RIGHT_HINT = "join the group `docker` (`sudo usermod -aG docker $USER`, then log in again)"


def endpoint(environ: Mapping[str, str]) -> str:
    """Where docker itself would look for the engine, as DOCKER_HOST names it; `context NAME` for one that is unknown.

    Order as in Docker's CLI: DOCKER_HOST, DOCKER_CONTEXT, `currentContext` of config.json, the default.
    """
    given = environ.get("DOCKER_HOST")
    if given:
        return f"unix://{DEFAULT_SOCKET}" if given == "unix://" else given
    folder = environ.get("DOCKER_CONFIG") or os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".docker")
    context = environ.get("DOCKER_CONTEXT")
    if not context:
        try:
            with open(os.path.join(folder, "config.json"), "rb") as file:
                context = json.load(file).get("currentContext")
        except (OSError, ValueError, AttributeError):
            context = None
    if not context or context == "default":
        return f"unix://{DEFAULT_SOCKET}"
    import hashlib

    digest = hashlib.sha256(str(context).encode()).hexdigest()  # the folder's name is the context's, hashed
    try:
        with open(os.path.join(folder, "contexts", "meta", digest, "meta.json"), "rb") as file:
            return str(json.load(file)["Endpoints"]["docker"]["Host"])
    except (OSError, ValueError, KeyError, TypeError):
        return f"context {context}"


def local_socket(environ: Mapping[str, str]) -> str | None:
    """The engine's Unix socket as docker itself would choose it, None where it is not a local socket."""
    where = endpoint(environ)
    return where.removeprefix("unix://") if where.startswith("unix://") else None


def breaker_name(environ: Mapping[str, str], socket_path: str | None) -> str:
    """What the breaker of this engine is called: each endpoint is out of reach by itself."""
    return "docker" if socket_path == DEFAULT_SOCKET else f"docker at {socket_path or endpoint(environ)}"


class request:  # noqa: N801 - reads as a call
    """One request to the engine over its socket: a context manager of (status, lines of the body).

    It ends after `silence_s` without a word, after `total_s` in all, and at once when cancelled. Raises Failure
    daemon_down, daemon_hung, permission_denied, bad_answer, and Interrupted.
    """

    def __init__(
        self, path: str, method: str, target: str, silence_s: float, *, total_s: float | None = None,
        cancel: Cancel | None = None,
    ) -> None:  # fmt: skip
        self._path, self._method, self._target, self._silence = path, method, target, silence_s
        self._end = None if total_s is None else time.monotonic() + total_s
        self._cancel = cancel
        self._unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def __enter__(self) -> tuple[int, Iterator[bytes]]:
        import http.client

        self._unix.settimeout(self._silence)
        try:
            self._unix.connect(self._path)
            head = f"{self._method} {self._target} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n"
            self._unix.sendall(f"{head}Content-Length: 0\r\n\r\n".encode())
            answer = http.client.HTTPResponse(self, method=self._method)  # type: ignore[arg-type] # all it asks is makefile
            answer.begin()
        except (OSError, http.client.HTTPException) as error:
            self._unix.close()
            raise self._unusable(error) from error
        except BaseException:
            self._unix.close()
            raise
        return answer.status, self._lines(answer)

    def makefile(self, mode: str) -> io.BufferedReader:
        """What http.client reads from."""
        return io.BufferedReader(_Words(self._unix, self._silence, self._end, self._cancel))

    def _lines(self, answer: Any) -> Iterator[bytes]:
        import http.client

        try:
            yield from answer
        except (OSError, http.client.HTTPException) as error:
            raise self._unusable(error) from error

    def __exit__(self, *_: object) -> None:
        self._unix.close()

    def _unusable(self, error: Exception) -> Failure:
        if isinstance(error, TimeoutError):
            return Failure(
                f"the Docker daemon does not answer at {self._path} (silent for {self._silence:g} s)",
                code="daemon_hung",
                hint="restart it; `docker info` shows when it answers again",
            )
        if isinstance(error, PermissionError):
            return Failure(f"no right to the Docker socket {self._path}", code="permission_denied", hint=RIGHT_HINT)
        if isinstance(error, OSError):
            return Failure(
                f"the Docker daemon is not running (nothing answers at {self._path})", code="daemon_down",
                hint=START_HINT,
            )  # fmt: skip
        return Failure(f"what answers at {self._path} is no Docker daemon: {error!r}", code="bad_answer")


class _Words(io.RawIOBase):
    """What the engine says, as it comes."""

    def __init__(self, unix: socket.socket, silence_s: float, end: float | None, cancel: Cancel | None) -> None:
        self._unix, self._silence, self._end, self._cancel = unix, silence_s, end, cancel
        self._poller = select.poll()
        self._poller.register(unix, select.POLLIN)
        if cancel is not None:
            self._poller.register(cancel, select.POLLIN)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._silence if self._end is None else min(self._silence, self._end - time.monotonic())
        ready = self._poller.poll(max(0.0, left) * 1000)
        if self._cancel is not None and self._cancel.requested:
            raise Interrupted(f"cancelled ({self._cancel.requested})")
        if not ready:
            raise TimeoutError
        return self._unix.recv_into(buffer)
