"""Ports held by real sockets: on each kind of address, listening or not, by ourselves and by others."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from cc.engine.outcome import Status
from cc.engine.step import Context, Judged, run_action
from cc.errors import Failure
from cc.resources import port
from cc.resources.process_table import Owner, listeners

if TYPE_CHECKING:
    from cc.resources.host import Host

ANY4, ANY6 = "0.0.0.0", "::"  # noqa: S104 - what strangers do


def listening(host: str, number: int = 0, *, v6only: bool = False) -> socket.socket:
    """A listening socket, as a server makes it."""
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if ":" in host:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(v6only))
    made.bind((host, number))
    made.listen()
    return made


def number_of(made: socket.socket) -> int:
    number: int = made.getsockname()[1]
    return number


@pytest.mark.parametrize(
    ("held", "asked", "free"),
    [
        ("127.0.0.1", "127.0.0.1", False),
        ("127.0.0.1", "127.0.0.2", True),
        ("127.0.0.1", ANY4, False),
        ("127.0.0.1", ANY6, False),
        ("127.0.0.1", "::1", True),
        ("127.0.0.1", "localhost", False),
        (ANY4, "127.0.0.1", False),
        (ANY4, ANY4, False),
        (ANY4, ANY6, False),
        (ANY4, "::1", True),
        (ANY6, "127.0.0.1", False),  # dual-stack
        (ANY6, ANY4, False),
        (ANY6, "::1", False),
        ("::1", "127.0.0.1", True),
        ("::1", ANY6, False),
    ],
)
def test_a_port_is_free_where_a_server_could_listen(held: str, asked: str, free: bool) -> None:
    with closing(listening(held)) as made:
        assert port.is_free(asked, number_of(made)) is free
    assert port.is_free(asked, number_of_free())


def number_of_free() -> int:
    with closing(listening("127.0.0.1")) as made:
        return number_of(made)


def test_a_name_is_free_when_all_of_its_addresses_are(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]

    def resolve(host: str, number: int, **_: object) -> list[Any]:
        return [(family, socket.SOCK_STREAM, 6, "", (address, number)) for family, address in both]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with closing(listening("::1")) as made:
        number = number_of(made)
        assert not port.is_free("localhost", number)
    assert port.is_free("localhost", number)


def test_an_ipv6_only_wildcard_leaves_ipv4_free() -> None:
    with closing(listening(ANY6, v6only=True)) as made:
        assert port.is_free("127.0.0.1", number_of(made))
        assert not port.is_free(ANY6, number_of(made))


def test_a_socket_that_is_bound_and_does_not_listen_holds_its_port() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        fact = port.read_port("127.0.0.1", number_of(bound))
    assert not fact.free
    assert port.in_use(fact).message.endswith("is held by a process that cannot be seen from here")


def test_connections_in_time_wait_do_not_hold_a_port() -> None:
    with closing(listening("127.0.0.1")) as made:
        number = number_of(made)
        client = socket.create_connection(("127.0.0.1", number))
        served, _ = made.accept()
        served.close()  # the server closes first: TIME_WAIT is its own
        client.close()
    with socket.socket() as plain, pytest.raises(OSError, match="in use"):
        plain.bind(("127.0.0.1", number))
    assert port.is_free("127.0.0.1", number)


def test_a_privileged_port_is_judged_by_who_answers_where_binding_is_not_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Denied(socket.socket):
        def bind(self, address: Any) -> None:
            raise PermissionError(13, "Permission denied")

    with closing(listening("127.0.0.1")) as made:
        number, unused = number_of(made), number_of_free()
        monkeypatch.setattr(socket, "socket", Denied)
        assert not port.is_free("127.0.0.1", number)
        assert port.is_free("127.0.0.1", unused)


@pytest.mark.parametrize("address", ["192.0.2.1", "no-such-name.invalid", "2001:db8::1"])
def test_an_address_that_is_not_ours_is_a_mistake(address: str) -> None:
    with pytest.raises(Failure, match="no address of this machine") as caught:
        port.is_free(address, 8110)
    assert caught.value.code == "bad_config"


def test_a_held_port_names_program_pid_and_command() -> None:
    code = (
        "import socket, sys; made = socket.create_server(('127.0.0.1', 0));"
        "print(made.getsockname()[1], flush=True); sys.stdin.read()"
    )
    argv = [sys.executable, "-c", code]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        number = int(child.stdout.readline())
        with pytest.raises(Failure) as caught:
            port.refuse_if_held("127.0.0.1", number)
        child.communicate()
    failure = caught.value
    program = os.path.basename(sys.executable)[:15]  # as much as the kernel keeps
    assert failure.code == "port_in_use"
    assert failure.message == f"port {number} is held by {program} (pid {child.pid})"
    assert failure.hint is not None
    assert f"ps -fp {child.pid}" in failure.hint
    assert sys.executable in failure.evidence[0]
    port.refuse_if_held("127.0.0.1", number)  # it is gone


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("redis-server --port 8123", "redis-server --port 8123"),
        ("app --password hunter2 -v", "app --password *** -v"),
        ("app --api-key=hunter2 serve", "app --api-key=*** serve"),
        ("DB_PASSWORD=hunter2 app", "DB_PASSWORD=*** app"),
        ("app postgres://me:hunter2@db/x", "app postgres://***@db/x"),
    ],
)
def test_secrets_of_a_strangers_command_line_are_not_shown(command: str, shown: str) -> None:
    assert Owner(7, "app", command, "me", "127.0.0.1").shown(command=True) == f"app (pid 7: {shown})"


def test_of_a_server_and_its_workers_the_server_is_named() -> None:
    with closing(listening("127.0.0.1")) as made:
        reading, writing = os.pipe()
        worker = os.fork()
        if worker == 0:
            os.close(writing)
            os.read(reading, 1)
            os._exit(0)
        try:
            found = listeners(number_of(made))
        finally:
            os.close(writing)
            os.close(reading)
            os.waitpid(worker, 0)
    assert [(owner.pid, owner.address, owner.user) for owner in found] == [(os.getpid(), "127.0.0.1", "root")]


def test_every_address_has_its_own_owner_and_only_those_in_the_way_are_named() -> None:
    with closing(listening("127.0.0.1")) as one, closing(listening("::1", number_of(one))):
        assert {owner.address for owner in listeners(number_of(one))} == {"127.0.0.1", "::1"}
        fact = port.read_port("127.0.0.1", number_of(one))
    assert [owner.address for owner in fact.owners] == ["127.0.0.1"]


def test_another_users_process_that_cannot_be_seen_is_told_by_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cc.resources.process_table._holders", lambda links: {})  # what /proc tells one who is not root
    with closing(listening("127.0.0.1")) as made:
        fact = port.read_port("127.0.0.1", number_of(made))
    assert fact.held_by() == "a process of user root"
    assert port.in_use(fact).hint == "take another port"


@pytest.mark.parametrize(
    ("owner", "name", "shown"),
    [
        (Owner(7, "docker-proxy", "", "root", ANY4), "clickhouse-otel", "container clickhouse-otel"),
        (Owner(None, "", "", "root", ANY4), "clickhouse-otel", "container clickhouse-otel"),
        (Owner(7, "docker-proxy", "", "root", ANY4), None, "docker-proxy (pid 7)"),
        (Owner(7, "postgres", "", "root", ANY4), "clickhouse-otel", "postgres (pid 7)"),
    ],
)
def test_a_published_port_names_its_container(
    monkeypatch: pytest.MonkeyPatch, owner: Owner, name: str | None, shown: str
) -> None:
    monkeypatch.setattr("cc.resources.process_table._listeners_in_proc", lambda number: (owner,))
    asked: list[int] = []

    def container_of(number: int) -> str | None:
        asked.append(number)
        return name

    assert [found.shown() for found in listeners(8123, container_of)] == [shown]
    assert asked == ([] if owner.program == "postgres" else [8123])


def test_what_psutil_tells_elsewhere_is_what_proc_tells_here(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(listening("127.0.0.1")) as made:
        in_proc = listeners(number_of(made))
        monkeypatch.setattr("cc.resources.process_table.LINUX", False)
        by_psutil = listeners(number_of(made))
    assert [(owner.pid, owner.user, owner.address) for owner in by_psutil] == [
        (owner.pid, owner.user, owner.address) for owner in in_proc
    ]


def test_the_first_free_port_is_taken_and_who_holds_the_others_is_told() -> None:
    taken: list[port.PortFact] = []
    with closing(listening("127.0.0.1")) as one:
        number = number_of(one)
        found = port.first_free("127.0.0.1", range(number, number + 50), taken.append)
        assert port.first_free("127.0.0.1", [number]) is None
    assert found is not None
    assert found > number
    assert [fact.port for fact in taken] == list(range(number, found))
    assert taken[0].owners[0].pid == os.getpid()


def ensure(here: Host, context: Context, **args: Any) -> Judged:
    return run_action(port.VERB.make(here, args), context)


def test_a_step_waits_until_somebody_listens_and_changes_nothing(host: Host, context: Context) -> None:
    number = number_of_free()
    made: list[socket.socket] = []
    timer = threading.Timer(0.2, lambda: made.append(listening("127.0.0.1", number)))
    timer.start()
    assert ensure(host, context, port=number, within=20.0).status is Status.OK
    timer.join()
    made[0].close()


def test_a_step_waits_until_a_port_is_free(host: Host, context: Context) -> None:
    made = listening("127.0.0.1")
    timer = threading.Timer(0.2, made.close)
    timer.start()
    assert ensure(host, context, port=number_of(made), state="free", within=20.0).status is Status.OK
    timer.join()


def test_giving_up_says_who_holds_it_or_that_nobody_listens(host: Host, context: Context) -> None:
    says = rf"is held by .* \(pid {os.getpid()}\) \(waited 0\.1 s\)"
    with closing(listening("127.0.0.1")) as made, pytest.raises(Failure, match=says) as held:
        ensure(host, context, port=number_of(made), state="free", within=0.1)
    with pytest.raises(Failure, match=r"nobody listens on 127\.0\.0\.1") as unheard:
        ensure(host, context, port=number_of_free(), within=0.0)
    assert (held.value.code, unheard.value.code) == ("port_in_use", "connection_refused")


def test_listening_is_asked_of_the_address_that_was_given(host: Host, context: Context) -> None:
    with closing(listening("127.0.0.1")) as made:
        assert ensure(host, context, port=number_of(made), host="localhost").status is Status.OK
        assert ensure(host, context, port=number_of(made), host=ANY4).status is Status.OK
        with pytest.raises(Failure):
            ensure(host, context, port=number_of(made), host="127.0.0.2")
