"""Whatever a client does, the others are answered and nothing piles up; an operation never waits for its reader."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cc.supervisor import protocol
from cc.supervisor import server as server_side
from cc.supervisor.client import Client
from cc.supervisor.connection import Call
from cc.supervisor.listener import AlreadyServed, Seen
from cc.supervisor.server import Server
from cc.supervisor.transport import LOCK, SOCKET
from tests.supervisor.ipc_support import HANG, METHODS, answer, ask, begun, eventually, lines, listen, raw, serving

# -- answers


def test_a_call_is_acknowledged_then_told_about_then_answered_once(run: Path, server: Server) -> None:
    with raw(run) as connection:
        connection.sendall(protocol.request(7, "count", {"events": 2}))
        said = lines(connection)
        keys = [sorted(set(message) - {"v", "id", "dropped"}) for message in (next(said) for _ in range(4))]
        assert keys == [["ack"], ["event"], ["event"], ["result"]]


@pytest.mark.parametrize(
    ("method", "code", "says"),
    [
        ("held", "lock_held", "another run"),
        ("config", "bad_config", "unknown key"),
        ("docker", "daemon_down", "no daemon"),
        ("bug", "internal_error", "ZeroDivisionError: a bug"),
        ("exits", "internal_error", "SystemExit"),
        ("no_json", "internal_error", "JSON"),
        ("too_long", "bad_answer", "over the limit"),
        ("never_heard_of", "bad_answer", "there are bug, config"),
    ],
)
def test_what_a_method_raises_is_answered_and_the_connection_stays(
    run: Path, server: Server, method: str, code: str, says: str
) -> None:
    with raw(run) as connection:
        for number in (1, 2):
            connection.sendall(protocol.request(number, method, {}))
            said = answer(connection)
            assert (said["id"], said["error"]["type"]) == (number, code)
            assert says in said["error"]["message"]
        connection.sendall(protocol.request(3, "ping", {}))
        assert answer(connection)["result"]["pid"] == os.getpid()


@pytest.mark.parametrize("method", ["ping", "bug", "held"])
def test_a_quick_method_is_answered_without_an_ack_and_without_a_thread(run: Path, method: str) -> None:
    threads: set[str] = set()

    def noted(params: Mapping[str, Any], call: Call) -> Mapping[str, Any]:
        threads.add(threading.current_thread().name)
        call.emit({"dropped": "a quick one says nothing but its answer"})
        return METHODS[method](params, call)

    with serving(run, {"quick": noted}, quick={"quick"}), raw(run) as connection:
        for number in range(3):
            connection.sendall(protocol.request(number, "quick", {}))
            said = next(lines(connection))
            assert said["id"] == number
            assert ("result" in said) == (method == "ping")
    assert threads == {"ipc"}


def test_the_traceback_of_a_bug_is_logged(run: Path, server: Server, log: list[str]) -> None:
    ask(run, "bug")
    assert "Traceback" in log[0]
    assert "ZeroDivisionError" in log[0]


def test_a_call_that_is_not_whole_is_answered_and_the_connection_stays(run: Path, server: Server) -> None:
    with raw(run) as connection:
        connection.sendall(b'{"v":1,"id":4,"method":7}\n')
        assert answer(connection)["id"] == 4
        connection.sendall(protocol.request(5, "ping", {}))
        assert "result" in answer(connection)


def test_a_second_call_on_a_connection_waits_for_nobody(run: Path, server: Server) -> None:
    with raw(run) as connection:
        connection.sendall(protocol.request(1, "until_cancelled", {}) + protocol.request(2, "ping", {}))
        said = answer(connection)
        assert said["id"] == 2
        assert "still runs" in said["error"]["message"]


def test_calls_of_several_clients_run_at_the_same_time(run: Path) -> None:
    together = threading.Barrier(8)

    def meets(params: Mapping[str, Any], call: Call) -> Mapping[str, Any]:
        return {"place": together.wait(HANG)}

    with serving(run, {"meets": meets}), ThreadPoolExecutor(8) as pool:
        places = pool.map(lambda _: ask(run, "meets")["result"]["place"], range(8))
        assert sorted(places) == list(range(8))


# -- cancelling


def test_a_cancel_reaches_the_call_and_the_answer_still_comes(run: Path, server: Server) -> None:
    with begun(run) as connection:
        connection.sendall(protocol.said(9, "cancel", "another call's") + protocol.said(1, "cancel", "ctrl-c"))
        assert answer(connection)["result"] == {"reason": "ctrl-c"}


def test_a_deadline_that_passes_cancels_the_call(run: Path, server: Server) -> None:
    with begun(run, 0.1) as connection:
        assert answer(connection)["result"] == {"reason": "its deadline passed"}


@pytest.mark.parametrize("how", ["close", "half"])
def test_a_client_that_goes_away_cancels_its_call(run: Path, how: str) -> None:
    reasons: list[str | None] = []

    def waits(params: Mapping[str, Any], call: Call) -> Mapping[str, Any]:
        call.emit({})
        call.cancelled.wait(HANG)
        reasons.append(call.cancelled.requested)
        call.emit({"nobody": "reads this"})
        return {}

    with serving(run, {**METHODS, "until_cancelled": waits}):
        connection = begun(run)
        connection.close() if how == "close" else connection.shutdown(socket.SHUT_WR)
        assert eventually(lambda: reasons == ["the client went away"])
        assert "result" in ask(run, "ping")
        connection.close()


def test_junk_during_a_call_ends_connection_and_call(run: Path, server: Server) -> None:
    with begun(run) as connection:
        connection.sendall(b"junk\n")
        assert answer(connection)["error"]["type"] == "bad_answer"
        assert eventually(lambda: server._calls == 0)


def test_a_call_is_told_that_it_goes_on_every_second(
    run: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEARTBEAT_S", 0.02)
    with begun(run) as connection:
        said = lines(connection)
        assert [next(said) for _ in range(5)] == [{"v": 1, "id": 1, "heartbeat": True}] * 5


# -- its end, and its socket


def test_at_its_end_a_server_cancels_what_runs_and_still_answers_it(run: Path) -> None:
    server = Server([listen(run)], METHODS)
    server.start()
    idle, running = raw(run), begun(run)
    server.close(HANG)
    assert answer(running)["result"] == {"reason": "the supervisor is stopping"}
    assert idle.recv(1) == b""
    assert os.listdir(run) == [LOCK]
    for one in (idle, running):
        one.close()


def test_a_call_that_does_not_hear_does_not_keep_a_server_from_its_end(run: Path) -> None:
    let_go = threading.Event()

    def deaf(params: Mapping[str, Any], call: Call) -> Mapping[str, Any]:
        let_go.wait(HANG)
        return {}

    server = Server([listen(run)], {"deaf": deaf})
    server.start()
    with raw(run) as connection:
        connection.sendall(protocol.request(1, "deaf", {}))
        assert "ack" in next(lines(connection))
        server.close(0.1)
        assert connection.recv(100) == b""
    let_go.set()


def test_while_it_ends_a_server_takes_no_call(run: Path) -> None:
    server = Server([listen(run)], METHODS)
    server.start()
    let_go = threading.Event()
    server._methods["deaf"] = lambda params, call: {"waited": let_go.wait(HANG)}
    with raw(run) as busy:
        busy.sendall(protocol.request(1, "deaf", {}))
        assert "ack" in next(lines(busy))
        closing = threading.Thread(target=server.close, args=(HANG,))
        closing.start()
        assert eventually(lambda: not (run / SOCKET).exists())
        busy.sendall(protocol.request(2, "ping", {}))
        assert "still runs" in answer(busy)["error"]["message"]
        let_go.set()
        closing.join(HANG)
        assert not closing.is_alive()


def test_a_socket_that_was_deleted_is_made_again(run: Path, log: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_side, "LOOK_S", 0.02)
    with serving(run, log=log.append), begun(run) as before:
        (run / SOCKET).unlink()
        assert eventually((run / SOCKET).exists)
        assert "result" in ask(run, "ping")
        before.sendall(protocol.said(1, "cancel", "still here"))
        assert answer(before)["result"] == {"reason": "still here"}
    assert log == [f"{run / SOCKET} was deleted and is made again"]
    assert os.listdir(run) == [LOCK]


def test_a_whole_run_directory_that_was_deleted_is_made_again(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_side, "LOOK_S", 0.02)
    with serving(run):
        shutil.rmtree(run)
        assert eventually((run / SOCKET).exists)
        with Client.connect(str(run)) as client:
            assert client.call("ping").result["pid"] == os.getpid()
        with pytest.raises(AlreadyServed):
            listen(run)


def test_a_lock_that_was_deleted_is_taken_again(run: Path, log: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_side, "LOOK_S", 0.02)
    with serving(run, log=log.append):
        (run / LOCK).unlink()
        assert eventually(lambda: log)
        with pytest.raises(AlreadyServed):
            listen(run)
    assert log == ["the supervisor's lock was deleted and is made again"]


def test_a_file_in_the_place_of_the_socket_is_said_once_and_left(
    run: Path, log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_side, "LOOK_S", 0.01)
    looks: list[int] = []
    with serving(run, log=log.append, hooks=[lambda: looks.append(1)]):
        (run / SOCKET).unlink()
        (run / SOCKET).write_text("precious")
        assert eventually(lambda: log)
        seen = len(looks)
        assert eventually(lambda: len(looks) > seen + 5)
        assert len(log) == 1
        assert "is a file" in log[0]
        (run / SOCKET).unlink()
        assert eventually((run / SOCKET).is_socket)
        assert "result" in ask(run, "ping")


def test_a_supervisor_whose_place_was_taken_is_told(run: Path) -> None:
    lost: list[str] = []
    listener = listen(run)
    listener.check = lambda: Seen("another one holds the lock", lost=True)  # type: ignore[method-assign]
    server = Server([listener], METHODS, on_lost=lost.append)
    server.start()
    assert eventually(lambda: lost == ["another one holds the lock"])
    server.close()


def test_a_hook_that_raises_ends_nothing(run: Path, log: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_side, "LOOK_S", 0.02)
    calls: list[int] = []

    def hook() -> None:
        calls.append(1)
        raise ValueError("a bad hook")

    with serving(run, log=log.append, hooks=[hook]):
        assert eventually(lambda: len(calls) > 2)
        assert "result" in ask(run, "ping")
    assert "a bad hook" in log[0]
