"""A client is never left waiting: every way of not being answered is said within its time, as what it is."""

from __future__ import annotations

import fcntl
import os
import select
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cc.clock import Cancel
from cc.errors import CcError, ConfigError, Failure, Interrupted, LockHeldError
from cc.supervisor import client as client_side
from cc.supervisor import transport
from cc.supervisor.client import Client, Fallback
from cc.supervisor.connection import Call
from cc.supervisor.listener import listen_tcp
from cc.supervisor.server import Server
from cc.supervisor.transport import LOCK, SOCKET
from tests.fakes import FakeClock
from tests.supervisor.ipc_support import HANG, METHODS, ROOT, Counting, eventually, listen, serving


@pytest.fixture
def client(run: Path, server: Server) -> Iterator[Client]:
    with Client.connect(str(run)) as one:
        yield one


@pytest.fixture
def cancel() -> Iterator[Cancel]:
    one = Cancel()
    yield one
    one.close()


@contextmanager
def held(run: Path) -> Iterator[None]:
    """A supervisor lives here, and takes no connection."""
    descriptor = os.open(run / LOCK, os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    yield
    os.close(descriptor)


# -- L9


def test_rung_0_is_the_unix_socket(client: Client) -> None:
    answer = client.call("ping")
    assert (answer.via, answer.fallbacks, answer.result) == ("unix", (), {"pid": os.getpid()})


def test_rung_1_is_tcp_if_it_is_configured_and_the_answer_says_so(run: Path, port: int) -> None:
    with serving(run, METHODS, listen_tcp(str(run), ("127.0.0.1", port))):
        (run / SOCKET).unlink()
        with Client.connect(str(run), ("127.0.0.1", port)) as client:
            answer = client.call("via")
    assert answer.via == "tcp"
    assert answer.result == {"via": "tcp"}
    assert [(each.rung, each.way, each.code) for each in answer.fallbacks] == [(0, "unix", "connection_refused")]


def test_rung_2_is_the_unix_socket_again_after_1_2_and_4_seconds(run: Path) -> None:
    clock, told, servers = FakeClock(), [], []
    held_by_one_that_ends = held(run)

    def gives_way(fallback: Fallback, wait: float) -> None:
        told.append((fallback.way, wait))
        if len(told) == 3:
            held_by_one_that_ends.__exit__(None, None, None)
            servers.append(Server([listen(run)], METHODS))
            servers[0].start()

    held_by_one_that_ends.__enter__()
    with Client.connect(str(run), clock=clock, on_fallback=gives_way) as client:
        answer = client.call("ping")
    assert clock.waits == [1.0, 2.0, 4.0]
    assert told == [("unix", 1.0), ("unix after 1 s", 2.0), ("unix after 2 s", 4.0)]
    assert [each.rung for each in answer.fallbacks] == [0, 2, 2]
    servers[0].close()


def test_rung_3_names_every_attempt(run: Path) -> None:
    clock = FakeClock()
    with held(run), pytest.raises(Failure) as caught:
        Client.connect(str(run), ("127.0.0.1", 1), clock=clock)
    assert caught.value.code == "connection_refused"
    assert [line.split(":")[0] for line in caught.value.evidence] == [
        "unix", "tcp", "unix after 1 s", "unix after 2 s", "unix after 4 s"
    ]  # fmt: skip
    assert clock.waits == [1.0, 2.0, 4.0]


def leave_nothing(run: Path) -> None:
    pass


def leave_stale(run: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(run / SOCKET))
    (run / "supervisor.pid").write_text(f"{2**22 - 1} 1\n")
    (run / LOCK).write_text("")


@pytest.mark.parametrize("leave", [leave_nothing, leave_stale, shutil.rmtree])
def test_a_supervisor_that_cannot_come_back_is_not_waited_for(run: Path, leave: Callable[[Path], None]) -> None:
    leave(run)
    clock = FakeClock()
    with pytest.raises(Failure) as caught:
        Client.connect(str(run), clock=clock)
    assert caught.value.code == "connection_refused"
    assert clock.waits == []
    assert len(caught.value.evidence) == 1


def test_waiting_for_it_to_come_back_can_be_cancelled(run: Path, cancel: Cancel) -> None:
    cancel.request("ctrl-c")
    with held(run), pytest.raises(Interrupted, match="ctrl-c"):
        Client.connect(str(run), cancel=cancel)


def test_an_address_that_is_no_loopback_is_an_error_and_not_a_fallback(run: Path) -> None:
    (run / "supervisor.token").write_text("ab" * 32)
    (run / "supervisor.token").chmod(0o600)
    with pytest.raises(ConfigError):
        Client.connect(str(run), ("192.0.2.1", 5555))


# -- calls


def test_events_come_in_order_as_they_happen_and_before_the_answer(client: Client) -> None:
    events: list[Mapping[str, Any]] = []
    answer = client.call("count", {"events": 100}, on_event=events.append)
    assert [event["number"] for event in events] == list(range(100))
    assert (answer.result, answer.dropped) == ({"counted": 100}, 0)


def test_events_that_were_dropped_are_counted(run: Path) -> None:
    counting, seen = Counting(), []

    def reads_once_all_is_said(event: Mapping[str, Any]) -> None:
        assert counting.over.wait(HANG)
        seen.append(event)

    with serving(run, {"count": counting}), Client.connect(str(run)) as client:
        answer = client.call("count", {"events": 20_000, "bytes": 500}, on_event=reads_once_all_is_said)
    assert answer.dropped > 0
    assert len(seen) + answer.dropped == 20_000


def test_the_error_that_a_method_raised_comes_as_its_own_class_and_the_client_goes_on(client: Client) -> None:
    with pytest.raises(LockHeldError) as held_error:
        client.call("held")
    assert (held_error.value.exit_code, held_error.value.hint) == (4, "wait for it")
    with pytest.raises(ConfigError) as config:
        client.call("config")
    assert (config.value.file, config.value.line, config.value.field) == ("cc.yaml", 3, "colour")
    with pytest.raises(Failure) as failure:
        client.call("docker")
    assert (failure.value.code, failure.value.evidence) == ("daemon_down", ("first", "last"))
    assert client.call("ping").result


def test_what_is_no_json_is_not_sent_and_the_client_goes_on(client: Client) -> None:
    with pytest.raises(Failure) as caught:
        client.call("echo", {"what": object()})
    assert caught.value.code == "internal_error"
    assert client.call("ping").result


def test_a_client_that_was_idle_for_long_connects_again(client: Client, server: Server) -> None:
    client.call("ping")
    for one in list(server._connections):
        one.until = 0.0
    server._sweep_at = 0.0
    server._ring()
    told = client._connection
    assert told is not None
    assert eventually(lambda: select.select([told], [], [], 0)[0])  # the server has hung up, and it has come through
    assert client.call("ping").result


def test_after_close_the_next_call_connects_again(client: Client) -> None:
    client.close()
    client.close()
    assert client.call("ping").result


def test_a_listener_that_raises_hangs_up_and_the_call_is_cancelled(client: Client, server: Server) -> None:
    def raises(event: Mapping[str, Any]) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        client.call("until_cancelled", on_event=raises)
    assert eventually(lambda: server._calls == 0)
    assert client.call("ping").result


def test_a_cancel_is_passed_on_and_the_answer_awaited(client: Client, cancel: Cancel) -> None:
    answer = client.call("until_cancelled", on_event=lambda event: cancel.request("ctrl-c"), cancel=cancel)
    assert answer.result == {"reason": "ctrl-c"}
    assert client.call("ping").result


def test_a_cancel_that_was_requested_before_is_passed_on(client: Client, cancel: Cancel) -> None:
    cancel.request("too late")
    assert client.call("until_cancelled", cancel=cancel).result == {"reason": "too late"}


def test_a_cancel_is_heard_between_events_that_never_end(run: Path, cancel: Cancel) -> None:
    def talks(params: Mapping[str, Any], call: Call) -> Mapping[str, Any]:
        while not call.cancelled.requested:
            call.emit({"more": True})
        return {"reason": call.cancelled.requested}

    with serving(run, {"talks": talks}), Client.connect(str(run)) as client:
        answer = client.call("talks", on_event=lambda event: cancel.request("enough"), cancel=cancel)
        assert answer.result == {"reason": "enough"}
        assert client.call("talks", deadline=0.2).result["reason"]


def test_a_call_whose_deadline_passes_is_cancelled_and_an_answer_that_is_there_is_not_thrown_away(
    client: Client,
) -> None:
    assert client.call("until_cancelled", deadline=0.1).result == {"reason": "its deadline passed"}


def test_an_error_after_the_deadline_is_the_deadlines(run: Path) -> None:
    def fails(params: Mapping[str, Any], call: Call) -> Mapping[str, Any]:
        call.cancelled.wait(HANG)
        raise Failure("stopped halfway", code="interrupted", evidence=("a", "b"))

    with serving(run, {"fails": fails}), Client.connect(str(run)) as client:
        with pytest.raises(Failure) as caught:
            client.call("fails", deadline=0.1)
        assert caught.value.code == "deadline"
        assert caught.value.evidence == ("stopped halfway", "a", "b")
        with pytest.raises(Failure) as caught:
            client.call("fails", deadline=0.1)
        assert caught.value.code == "deadline"


def test_what_does_not_stop_when_cancelled_is_given_up(
    run: Path, cancel: Cancel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_side, "CANCEL_S", 0.1)
    let_go = threading.Event()
    with serving(run, {"deaf": lambda params, call: {"waited": let_go.wait(HANG)}}), Client.connect(str(run)) as client:
        with pytest.raises(Failure, match="did not stop") as caught:
            client.call("deaf", deadline=0.1)
        assert caught.value.code == "deadline"
        cancel.request("ctrl-c")
        with pytest.raises(Interrupted, match="did not stop"):
            client.call("deaf", cancel=cancel)
        let_go.set()


def test_two_hundred_clients_are_answered_at_once(run: Path, server: Server) -> None:
    failed: list[CcError] = []

    def ask(number: int) -> None:
        try:
            with Client.connect(str(run), deadline=HANG) as client:
                assert client.call("echo", {"n": number}, first_byte=HANG).result == {"n": number}
        except CcError as error:
            failed.append(error)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANG)
    assert failed == []


