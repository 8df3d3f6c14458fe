"""Whatever a client does, the others are answered and nothing piles up; an operation never waits for its reader."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cc.supervisor import connection as connection_side
from cc.supervisor import protocol
from cc.supervisor import server as server_side
from cc.supervisor.client import Client
from cc.supervisor.connection import Call
from cc.supervisor.listener import AlreadyServed, Seen, listen_tcp
from cc.supervisor.server import Server
from cc.supervisor.transport import LOCK, SOCKET
from tests.supervisor.ipc_support import HANG, METHODS, Counting, answer, eventually, lines, listen, raw, serving


@pytest.fixture
def run() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="cc"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def log() -> list[str]:
    return []


@pytest.fixture
def server(run: Path, log: list[str]) -> Iterator[Server]:
    with serving(run, log=log.append) as one:
        yield one


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is silent is dropped after a tenth of a second."""
    monkeypatch.setattr(connection_side, "REQUEST_S", 0.1)
    monkeypatch.setattr(connection_side, "LINGER_S", 0.1)


def ask(run: Path, method: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """One call, by hand, on a connection of its own."""
    with raw(run) as connection:
        connection.sendall(protocol.request(1, method, params or {}))
        return answer(connection)


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


def begun(run: Path, deadline_s: float | None = None) -> socket.socket:
    connection = raw(run)
    connection.sendall(protocol.request(1, "until_cancelled", {}, deadline_s))
    said = lines(connection)
    assert "ack" in next(said)
    assert "event" in next(said)
    return connection


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


# -- clients that behave badly


@pytest.mark.parametrize(
    "junk",
    [
        b"junk\n", b"\n", b"\0" * 100 + b"\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"42\n", b"[" * 100_000 + b"\n",
        b'{"v":2,"id":1,"method":"ping"}\n', os.urandom(4096).replace(b"\n", b"") + b"\n",
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


# -- many


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


# -- over TCP


@pytest.fixture
def port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_over_tcp_nothing_is_answered_before_the_proof(run: Path, port: int) -> None:
    with serving(run, METHODS, listen_tcp(str(run), ("127.0.0.1", port))):
        for sent in (protocol.request(1, "ping", {}), b"x" * 5000, protocol.said(1, "cancel", "no")):
            with socket.create_connection(("127.0.0.1", port), HANG) as connection:
                connection.sendall(sent)
                said = list(lines(connection))
            assert [message["error"]["type"] for message in said] == ["bad_answer"]


def test_strangers_on_the_port_do_not_keep_the_users_clients_out(
    run: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_side, "UNPROVEN", 4)
    with serving(run, METHODS, listen_tcp(str(run), ("127.0.0.1", port))) as server:
        strangers = [socket.create_connection(("127.0.0.1", port), HANG) for _ in range(20)]
        assert sum(stranger.recv(1) == b"" for stranger in strangers[4:]) == 16
        assert len(server._connections) == 4
        assert "result" in ask(run, "ping")
        for stranger in strangers:
            stranger.close()


@pytest.mark.usefixtures("hurried")
def test_a_stranger_that_proves_nothing_in_time_is_dropped(run: Path, port: int) -> None:
    with (
        serving(run, METHODS, listen_tcp(str(run), ("127.0.0.1", port))),
        socket.create_connection(("127.0.0.1", port), HANG) as stranger,
    ):
        stranger.sendall(protocol.said(None, "nonce", "ab" * 32))
        assert [sorted(message) for message in lines(stranger)] == [["id", "nonce", "proof", "v"]]


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
