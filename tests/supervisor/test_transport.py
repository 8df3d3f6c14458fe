"""A live socket is never taken, a dead one never in the way, and nobody else's is ever touched."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cc.errors import Failure
from cc.supervisor.listener import AlreadyServed, UnixListener, listen_unix, remove_stale
from cc.supervisor.transport import LOCK, PIDFILE, SOCKET, Owner, connect_unix, is_held, read_owner
from tests.supervisor.ipc_support import HANG, accept, listen, me, other

DEAD = Owner(2**22 - 1, 1)


@pytest.fixture
def listener(run: Path) -> Iterator[UnixListener]:
    one = listen(run)
    yield one
    one.close()


def leave_stale(run: Path, owner: Owner | None = DEAD) -> None:
    """What a supervisor leaves that was killed."""
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(run / SOCKET))
    left.close()
    if owner:
        (run / PIDFILE).write_text(f"{owner.pid} {owner.start_time}\n")


# -- the Unix socket


def test_socket_pid_file_and_lock_are_the_users_alone(run: Path) -> None:
    run.chmod(0o755)
    one = listen(run)
    assert stat.S_IMODE(run.stat().st_mode) == 0o700
    assert {name: stat.S_IMODE((run / name).lstat().st_mode) for name in os.listdir(run)} == {
        SOCKET: 0o600, PIDFILE: 0o600, LOCK: 0o600
    }  # fmt: skip
    assert (run / PIDFILE).read_text() == f"{me().pid} {me().start_time}\n"
    one.close()


def test_a_client_connects_and_is_accepted(run: Path, listener: UnixListener) -> None:
    connect_unix(str(run), HANG).close()
    accept(listener)


def test_after_the_end_only_the_lock_file_is_left_and_nobody_holds_it(run: Path) -> None:
    one = listen(run)
    assert is_held(str(run))
    one.close()
    assert os.listdir(run) == [LOCK]
    assert not is_held(str(run))


def test_no_descriptor_is_inherited_by_what_is_started(run: Path, listener: UnixListener) -> None:
    assert not os.get_inheritable(listener.listening.fileno())
    assert not os.get_inheritable(listener._lock)


def test_a_live_socket_is_not_taken(run: Path, listener: UnixListener) -> None:
    before = (run / SOCKET).lstat().st_ino
    with pytest.raises(AlreadyServed) as caught:
        listen(run)
    assert caught.value.owner == me()
    assert str(me().pid) in caught.value.message
    assert (run / SOCKET).lstat().st_ino == before
    connect_unix(str(run), HANG).close()


def test_a_live_socket_is_not_taken_though_lock_and_pid_file_were_deleted(run: Path, listener: UnixListener) -> None:
    (run / LOCK).unlink()
    (run / PIDFILE).unlink()
    with pytest.raises(AlreadyServed):
        listen(run)
    with pytest.raises(AlreadyServed):
        remove_stale(str(run), lambda pid, started: False)
    connect_unix(str(run), HANG).close()


def test_a_live_socket_is_not_taken_though_its_queue_is_full(run: Path) -> None:
    busy = socket.socket(socket.AF_UNIX)
    busy.bind(str(run / SOCKET))
    busy.listen(0)
    waiting = [connect_unix(str(run), HANG)]  # a queue of 0 holds one
    with pytest.raises(Failure) as caught:
        connect_unix(str(run), 0.05)
    assert caught.value.code == "deadline"
    with pytest.raises(AlreadyServed):
        listen(run)
    for one in (busy, *waiting):
        one.close()


@pytest.mark.parametrize("owner", [DEAD, None], ids=["of a dead owner", "of nobody"])
def test_a_stale_socket_is_removed_and_that_is_said(run: Path, owner: Owner | None) -> None:
    leave_stale(run, owner)
    one = listen(run)
    assert one.repaired is not None
    assert "stale socket removed" in one.repaired
    connect_unix(str(run), HANG).close()
    one.close()


def test_a_socket_that_refuses_is_not_stale_while_its_owner_lives(run: Path) -> None:
    parent = os.getppid()
    leave_stale(run, Owner(parent, 5))
    with pytest.raises(AlreadyServed, match=str(parent)):
        listen_unix(str(run), owner=me(), alive=lambda pid, started: (pid, started) == (parent, 5))
    assert (run / SOCKET).is_socket()


def test_a_pid_file_that_names_us_already_does_not_stand_in_our_way(run: Path) -> None:
    leave_stale(run, me())
    one = listen(run)
    assert one.repaired
    one.close()


def test_a_stale_socket_can_be_removed_without_taking_its_place(run: Path) -> None:
    assert remove_stale(str(run), lambda pid, started: False) is None
    leave_stale(run)
    said = remove_stale(str(run), lambda pid, started: False)
    assert said is not None
    assert str(DEAD.pid) in said
    assert not (run / SOCKET).exists()
    assert not is_held(str(run))


def make_symlink(path: Path) -> None:
    (path.parent / "target").write_text("precious")
    path.symlink_to(path.parent / "target")


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (make_symlink, "a symbolic link"),
        (lambda path: path.write_text("precious"), "a file"),
        (lambda path: path.mkdir(), "a directory"),
        (os.mkfifo, "a device or a pipe"),
    ],
    ids=["symlink", "file", "directory", "pipe"],
)
def test_what_is_no_socket_is_neither_followed_nor_removed_but_named(run: Path, make: object, kind: str) -> None:
    make(run / SOCKET)  # type: ignore[operator]
    before = (run / SOCKET).lstat()
    for attempt in (
        lambda: listen(run),
        lambda: remove_stale(str(run), lambda pid, started: False),
        lambda: connect_unix(str(run), HANG),
    ):
        with pytest.raises(Failure, match=kind) as caught:
            attempt()
        assert caught.value.code == "not_ours"
        assert str(run / SOCKET) in caught.value.message
    assert (run / SOCKET).lstat() == before
    assert not is_held(str(run))


def test_a_symlink_to_a_live_socket_is_not_followed(run: Path, deep: Path) -> None:
    one = listen(run)
    (deep / SOCKET).symlink_to(run / SOCKET)
    with pytest.raises(Failure, match="symbolic link"):
        connect_unix(str(deep), HANG)
    one.close()


def test_a_socket_of_another_kind_is_left_alone(run: Path) -> None:
    strange = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    strange.bind(str(run / SOCKET))
    with pytest.raises(AlreadyServed):
        listen(run)
    assert (run / SOCKET).is_socket()
    strange.close()


@pytest.mark.parametrize("make", [make_symlink, lambda path: path.mkdir()], ids=["symlink", "directory"])
def test_a_lock_that_is_no_file_is_said(run: Path, make: object) -> None:
    make(run / LOCK)  # type: ignore[operator]
    with pytest.raises(Failure, match=LOCK):
        listen(run)
    assert not is_held(str(run))


def test_a_client_that_asks_whether_one_lives_does_not_stop_one_from_starting(run: Path) -> None:
    descriptor = os.open(run / LOCK, os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    threading.Timer(0.1, os.close, (descriptor,)).start()
    listen(run).close()


def test_what_one_left_that_was_killed_while_it_began_is_swept(run: Path) -> None:
    half = socket.socket(socket.AF_UNIX)
    half.bind(str(run / ".s.0123abcd"))
    half.close()
    (run / ".s.notes").write_text("no socket")
    one = listen(run)
    assert not (run / ".s.0123abcd").exists()
    assert (run / ".s.notes").exists()
    one.close()


def test_a_socket_that_comes_there_meanwhile_is_not_replaced(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def too_late(source: str, target: str) -> None:
        leave_stale(run)
        link(source, target)

    monkeypatch.setattr(os, "link", too_late)
    with pytest.raises(AlreadyServed):
        listen(run)
    assert sorted(os.listdir(run)) == [LOCK, PIDFILE, SOCKET]


def test_nothing_is_left_open_after_failures(run: Path, listener: UnixListener) -> None:
    before = os.listdir("/dev/fd")
    for _ in range(20):
        with pytest.raises(Failure):
            listen(run)
        with pytest.raises(Failure):
            connect_unix(str(run / "nowhere"), 0.1)
    assert len(os.listdir("/dev/fd")) == len(before)


def test_one_whose_place_was_taken_notices_once_and_touches_nothing_of_the_other(run: Path) -> None:
    first = listen(run)
    shutil.rmtree(run)
    run.mkdir(mode=0o700)
    second = listen(run, Owner(me().pid, me().start_time + 1))
    seen = first.check()
    assert seen is not None
    assert seen.lost
    assert first.check() is None
    first.close()
    assert sorted(os.listdir(run)) == [LOCK, PIDFILE, SOCKET]
    connect_unix(str(run), HANG).close()
    assert second.check() is None
    second.close()


@pytest.mark.parametrize("text", ["", "junk", "1 2 3", "0 5", "-4 5", "12", "99999999999999999999 x", "\0" * 70])
def test_a_pid_file_that_holds_something_else_names_nobody(run: Path, text: str) -> None:
    (run / PIDFILE).write_text(text)
    assert read_owner(str(run)) is None


# -- two at once


def test_of_two_that_start_at_the_same_instant_exactly_one_wins_and_the_other_can_connect_at_once(run: Path) -> None:
    with other("race") as one, other("race") as two:
        for number in range(20):
            place = run / f"r{number}"
            place.mkdir(mode=0o700)
            if number % 2:
                leave_stale(place)
            for each in (one, two):
                each.tell(str(place))
            results = sorted([one.hear(), two.hear()])
            assert results == ["port_in_use", "won"]
            connect_unix(str(place), HANG).close()
            for each in (one, two):
                each.tell("next")


def test_a_killed_supervisor_leaves_a_lock_that_nobody_holds(run: Path) -> None:
    with other(str(run)) as killed:
        assert killed.said == "ready"
        assert is_held(str(run))
        os.kill(killed.pid, signal.SIGKILL)
        killed.process.wait(HANG)
        assert not is_held(str(run))
    one = listen(run)
    assert one.repaired
    assert str(killed.pid) in one.repaired
    one.close()
