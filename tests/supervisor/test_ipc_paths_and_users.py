"""A path of any length leads to the socket, and the kernel says whose the other end is."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from cc.errors import Failure
from cc.supervisor import transport
from cc.supervisor.listener import AlreadyServed
from cc.supervisor.transport import LOCK, SOCKET, connect_unix
from tests.supervisor.ipc_support import HANG, accept, listen, other, serving

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
