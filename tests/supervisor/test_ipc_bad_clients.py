"""Junk, half lines, silence, slow readers: whoever does it is dropped, and the others never notice."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from cc.supervisor import connection as connection_side
from cc.supervisor import protocol
from cc.supervisor import server as server_side
from cc.supervisor.connection import Call
from cc.supervisor.server import Server
from tests.supervisor.ipc_support import HANG, Counting, answer, ask, begun, eventually, lines, raw, serving

# -- clients that behave badly


@pytest.mark.parametrize(
    "junk",
    [
        b"junk\n", b"\n", b"\0" * 100 + b"\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"42\n", b"[" * 100_000 + b"\n",
        b'{"v":2,"id":1,"method":"ping"}\n', bytes(range(11, 256)) * 16 + b"\n",
    ],
    ids=lambda junk: repr(junk[:12]),
)  # fmt: skip
def test_a_client_that_sends_junk_is_told_so_and_dropped(run: Path, server: Server, junk: bytes) -> None:
    with raw(run) as connection:
        connection.sendall(junk)
        said = list(lines(connection))
        assert [message["error"]["type"] for message in said] == ["bad_answer"]
    assert "result" in ask(run, "ping")


def test_a_line_of_two_megabytes_is_refused_and_never_held(run: Path, server: Server) -> None:
    with raw(run) as connection:
        sender = threading.Thread(target=send_quietly, args=(connection, b"x" * 2_000_000))
        sender.start()
        assert "over 1048576 bytes" in answer(connection)["error"]["message"]
        connection.close()
        sender.join(HANG)
    assert "result" in ask(run, "ping")
    assert eventually(lambda: not server._connections)


def send_quietly(connection: socket.socket, data: bytes) -> None:
    try:
        connection.sendall(data)
    except OSError:
        pass


@pytest.mark.parametrize("sent", [b"", b'{"v":1,"id":1,"meth'])
@pytest.mark.usefixtures("hurried")
def test_a_client_that_sends_nothing_or_half_a_line_is_dropped(run: Path, server: Server, sent: bytes) -> None:
    with raw(run) as connection:
        connection.sendall(sent)
        said = list(lines(connection))
    assert [message["error"]["type"] for message in said] == (["deadline"] if sent else [])
    assert eventually(lambda: not server._connections)


@pytest.mark.usefixtures("hurried")
def test_a_client_whose_call_runs_may_be_silent_and_is_dropped_after_its_answer(run: Path, server: Server) -> None:
    with begun(run) as connection:
        connection.settimeout(0.5)
        with pytest.raises(TimeoutError):
            connection.recv(4096)
        connection.settimeout(HANG)
        connection.sendall(protocol.said(1, "cancel", "done"))
        assert "result" in [key for message in lines(connection) for key in message]


def test_a_request_that_comes_byte_by_byte_is_answered(run: Path, server: Server) -> None:
    with raw(run) as connection:
        for byte in protocol.request(1, "ping", {}):
            connection.sendall(bytes([byte]))
        assert "result" in answer(connection)


def test_a_request_of_nearly_a_megabyte_is_answered(run: Path, server: Server) -> None:
    with raw(run) as connection:
        filling = "x" * (protocol.MAX_LINE - 200)
        sender = threading.Thread(target=connection.sendall, args=(protocol.request(1, "echo", {"filling": filling}),))
        sender.start()
        assert answer(connection)["result"]["filling"] == filling
        sender.join(HANG)


def test_a_slow_reader_costs_it_events_and_never_the_operation_its_time(run: Path) -> None:
    events, counting = 20_000, Counting()
    with serving(run, {"count": counting}) as server, raw(run) as slow:
        slow.sendall(protocol.request(1, "count", {"events": events, "bytes": 500}))
        assert counting.over.wait(HANG)  # though nobody reads
        assert sum(len(one.out) for one in server._connections) < connection_side.UNREAD + 4096
        read = list(iter_until_answer(slow))
    assert read[-1]["result"] == {"counted": events}
    numbers = [message["event"]["number"] for message in read if "event" in message]
    assert numbers == sorted(numbers)
    assert 0 < len(numbers) < events
    assert len(numbers) + read[-1]["dropped"] == events


def iter_until_answer(connection: socket.socket) -> Iterator[dict[str, Any]]:
    for message in lines(connection):
        yield message
        if "result" in message or "error" in message:
            return


def test_a_reader_that_never_takes_its_answer_is_dropped(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_side, "ANSWER_S", 0.1)
    monkeypatch.setattr(connection_side, "REQUEST_S", 0.1)
    counting = Counting()
    with serving(run, {"count": counting}) as server, raw(run) as slow:
        slow.sendall(protocol.request(1, "count", {"events": 5000, "bytes": 500}))
        assert counting.over.wait(HANG)
        assert eventually(lambda: not server._connections)


def test_what_waits_for_all_readers_together_is_bounded(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_side, "HELD", 2_000_000)
    over: list[int] = []

    def long(params: Mapping[str, Any], call: Call) -> Mapping[str, Any]:
        over.append(1)
        return {"filling": "x" * 900_000}

    with serving(run, {"long": long}) as server:
        slow = [raw(run) for _ in range(12)]
        for one in slow:
            one.sendall(protocol.request(1, "long", {}))
        assert eventually(lambda: len(over) == 12 and server._calls == 0)
        assert sum(len(one.out) + len(one.inbox) for one in list(server._connections)) < 3_000_000
        for one in slow:
            one.close()


def test_what_is_being_sent_by_all_together_is_bounded(
    run: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_side, "HELD", 2_000_000)
    many = [raw(run) for _ in range(12)]
    senders = [threading.Thread(target=send_quietly, args=(one, b"x" * 900_000)) for one in many]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(HANG)
    assert eventually(lambda: sum(one.refused for one in list(server._connections)) or len(server._connections) < 12)
    assert sum(len(one.inbox) for one in list(server._connections)) < 3_000_000
    assert "result" in ask(run, "ping")
    for one in many:
        one.close()
