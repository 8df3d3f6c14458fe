"""The state directory, the lock of one operation at a time, and the journal: whoever dies, and on whatever disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cc.engine.step import Context
from cc.errors import ConfigError, Failure, Interrupted, LockHeldError
from cc.resources.state import StateDir, take_lock
from cc.shell import Command, SystemShell
from tests.fakes import FakeClock

ROOT = Path(__file__).resolve().parents[2]
HOLD = """
import os, sys
from cc.clock import Cancel, SystemClock
from cc.engine.step import Context
from cc.resources.state import StateDir, take_lock
lock = take_lock(StateDir(sys.argv[1], "p"), "restart", Context(SystemClock(), Cancel()), timeout=60)
print("held", lock.interrupted, flush=True)
sys.stdin.readline()
lock.release()
print("released", flush=True)
"""
NOBODY = "import os\nif os.geteuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    return StateDir(str(tmp_path / "home"), "p")


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB and 12 files."""
    mounted = tmp_path / "tiny"
    mounted.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=12", "tmpfs", str(mounted)], check=True)
    yield mounted
    subprocess.run(["umount", str(mounted)], check=True)


@pytest.fixture
def holder(state: StateDir) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock, until a line comes in."""
    process = start_holder(state)
    yield process
    process.kill()
    process.communicate()


def start_holder(state: StateDir) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, state.home], cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("held")
    return process


def let_go(process: subprocess.Popen[str]) -> None:
    assert process.communicate("\n", timeout=30)[0] == "released\n"


# --- the directory


def test_the_directories_are_made_for_their_owner_alone(state: StateDir) -> None:
    state.ensure()
    state.ensure()
    for path in (state.home, state.path, state.run, state.logs, state.cache):
        assert os.stat(path).st_mode & 0o777 == 0o700


def test_a_run_directory_that_others_may_enter_is_shut(state: StateDir) -> None:
    state.ensure()
    Path(state.run).chmod(0o755)
    state.ensure()
    assert os.stat(state.run).st_mode & 0o777 == 0o700


def in_the_way(path: Path) -> None:
    path.write_text("")


def link_to_itself(path: Path) -> None:
    path.symlink_to(path)


def link_to_nothing(path: Path) -> None:
    path.symlink_to(path.parent / "nothing" / "there")


@pytest.mark.parametrize("make", [in_the_way, link_to_itself, link_to_nothing])
@pytest.mark.parametrize("where", ["", "p", "p/run"])
def test_a_home_that_cannot_be_one_is_bad_configuration_that_names_what_is_in_the_way(
    tmp_path: Path, make: Callable[[Path], None], where: str
) -> None:
    home = tmp_path / "home"
    (home / where).parent.mkdir(parents=True, exist_ok=True)
    make(home / where)
    with pytest.raises(ConfigError) as caught:
        StateDir(str(home), "p").ensure()
    assert (caught.value.field, caught.value.exit_code) == ("CC_HOME", 2)
    assert str(home / where).rstrip("/") in caught.value.message
    assert "set CC_HOME" in (caught.value.hint or "")


@pytest.mark.parametrize("home", ["/dev/null/state", "/proc/state"])
def test_a_home_where_nothing_can_be_made_is_bad_configuration(home: str) -> None:
    with pytest.raises(ConfigError, match=home):
        StateDir(home, "p").ensure()


@pytest.mark.parametrize("made_before", [False, True])
def test_a_home_of_somebody_else_is_bad_configuration(shared: Path, made_before: bool) -> None:
    home = shared / "home"
    home.mkdir(mode=0o755)
    if made_before:
        StateDir(str(home), "p").ensure()
        (home / "p").chmod(0o555)
    if os.geteuid() != 0:
        home.chmod(0o555)
    code = (
        "import sys; from cc.errors import ConfigError; from cc.resources.state import StateDir\n" + NOBODY + "try:\n"
        " StateDir(sys.argv[1], 'p').ensure()\nexcept ConfigError as error: print(error.message)"
    )
    asked = [sys.executable, "-c", code, str(home)]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("Permission denied")
    home.chmod(0o755)


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory that everybody may enter, which pytest's own are not."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="cc-state-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


def test_a_disk_without_room_for_a_directory_is_a_full_disk(tiny: Path) -> None:
    for number in range(11):
        (tiny / str(number)).touch()
    with pytest.raises(Failure) as caught:
        StateDir(str(tiny / "home"), "p").ensure()
    assert caught.value.code == "disk_full"


def test_the_owner_is_known_by_the_homes_real_path_and_no_file(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "link").symlink_to("home")
    owner = StateDir(str(tmp_path / "home"), "p").owner
    assert owner.startswith("p:")
    assert StateDir(str(tmp_path / "link"), "p").owner == owner
    assert StateDir(str(tmp_path / "other"), "p").owner != owner
    assert StateDir(str(tmp_path / "home"), "q").owner == owner.replace("p:", "q:")
    (tmp_path / "home").rmdir()
    assert StateDir(str(tmp_path / "home"), "p").owner == owner


# --- the lock


def test_a_second_process_is_told_who_holds_it(
    state: StateDir, holder: subprocess.Popen[str], context: Context
) -> None:
    with pytest.raises(LockHeldError) as caught:
        take_lock(state, "up", context)
    assert caught.value.exit_code == 4
    assert f"another run operates project 'p': `restart`, pid {holder.pid}, for " in caught.value.message
    assert "--lock-timeout" in (caught.value.hint or "")
    let_go(holder)
    lock = take_lock(state, "up", context)
    assert lock.interrupted is None
    lock.release()


def test_two_threads_of_one_process_exclude_each_other_too(state: StateDir, context: Context) -> None:
    lock = take_lock(state, "up", context)
    with pytest.raises(LockHeldError, match=f"`up`, pid {os.getpid()}"):
        take_lock(state, "down", context)
    lock.release()
    lock.release()
    take_lock(state, "down", context).release()


def test_projects_do_not_wait_for_each_other(state: StateDir, context: Context) -> None:
    locks = [take_lock(StateDir(state.home, name), "up", context) for name in ("p", "q")]
    for lock in locks:
        lock.release()


def test_whoever_waits_says_for_whom_and_gets_it_when_it_is_free(
    state: StateDir, holder: subprocess.Popen[str], context: Context
) -> None:
    said: list[str] = []
    clock = FakeClock()

    def say(what: str, elapsed: float, within: float | None) -> None:
        said.append(what)
        let_go(holder)

    waiting = Context(clock, context.cancel, say=say)
    lock = take_lock(state, "up", waiting, timeout=60)
    assert said == [f"the other run to end (`restart`, pid {holder.pid}, for 0 s)"]
    assert clock.now() < 1060
    lock.release()


def test_the_wait_ends_with_its_time_and_with_a_cancellation(
    state: StateDir, holder: subprocess.Popen[str], context: Context
) -> None:
    clock = FakeClock()
    with pytest.raises(LockHeldError):
        take_lock(state, "up", Context(clock, context.cancel), timeout=5)
    assert 1005 <= clock.now() < 1006
    context.cancel.request("SIGINT")
    with pytest.raises(Interrupted):
        take_lock(state, "up", context, timeout=60)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_holder_that_was_killed_lets_go_and_is_told_to_the_next_one(
    state: StateDir, holder: subprocess.Popen[str], context: Context, number: int
) -> None:
    holder.send_signal(number)
    holder.wait(30)
    lock = take_lock(state, "up", context)
    assert lock.interrupted is not None
    assert (lock.interrupted["pid"], lock.interrupted["command"]) == (holder.pid, "restart")
    lock.release()
    again = take_lock(state, "up", context)
    assert again.interrupted is None
    again.release()


def test_a_child_that_stays_does_not_hold_it(state: StateDir, context: Context, tmp_path: Path) -> None:
    lock = take_lock(state, "up", context)
    shell = SystemShell()
    child = shell.spawn(Command(("sleep", "600")), log=str(tmp_path / "log"))
    try:
        held = {os.path.realpath(f"/proc/{child.pid}/fd/{name}") for name in os.listdir(f"/proc/{child.pid}/fd")}
        assert not any("operation.lock" in path for path in held)
        lock.release()
        take_lock(state, "down", context).release()
        assert child.alive()
    finally:
        os.kill(child.pid, signal.SIGKILL)


def test_a_copy_in_a_fork_does_not_hold_it_after_the_release(state: StateDir, context: Context) -> None:
    """Between fork and exec a child has every descriptor; a slow one must not keep the next run out."""
    lock = take_lock(state, "up", context)
    copy = os.dup(lock.descriptor)
    lock.release()
    take_lock(state, "down", context).release()
    os.close(copy)


@pytest.mark.parametrize(
    "text",
    [
        b"", b"junk", b"\x00\xff", b"[]", b"7", b'{"pid": 1}', b'{"pid": 1, "since": "soon"}', b"{}",
        b'{"pid": 1, "since": null}', b'{"pid": 1, "since": NaN}', b'{"pid": 1, "since": Infinity}', b"[" * 4096,
        b'{"pid": 1, "since": 1e999, "command": []}',
    ],
)  # fmt: skip
def test_a_lock_file_of_junk_is_no_obstacle_to_taking_or_to_refusing(
    state: StateDir, context: Context, text: bytes
) -> None:
    state.ensure()
    path = Path(state.run) / "operation.lock"
    path.write_bytes(text)
    lock = take_lock(state, "up", context)
    path.write_bytes(text)
    with pytest.raises(LockHeldError):
        take_lock(state, "down", context)
    lock.release()


def test_a_lock_file_that_was_removed_while_we_waited_is_not_the_one_we_end_up_holding(
    state: StateDir, holder: subprocess.Popen[str], context: Context
) -> None:
    path = Path(state.run) / "operation.lock"

    def say(what: str, elapsed: float, within: float | None) -> None:
        path.unlink()
        let_go(holder)

    lock = take_lock(state, "up", Context(FakeClock(), context.cancel, say=say), timeout=60)
    with pytest.raises(LockHeldError):
        take_lock(state, "down", context)
    lock.release()


def test_on_a_full_disk_the_lock_holds_and_only_its_holder_has_no_name(tiny: Path, context: Context) -> None:
    state = StateDir(str(tiny / "home"), "p")
    take_lock(state, "up", context).release()
    fill(tiny)
    lock = take_lock(state, "up", context)
    with pytest.raises(LockHeldError, match="its holder left no name"):
        take_lock(state, "down", context)
    lock.release()


def fill(disk: Path) -> Path:
    """To the last byte."""
    with (disk / "ballast").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 512)
        except OSError:
            return disk / "ballast"
