"""A file is written whole or not at all, whatever happens meanwhile."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cc.errors import Failure, RunDeadlineError
from cc.files import full_disk, mount_of, os_failure, write_whole

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    mounted = tmp_path / "tiny"
    mounted.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(mounted)], check=True)
    yield mounted
    subprocess.run(["umount", str(mounted)], check=True)


def refused(path: Path, data: bytes = b"new") -> Failure:
    with pytest.raises(Failure) as caught:
        write_whole(str(path), data)
    return caught.value


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("before", [None, b"old, and longer than the new one"])
def test_the_whole_content_replaces_what_was_there(tmp_path: Path, before: bytes | None, durable: bool) -> None:
    path = tmp_path / "file"
    if before is not None:
        path.write_bytes(before)
    write_whole(str(path), b"new", durable=durable)
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o400, 0o755])
def test_the_mode_is_exactly_the_one_asked_for_whatever_the_umask(tmp_path: Path, mode: int) -> None:
    before = os.umask(0o077)
    try:
        write_whole(str(tmp_path / "file"), b"x", mode=mode)
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o7777 == mode


def test_nobody_else_may_read_it_unless_asked(tmp_path: Path) -> None:
    write_whole(str(tmp_path / "file"), b"x")
    assert (tmp_path / "file").stat().st_mode & 0o7777 == 0o600


def test_a_relative_name_is_written_in_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_whole("file", b"x")
    assert (tmp_path / "file").read_bytes() == b"x"


def test_a_link_is_replaced_and_what_it_points_to_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"theirs")
    (tmp_path / "link").symlink_to("target")
    write_whole(str(tmp_path / "link"), b"ours")
    assert (tmp_path / "target").read_bytes() == b"theirs"
    assert (tmp_path / "link").read_bytes() == b"ours"
    assert not (tmp_path / "link").is_symlink()


def test_on_a_full_disk_the_old_content_stays_and_no_temporary_file_does(tiny: Path) -> None:
    path = tiny / "file"
    path.write_bytes(b"old")
    error = refused(path, b"x" * 200_000)
    assert error.code == "disk_full"
    assert str(path) in error.message
    assert "free some space" in (error.hint or "")
    assert path.read_bytes() == b"old"
    assert os.listdir(tiny) == ["file"]
    write_whole(str(path), b"fits")
    assert path.read_bytes() == b"fits"


def test_a_directory_without_a_right_to_write_is_permission_denied() -> None:
    with tempfile.TemporaryDirectory(prefix="cc-files-") as directory:
        Path(directory).chmod(0o555)
        code = (
            "import os, sys; from cc.errors import Failure; from cc.files import write_whole\n"
            "if os.geteuid() == 0: os.setgroups([]); os.setuid(65534)\n"
            "try: write_whole(sys.argv[1], b'x')\n"
            "except Failure as failure: print(failure.code, failure.hint)\n"
        )
        asked = [sys.executable, "-c", code, f"{directory}/file"]
        said = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        assert said.startswith("permission_denied give yourself the right")
        assert os.listdir(directory) == []
        Path(directory).chmod(0o755)


def test_a_device_a_pipe_and_a_socket_are_refused_and_stay_what_they_are(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        for path in (tmp_path / "pipe", tmp_path / "socket", Path("/dev/full"), Path("/dev/null")):
            before = path.lstat()
            error = refused(path)
            assert (error.code, "device" in error.message) == ("bad_config", True)
            assert (path.lstat().st_mode, path.lstat().st_rdev) == (before.st_mode, before.st_rdev)
    assert sorted(os.listdir(tmp_path)) == ["pipe", "socket"]


@pytest.mark.parametrize("where", ["missing/file", "a directory"])
def test_what_cannot_be_replaced_is_a_failure_that_names_it_and_leaves_nothing(tmp_path: Path, where: str) -> None:
    (tmp_path / "a directory").mkdir()
    error = refused(tmp_path / where)
    assert str(tmp_path / where) in error.message
    assert os.listdir(tmp_path) == ["a directory"]
    assert os.listdir(tmp_path / "a directory") == []


def test_a_reader_never_sees_half_of_it(tmp_path: Path) -> None:
    path, whole = str(tmp_path / "file"), {bytes([letter]) * 300_000 for letter in b"ab"}
    write_whole(path, min(whole), durable=False)
    done = threading.Event()

    def write() -> None:
        for _ in range(50):
            for data in whole:
                write_whole(path, data, durable=False)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while not done.is_set():
        seen.add(Path(path).read_bytes())
    writer.join()
    assert seen <= whole


def test_a_write_that_is_killed_leaves_the_old_content_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a" * 1_000_000)
    code = (
        "import sys; from cc.files import write_whole\n"
        "print(flush=True)\n"
        "while True: write_whole(sys.argv[1], b'b' * 1_000_000); write_whole(sys.argv[1], b'a' * 1_000_000)\n"
    )
    for _ in range(5):
        writer = subprocess.Popen([sys.executable, "-c", code, str(path)], cwd=ROOT, stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        assert path.read_bytes() in (b"a" * 1_000_000, b"b" * 1_000_000)


def test_a_signal_handler_that_raises_in_the_middle_leaves_no_temporary_file(tmp_path: Path) -> None:
    """The alarm of a reading command's deadline is one."""

    def late(number: int, frame: object) -> None:
        raise RunDeadlineError("late")

    def write_until(seconds: float) -> None:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        while True:
            write_whole(str(tmp_path / "file"), b"x" * 100_000, durable=False)

    before = signal.signal(signal.SIGALRM, late)
    try:
        for moment in range(200):
            with pytest.raises(RunDeadlineError):
                write_until(0.0002 + moment * 0.00001)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert [name for name in os.listdir(tmp_path) if name != "file"] == []


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, "disk_full"),
        (errno.EDQUOT, "disk_full"),
        (errno.EACCES, "permission_denied"),
        (errno.EPERM, "permission_denied"),
        (errno.EROFS, "permission_denied"),
        (errno.ECONNREFUSED, "connection_refused"),
        (errno.EIO, "bad_answer"),
    ],
)
def test_an_error_of_the_system_is_a_typed_failure_in_the_systems_own_words(number: int, code: str) -> None:
    failure = os_failure(OSError(number, os.strerror(number)), "cannot do it")
    assert (failure.code, failure.message) == (code, f"cannot do it: {os.strerror(number)}")
    assert bool(failure.hint) is (code in ("disk_full", "permission_denied"))


def test_a_full_disk_is_named_by_where_it_is_mounted_and_nothing_is_left_on_it(tiny: Path) -> None:
    directory = tiny / "deep" / "er"
    directory.mkdir(parents=True)
    assert full_disk(str(directory)) is None
    with pytest.raises(OSError, match="No space left"):
        (tiny / "filling").write_bytes(bytes(128 * 1024))
    assert full_disk(str(directory)) == f"the disk of {directory} is full (mounted at {tiny})"
    assert list(directory.iterdir()) == []


def test_what_cannot_be_written_for_another_reason_is_no_full_disk(tmp_path: Path) -> None:
    assert full_disk(str(tmp_path / "gone")) is None
    assert mount_of("/") == "/"
