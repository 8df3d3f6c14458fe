"""Two hundred clients at once, and what is bounded; after five hundred failures nothing has grown."""

from __future__ import annotations

import errno
import os
import resource
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from cc.supervisor import protocol
from cc.supervisor import server as server_side
from cc.supervisor.server import Server
from tests.supervisor.ipc_support import answer, ask, begun, eventually, lines, raw


def test_two_hundred_clients_at_once_are_all_answered(run: Path, server: Server) -> None:
    connections = [raw(run) for _ in range(200)]
    for number, connection in enumerate(connections):
        connection.sendall(protocol.request(number, "echo", {"number": number}))
    answers = [answer(connection)["result"]["number"] for connection in connections]
    assert answers == list(range(200))
    for connection in connections:
        connection.close()


def test_two_hundred_calls_that_run_at_once_all_hear_their_cancel(run: Path, server: Server) -> None:
    connections = [begun(run) for _ in range(200)]
    for connection in connections:
        connection.sendall(protocol.said(1, "cancel", "enough"))
    assert {answer(connection)["result"]["reason"] for connection in connections} == {"enough"}
    for connection in connections:
        connection.close()


def test_beyond_its_number_of_connections_a_server_says_that_it_is_busy(
    run: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_side, "CONNECTIONS", 3)
    three = [begun(run) for _ in range(3)]
    with raw(run) as fourth:
        said = list(lines(fourth))
    assert [message["error"]["class"] for message in said] == ["Busy"]
    three.pop().close()
    assert eventually(lambda: len(server._connections) == 2)
    assert "result" in ask(run, "ping")
    for one in three:
        one.close()


def test_beyond_its_number_of_calls_a_server_says_that_it_is_busy(
    run: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_side, "CALLS", 2)
    two = [begun(run) for _ in range(2)]
    assert ask(run, "ping")["error"]["class"] == "Busy"
    for one in two:
        one.close()
    assert eventually(lambda: server._calls == 0)
    assert "result" in ask(run, "ping")


def test_where_no_descriptor_is_left_a_server_rests_and_comes_back(
    run: Path, server: Server, log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_side, "STARVED_S", 0.2)
    real, starved = server._listeners[0].accept, []

    def accept() -> Any:
        if len(starved) < 2:
            starved.append(time.monotonic())
            raise OSError(errno.EMFILE, "Too many open files")
        return real()

    monkeypatch.setattr(server._listeners[0], "accept", accept)
    assert "result" in ask(run, "ping")
    assert len(starved) == 2
    assert starved[1] - starved[0] >= 0.15
    assert "Too many open files" in log[0]


def test_where_no_thread_is_left_the_client_is_told(run: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        assert ask(run, "ping")["error"]["class"] == "Busy"
    assert "result" in ask(run, "ping")
    assert eventually(lambda: server._calls == 0)


def open_files() -> int:
    return len(os.listdir("/dev/fd"))


def test_after_five_hundred_failed_calls_nothing_has_grown(run: Path, server: Server) -> None:
    def fail(number: int) -> None:
        with raw(run) as connection:
            if number % 5 == 0:
                connection.sendall(b"junk\n")
            elif number % 5 == 1:
                connection.sendall(protocol.request(1, "bug", {}))
                answer(connection)
            elif number % 5 == 2:
                connection.sendall(b'{"v":1,')
            elif number % 5 == 3:
                connection.sendall(protocol.request(1, "until_cancelled", {}))
            else:
                connection.sendall(protocol.request(1, "config", {}) * 2)

    def settled() -> bool:
        ask(run, "ping")  # those before it in the queue are accepted now
        return eventually(
            lambda: not server._connections and server._calls == 0 and threading.active_count() <= threads
        )

    threads = threading.active_count()
    for number in range(50):
        fail(number)
    assert settled()
    files, memory = open_files(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(500):
        fail(number)
    assert settled()
    assert open_files() == files
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 8 * 1024
