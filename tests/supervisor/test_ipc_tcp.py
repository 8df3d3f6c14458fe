"""TCP: only on loopback, only with the token, which never crosses; a stranger on the port gets and gives nothing."""

from __future__ import annotations

import os
import socket
import stat
import threading
from pathlib import Path

import pytest

from cc.errors import ConfigError, Failure
from cc.supervisor import protocol, transport
from cc.supervisor import server as server_side
from cc.supervisor.listener import listen_tcp
from cc.supervisor.transport import TOKEN, connect_tcp
from tests.supervisor.ipc_support import HANG, METHODS, answer, ask, lines, serving


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.5.5.5"])
def test_over_tcp_client_and_server_prove_that_they_know_the_token(run: Path, port: int, host: str) -> None:
    tcp = listen_tcp(str(run), (host, port))
    with serving(run, {"via": lambda params, call: {"via": call.via}}, tcp):
        assert stat.S_IMODE((run / TOKEN).stat().st_mode) == 0o600
        connection = connect_tcp(str(run), (host, port), HANG)
        connection.sendall(protocol.request(1, "via", {}))
        assert answer(connection)["result"] == {"via": "tcp"}
        connection.close()
    assert not (run / TOKEN).exists()


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "8.8.8.8"])  # noqa: S104 - refused is what they are
def test_an_address_that_others_could_reach_is_refused_by_both(run: Path, host: str) -> None:
    (run / TOKEN).write_text("ab" * 32)
    (run / TOKEN).chmod(0o600)
    for attempt in (lambda: listen_tcp(str(run), (host, 5555)), lambda: connect_tcp(str(run), (host, 5555), 1.0)):
        with pytest.raises(ConfigError) as caught:
            attempt()
        assert caught.value.field == "CC_IPC_TCP"


def test_a_port_that_somebody_holds_is_said(run: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        with pytest.raises(Failure) as caught:
            listen_tcp(str(run), holder.getsockname())
    assert caught.value.code == "port_in_use"
    assert not (run / TOKEN).exists()


def test_each_supervisor_has_a_token_of_its_own(run: Path, port: int) -> None:
    seen = set()
    for _ in range(2):
        tcp = listen_tcp(str(run), ("127.0.0.1", port))
        seen.add((run / TOKEN).read_text())
        tcp.close()
    assert len(seen) == 2
    assert all(len(each.strip()) == 64 for each in seen)


def test_without_the_token_there_is_no_connection(run: Path, port: int) -> None:
    with pytest.raises(Failure, match="no token"):
        connect_tcp(str(run), ("127.0.0.1", port), 1.0)
    (run / TOKEN).write_text("zz")
    (run / TOKEN).chmod(0o600)
    with pytest.raises(Failure, match="holds no token"):
        connect_tcp(str(run), ("127.0.0.1", port), 1.0)
    (run / TOKEN).chmod(0o644)
    with pytest.raises(Failure, match="by others") as caught:
        connect_tcp(str(run), ("127.0.0.1", port), 1.0)
    assert caught.value.code == "not_ours"


def test_a_client_with_another_token_gets_no_answer(run: Path, port: int) -> None:
    tcp = listen_tcp(str(run), ("127.0.0.1", port))
    with serving(run, {}, tcp):
        (run / TOKEN).write_text("ab" * 32)
        with pytest.raises(Failure) as caught:
            connect_tcp(str(run), ("127.0.0.1", port), HANG)
    assert caught.value.code == "not_ours"


def test_a_squatter_on_the_port_is_told_one_random_number(run: Path) -> None:
    heard = bytearray()

    def squat(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        heard.extend(connection.recv(4096))
        connection.sendall(protocol.said(None, "nonce", "ab" * 32, proof="cd" * 32))
        heard.extend(connection.recv(4096))
        connection.close()

    token = os.urandom(32).hex()
    (run / TOKEN).write_text(token)
    (run / TOKEN).chmod(0o600)
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        thread = threading.Thread(target=squat, args=(squatter,))
        thread.start()
        with pytest.raises(Failure, match="not our supervisor"):
            connect_tcp(str(run), squatter.getsockname(), HANG)
        thread.join(HANG)
    said = protocol.decode(bytes(heard))
    assert set(said) == {"v", "id", "nonce"}
    assert token not in heard.decode()


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"x" * 100_000, b'{"v":1,"id":null}\n'])
def test_a_stranger_on_the_port_is_no_supervisor(run: Path, answer: bytes) -> None:
    def speak(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        connection.recv(4096)
        connection.sendall(answer)
        connection.close()

    (run / TOKEN).write_text("ab" * 32)
    (run / TOKEN).chmod(0o600)
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        thread = threading.Thread(target=speak, args=(stranger,))
        thread.start()
        with pytest.raises(Failure) as caught:
            connect_tcp(str(run), stranger.getsockname(), HANG)
        thread.join(HANG)
    assert caught.value.code in ("not_ours", "bad_answer", "connection_refused")


def test_a_stranger_that_says_nothing_costs_the_time_given(run: Path) -> None:
    (run / TOKEN).write_text("ab" * 32)
    (run / TOKEN).chmod(0o600)
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        with pytest.raises(Failure) as caught:
            connect_tcp(str(run), stranger.getsockname(), 0.1)
    assert caught.value.code == "deadline"


def test_the_bsd_layout_of_a_peers_credentials_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    import struct

    class Bsd:
        def getsockopt(self, level: int, option: int, size: int) -> bytes:
            assert (level, option) == (0, 1)
            assert size == 76
            return struct.pack("IIh2xI", 0, 501, 1, 20) + bytes(60)

    monkeypatch.setattr(transport, "LINUX", False)
    assert transport.peer_uid(Bsd()) == 501  # type: ignore[arg-type]


# -- over TCP


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
