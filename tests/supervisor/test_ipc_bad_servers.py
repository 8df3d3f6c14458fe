"""A supervisor that is silent, goes away or talks nonsense is said to be that, and within its time."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cc.errors import Failure
from cc.supervisor import protocol
from cc.supervisor import server as server_side
from cc.supervisor.client import Client
from cc.supervisor.server import Server
from cc.supervisor.transport import SOCKET
from tests.supervisor.ipc_support import HANG


@contextmanager
def saying(run: Path, *answers: bytes, then: str = "close") -> Iterator[None]:
    """A server that says this to whatever it is asked."""

    def speak() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(4096)
            for each in answers:
                connection.sendall(each)
            if then == "wait":
                connection.recv(4096)

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(run / SOCKET))
        listening.listen()
        thread = threading.Thread(target=speak)
        thread.start()
        yield
        thread.join(HANG)
        assert not thread.is_alive()


def test_a_server_that_never_answers_is_said_after_the_time_for_its_first_byte(run: Path) -> None:
    with (
        saying(run, then="wait"),
        Client.connect(str(run)) as client,
        pytest.raises(Failure, match="has not answered ping") as caught,
    ):
        client.call("ping", first_byte=0.1)
    assert caught.value.code == "deadline"


def test_a_server_that_falls_silent_during_a_call_is_said(run: Path) -> None:
    with (
        saying(run, protocol.said(1, "ack", True), then="wait"),
        Client.connect(str(run)) as client,
        pytest.raises(Failure, match="has not answered up") as caught,
    ):
        client.call("up", first_byte=HANG, silence=0.1)
    assert caught.value.code == "deadline"


def test_a_call_goes_on_for_as_long_as_it_is_heard_of(run: Path) -> None:
    beats = [protocol.said(1, "heartbeat", True)] * 5
    with saying(run, *beats, protocol.said_result(1, {"done": True})), Client.connect(str(run)) as client:
        assert client.call("up", silence=HANG).result == {"done": True}


def test_a_server_that_goes_away_is_said(run: Path) -> None:
    with (
        saying(run, protocol.said(1, "ack", True)),
        Client.connect(str(run)) as client,
        pytest.raises(Failure, match="went away before it answered up") as caught,
    ):
        client.call("up")
    assert caught.value.code == "connection_refused"


@pytest.mark.parametrize(
    "answer",
    [
        b"junk\n", b"\n", b"{}\n", b"\xff" * 100 + b"\n",
        protocol.said(2, "result", {}), protocol.said(None, "result", {}),
        b'{"v":1,"id":1,"result":7}\n', b'{"v":1,"id":1,"result":{},"dropped":"x"}\n', b'{"v":1,"id":1,"error":3}\n',
        b'{"v":9,"id":1,"result":{}}\n', b"x" * (protocol.MAX_LINE + 1),
    ],
    ids=lambda answer: repr(answer[:40]),
)  # fmt: skip
def test_an_answer_that_is_none_is_a_bad_answer(run: Path, answer: bytes) -> None:
    with saying(run, answer), Client.connect(str(run)) as client, pytest.raises(Failure) as caught:
        client.call("ping")
    assert caught.value.code == "bad_answer"


def test_a_server_of_another_version_is_said_as_such(run: Path) -> None:
    with (
        saying(run, b'{"v":2,"id":1,"result":{}}\n'),
        Client.connect(str(run)) as client,
        pytest.raises(protocol.OtherVersion),
    ):
        client.call("ping")


def test_messages_of_a_kind_that_this_version_does_not_know_are_passed_over(run: Path) -> None:
    said = (protocol.said(1, "news", {}), protocol.said(1, "event", 7), protocol.said_result(1, {}))
    with saying(run, *said), Client.connect(str(run)) as client:
        assert client.call("ping", on_event=lambda event: pytest.fail(str(event))).result == {}


def test_a_server_that_is_busy_says_so_though_it_closes(
    run: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_side, "CONNECTIONS", 0)
    for _ in range(50):
        with Client.connect(str(run)) as client, pytest.raises(protocol.Busy):
            client.call("ping")


def test_an_answer_in_pieces_is_put_together(run: Path) -> None:
    whole = protocol.said_result(1, {"text": "x" * 300_000})
    with saying(run, *(whole[i : i + 7777] for i in range(0, len(whole), 7777))), Client.connect(str(run)) as client:
        assert len(client.call("ping").result["text"]) == 300_000
