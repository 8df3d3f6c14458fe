"""A server to talk to, in this process or, run as a module, in one of its own.

`python -m tests.supervisor.ipc_support RUN [PORT]` says `ready` or the code of its failure, and ends with its stdin.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cc.errors import ConfigError, Failure, LockHeldError
from cc.shell.identity import is_alive, start_time
from cc.supervisor import protocol
from cc.supervisor.connection import Call
from cc.supervisor.listener import TcpListener, UnixListener, listen_tcp, listen_unix
from cc.supervisor.server import Method, Server
from cc.supervisor.transport import SOCKET, Owner

ROOT = Path(__file__).resolve().parents[2]
HANG = 30.0  # seconds: whoever takes so long hangs


def me() -> Owner:
    started = start_time(os.getpid())
    assert started is not None
    return Owner(os.getpid(), started)


def listen(run: Path | str, owner: Owner | None = None) -> UnixListener:
    return listen_unix(str(run), owner=owner or me(), alive=is_alive)


def raises(error: BaseException) -> Method:
    def method(params: Mapping[str, Any], call: Call) -> Mapping[str, Any]:
        raise error

    return method


def count(params: Mapping[str, Any], call: Call) -> Mapping[str, Any]:
    """So many events, each with so many bytes in it."""
    for number in range(params["events"]):
        call.emit({"number": number, "filling": "x" * params.get("bytes", 0)})
    return {"counted": params["events"]}


class Counting:
    """`count`, and whether it is over."""

    def __init__(self) -> None:
        self.over = threading.Event()

    def __call__(self, params: Mapping[str, Any], call: Call) -> Mapping[str, Any]:
        try:
            return count(params, call)
        finally:
            self.over.set()


def until_cancelled(params: Mapping[str, Any], call: Call) -> Mapping[str, Any]:
    call.emit({"begun": True})
    call.cancelled.wait(HANG)
    return {"reason": call.cancelled.requested}


METHODS: dict[str, Method] = {
    "ping": lambda params, call: {"pid": os.getpid()},
    "echo": lambda params, call: dict(params),
    "via": lambda params, call: {"via": call.via},
    "count": count,
    "until_cancelled": until_cancelled,
    "held": raises(LockHeldError("another run operates", hint="wait for it")),
    "config": raises(ConfigError("unknown key", file="cc.yaml", line=3, field="colour")),
    "docker": raises(Failure("no daemon", code="daemon_down", evidence=("first", "last"))),
    "bug": raises(ZeroDivisionError("a bug")),
    "exits": raises(SystemExit(3)),
    "no_json": lambda params, call: {"what": object()},
    "too_long": lambda params, call: {"what": "x" * protocol.MAX_LINE},
}


@contextmanager
def serving(
    run: Path | str, methods: Mapping[str, Method] = METHODS, *more: TcpListener, **words: Any
) -> Iterator[Server]:
    server = Server([listen(run), *more], methods, **words)
    server.start()
    try:
        yield server
    finally:
        server.close(0.5)


def raw(run: Path | str) -> socket.socket:
    """A connection without a client."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(HANG)
    connection.connect(str(Path(run) / SOCKET))
    return connection


def lines(connection: socket.socket) -> Iterator[dict[str, Any]]:
    """What the server says, until it closes."""
    with connection.makefile("rb") as file:
        for line in file:
            yield json.loads(line)


def answer(connection: socket.socket) -> dict[str, Any]:
    """The first line that is a result or an error."""
    return next(message for message in lines(connection) if "result" in message or "error" in message)


def accept(listener: UnixListener) -> None:
    connection, proof = listener.accept()
    connection.close()
    assert proof is None


def ask(run: Path, method: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """One call, by hand, on a connection of its own."""
    with raw(run) as connection:
        connection.sendall(protocol.request(1, method, params or {}))
        return answer(connection)


def begun(run: Path, deadline_s: float | None = None) -> socket.socket:
    connection = raw(run)
    connection.sendall(protocol.request(1, "until_cancelled", {}, deadline_s))
    said = lines(connection)
    assert "ack" in next(said)
    assert "event" in next(said)
    return connection


def eventually(condition: Callable[[], object]) -> bool:
    """Whether it comes true in time."""
    until = time.monotonic() + HANG
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


class Other:
    """A server in a process of its own. `said` is its first line."""

    def __init__(self, *words: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.supervisor.ipc_support", *words], cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._to, self._from = self.process.stdin, self.process.stdout
        self.pid = self.process.pid
        self.said = self._from.readline().strip()

    def tell(self, line: str) -> None:
        self._to.write(line + "\n")
        self._to.flush()

    def hear(self) -> str:
        return self._from.readline().strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(HANG)


@contextmanager
def other(*words: str) -> Iterator[Other]:
    one = Other(*words)
    try:
        yield one
    finally:
        one.kill()
        one._to.close()
        one._from.close()


def _serve(run: str, port: str | None) -> None:
    listeners: list[Any] = [listen(run)]
    if port:
        listeners.append(listen_tcp(run, ("127.0.0.1", int(port))))
    server = Server(listeners, METHODS, log=lambda text: print(text, file=sys.stderr))
    server.start()
    print("ready", flush=True)
    sys.stdin.read()
    server.close()


def _race() -> None:
    """For each run directory on stdin: take it if it is free, say how that went, and give it back at the next line."""
    print("ready", flush=True)
    for line in sys.stdin:
        run = line.strip()
        try:
            listener = listen(run)
        except Failure as failure:
            print(failure.code, flush=True)
            sys.stdin.readline()
        else:
            print("won", flush=True)
            sys.stdin.readline()
            listener.close()


if __name__ == "__main__":
    if sys.argv[1] == "race":
        _race()
    else:
        _serve(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