def test_failed_connections_and_calls_leave_no_descriptor_open(run: Path, server: Server) -> None:
    def fail() -> None:
        with Client.connect(str(run)) as client:
            for method in ("bug", "no_such"):
                with pytest.raises(Failure):
                    client.call(method)
            with pytest.raises(Failure):
                client.call("until_cancelled", on_event=lambda event: None, first_byte=0.0, silence=0.0)
        with pytest.raises(Failure):
            Client.connect(str(run / "nowhere"))

    def settled() -> bool:
        with Client.connect(str(run)) as client:
            client.call("ping")  # those before it in the queue are accepted now
        return eventually(lambda: not server._connections and server._calls == 0)

    fail()
    assert settled()
    before = len(os.listdir("/dev/fd"))
    for _ in range(20):
        fail()
    assert settled()
    assert len(os.listdir("/dev/fd")) == before


def test_a_client_loads_nothing_but_leaves_and_what_is_cheap() -> None:
    code = (
        "import sys, cc.supervisor.client\n"
        "dear = {'asyncio', 'psutil', 'requests', 'ssl', 'dataclasses', 'inspect', 'hmac', 'hashlib', 'subprocess'}\n"
        "print(sorted(dear & set(sys.modules)), sorted(n for n in sys.modules if n.startswith('cc.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    ours = [f"cc.supervisor.{name}" for name in ("client", "protocol", "transport")]
    assert done.stdout.strip() == f"[] {['cc.clock', 'cc.errors', 'cc.files', 'cc.supervisor', *ours]}"
    assert transport.LONGEST_PATH < 108
