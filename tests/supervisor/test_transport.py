"""A live socket is never taken, a dead one never in the way, and nobody else's is ever touched."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cc.errors import ConfigError, Failure
from cc.supervisor import protocol, transport
from cc.supervisor.listener import AlreadyServed, UnixListener, listen_tcp, listen_unix, remove_stale
from cc.supervisor.transport import LOCK, PIDFILE, SOCKET, TOKEN, Owner, connect_tcp, connect_unix, is_held, read_owner
from tests.supervisor.ipc_support import HANG, answer, listen, me, other, serving

DEAD = Owner(2**22 - 1, 1)


@pytest.fixture
def run() -> Iterator[Path]:
    """Short, as a real one is: pytest's own directories come near the 107 bytes."""
    directory = Path(tempfile.mkdtemp(prefix="cc"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def deep(run: Path) -> Path:
    directory = run / ("d" * 60) / ("e" * 60) / "run"
    directory.mkdir(parents=True, mode=0o700)
    return directory


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


def accept(listener: UnixListener) -> None:
    connection, proof = listener.accept()
    connection.close()
    assert proof is None


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


# -- long paths


def test_a_path_too_long_for_a_socket_is_reached_all_the_same(deep: Path) -> None:
    assert len(str(deep / SOCKET)) > transport.LONGEST_PATH
    one = listen(deep)
    assert (deep / SOCKET).is_socket()
    connect_unix(str(deep), HANG).close()
    accept(one)
    with pytest.raises(AlreadyServed):
        listen(deep)
    one.close()
    assert os.listdir(deep) == [LOCK]


def test_a_stale_socket_of_a_long_path_is_removed(deep: Path) -> None:
    with other(str(deep)) as killed:
        assert killed.said == "ready"
    assert (deep / SOCKET).is_socket()
    one = listen(deep)
    assert one.repaired
    one.close()


def test_without_proc_a_long_path_has_its_socket_in_the_temporary_directory(
    run: Path, deep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "DIRECTORIES", str(run / "no-proc"))
    monkeypatch.setattr(tempfile, "tempdir", str(run))
    one = listen(deep)
    path = Path(transport.socket_path(str(deep)))
    assert path.parent.parent == run
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    connect_unix(str(deep), HANG).close()
    accept(one)
    assert transport.socket_path(str(run)) == str(run / SOCKET)
    one.close()
    assert not path.exists()


@pytest.mark.parametrize("trap", ["open to all", "a symlink to one open to all", "a file"])
def test_without_proc_a_directory_that_others_could_write_is_not_used(
    run: Path, deep: Path, trap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "DIRECTORIES", str(run / "no-proc"))
    monkeypatch.setattr(tempfile, "tempdir", str(run))
    place = Path(transport.socket_path(str(deep))).parent
    (run / "open").mkdir()
    (run / "open").chmod(0o777)
    if trap == "open to all":
        (run / "open").rename(place)
    elif trap == "a file":
        place.write_text("")
    else:
        place.symlink_to(run / "open")
    with pytest.raises(Failure) as caught:
        listen(deep)
    assert caught.value.code == "not_ours"


# -- whose the other end is


ASK_AS_NOBODY = """
import os, socket, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
s = socket.socket(socket.AF_UNIX)
s.settimeout(30)
if sys.argv[1] == "connect":
    s.connect(sys.argv[2])
    print(s.recv(100))
else:
    os.umask(0)
    s.bind(sys.argv[2]); s.listen(); print("ready", flush=True)
    s.accept()[0].recv(1)
"""


def as_nobody(what: str, path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", ASK_AS_NOBODY, what, str(path)], text=True, stdout=subprocess.PIPE)


@pytest.fixture
def another_user(monkeypatch: pytest.MonkeyPatch) -> bool:
    """True where a real one can be had; else we look at ourselves as another one would."""
    if os.geteuid() == 0:
        return True
    uid = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    return False


def test_a_client_of_another_user_is_refused(run: Path, another_user: bool) -> None:
    if another_user:
        log: list[str] = []
        with serving(run, log=log.append):
            run.chmod(0o755)
            (run / SOCKET).chmod(0o666)
            client = as_nobody("connect", run / SOCKET)
            assert client.communicate(timeout=HANG)[0] == "b''\n"
            assert "uid 65534" in log[0]
            run.chmod(0o700)
    else:
        ours, theirs = socket.socketpair()
        with pytest.raises(Failure, match="another user"):
            transport.refuse_strangers(ours, "the client")
        ours.close()
        theirs.close()


def test_a_server_of_another_user_is_refused_and_not_removed(run: Path, another_user: bool) -> None:
    if another_user:
        run.chmod(0o777)
        server = as_nobody("listen", run / SOCKET)
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        with pytest.raises(Failure, match="uid 65534") as caught:
            connect_unix(str(run), HANG)
        server.wait(HANG)
        server.stdout.close()
    else:
        server_side = socket.socket(socket.AF_UNIX)
        server_side.bind(str(run / SOCKET))
        server_side.listen()
        with pytest.raises(Failure, match="another user") as caught:
            connect_unix(str(run), HANG)
        server_side.close()
    assert caught.value.code == "not_ours"
    assert (run / SOCKET).is_socket()


def test_a_run_directory_of_another_user_is_not_used(run: Path, another_user: bool) -> None:
    if another_user:
        os.chown(run, 65534, 65534)
    with pytest.raises(Failure, match="another user"):
        listen(run)


# -- TCP


@pytest.fixture
def port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


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
