"""spawn: a child that is meant to stay. Real processes throughout."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cc.errors import CommandFailure, PermissionDenied, ToolMissing
from cc.shell import Child, Command, SystemShell, is_alive, start_time

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from conftest import Word

Eventually = "Callable[[Callable[[], object]], bool]"


def sh(script: str, **options: object) -> Command:
    return Command(("sh", "-c", script), **options)  # type: ignore[arg-type]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "child.log"


def test_a_child_is_known_by_pid_and_start_time_and_its_exit_code_is_told(
    shell: SystemShell, log: Path, tmp_path: Path, eventually: Eventually
) -> None:
    child = shell.spawn(sh(f"while [ ! -e {tmp_path / 'go'} ]; do sleep 0.01; done; exit 5"), log=str(log))
    assert child.poll() is None
    assert child.alive()
    assert start_time(child.pid) == child.start_time
    assert is_alive(child.pid, child.start_time)
    assert not is_alive(child.pid, child.start_time + 1)
    (tmp_path / "go").touch()
    assert eventually(lambda: child.poll() == 5)
    assert not child.alive()
    assert child.poll() == 5
    assert start_time(child.pid) != child.start_time


def test_a_child_that_is_dead_and_not_reaped_does_not_live(
    shell: SystemShell, log: Path, eventually: Eventually
) -> None:
    child = shell.spawn(Command(("true",)), log=str(log))
    stranger = Child(child.pid, child.start_time, child.argv)  # as another run that read it from a file sees it
    assert eventually(lambda: not stranger.alive())
    assert eventually(lambda: child.poll() == 0)


def test_exit_codes_are_right_however_quickly_children_die(
    shell: SystemShell, log: Path, eventually: Eventually
) -> None:
    for number in range(40):
        child = shell.spawn(sh(f"exit {number + 1}"), log=str(log))
        assert eventually(lambda child=child: child.poll() is not None)
        assert child.poll() == number + 1


def test_death_by_a_signal_is_a_negative_exit_code(shell: SystemShell, log: Path, eventually: Eventually) -> None:
    child = shell.spawn(Command(("sleep", "300")), log=str(log))
    os.kill(child.pid, signal.SIGKILL)
    assert eventually(lambda: child.poll() == -signal.SIGKILL)


def test_output_is_appended_to_the_log_which_others_may_not_read(
    shell: SystemShell, log: Path, eventually: Eventually
) -> None:
    for text in ("one", "two"):
        child = shell.spawn(sh(f"echo {text}; echo err-{text} >&2"), log=str(log))
        assert eventually(lambda child=child: child.poll() is not None)
    assert log.read_text() == "one\nerr-one\ntwo\nerr-two\n"
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_child_inherits_no_lock_no_terminal_and_no_input(
    shell: SystemShell, log: Path, tmp_path: Path, eventually: Eventually
) -> None:
    lock = os.open(tmp_path / "lock", os.O_CREAT | os.O_RDWR)
    os.set_inheritable(lock, True)
    fcntl.flock(lock, fcntl.LOCK_EX)
    child = shell.spawn(sh("ls -l /dev/fd/ ; cat; ps -o sid=,tty= -p $$; sleep 300"), log=str(log))
    try:
        assert eventually(lambda: len(log.read_text().split("\n")) > 5)
        assert f"{tmp_path}/lock" not in log.read_text()
        os.close(lock)
        again = os.open(tmp_path / "lock", os.O_RDWR)
        fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises while anybody holds it
        os.close(again)
        assert os.getsid(child.pid) == child.pid
    finally:
        os.killpg(child.pid, signal.SIGKILL)
    assert eventually(lambda: child.poll() is not None)


PARENT = """
import os, sys
from cc.shell import Command, SystemShell
child = SystemShell(marker=("CC_OWNER", "p:1")).spawn(
    Command(("sh", "-c", "echo up; sleep 0.3; while :; do echo still; sleep 0.05; done", "WORD")), log=LOG)
print(child.pid, child.start_time, flush=True)
"""


def test_a_child_survives_its_parent_and_goes_on_writing(
    run_python: Callable[[str], subprocess.Popen[str]], log: Path, word: Word, eventually: Eventually
) -> None:
    parent = run_python(PARENT.replace("WORD", word.text).replace("LOG", repr(str(log))))
    out, err = parent.communicate(timeout=60)
    assert parent.returncode == 0, err
    pid, started = map(int, out.split())
    assert is_alive(pid, started)
    assert eventually(lambda: "still" in log.read_text())
    assert word.alive() == [pid]


def test_a_child_that_was_spawned_inside_a_run_outlives_that_run(
    shell: SystemShell, log: Path, word: Word, tmp_path: Path
) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT.replace("WORD", word.text).replace("LOG", repr(str(log))))
    result = shell.run(
        Command((sys.executable, str(script)), env={"PYTHONPATH": str(Path(__file__).resolve().parents[2])})
    )
    pid, started = map(int, result.stdout.split())
    assert result.left_behind == ()
    assert is_alive(pid, started)


def test_a_child_carries_our_mark_and_none_of_a_runs(
    shell: SystemShell, log: Path, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    monkeypatch.setenv("CC_SEAM", "of the run that we are part of")
    marked = SystemShell(marker=("CC_OWNER", "p:1"))
    child = marked.spawn(sh("echo ${CC_OWNER-none} ${CC_SEAM-none}"), log=str(log))
    assert eventually(lambda: child.poll() is not None)
    child = marked.spawn(sh("echo ${CC_OWNER-none} ${CC_SEAM-none}", owned=False), log=str(log))
    assert eventually(lambda: child.poll() is not None)
    assert log.read_text() == "p:1 none\nnone none\n"


def test_what_cannot_be_executed_is_told_as_run_tells_it(shell: SystemShell, log: Path, tmp_path: Path) -> None:
    with pytest.raises(ToolMissing, match="no-such-tool is not on PATH"):
        shell.spawn(Command(("no-such-tool",)), log=str(log))
    with pytest.raises(PermissionDenied):
        shell.spawn(Command(("/etc/passwd",)), log=str(log))
    with pytest.raises(CommandFailure) as caught:
        shell.spawn(Command(("true",), cwd=str(tmp_path / "absent")), log=str(log))
    assert caught.value.code == "bad_config"


def test_a_log_that_cannot_be_opened_is_told_with_its_path(shell: SystemShell, tmp_path: Path) -> None:
    with pytest.raises(CommandFailure, match=r"its log .*absent/log: No such file or directory") as caught:
        shell.spawn(Command(("true",)), log=str(tmp_path / "absent" / "log"))
    assert caught.value.hint == f"mkdir -p {tmp_path / 'absent'}"


def test_living_children_cost_no_thread(shell: SystemShell, log: Path, eventually: Eventually) -> None:
    children = [shell.spawn(Command(("sleep", "300")), log=str(log)) for _ in range(5)]
    assert eventually(lambda: threading.active_count() == 1)
    assert all(child.poll() is None for child in children)
    for child in children:
        os.kill(child.pid, signal.SIGTERM)
    assert eventually(lambda: all(child.poll() == -signal.SIGTERM for child in children))


def test_a_run_beside_it_does_not_take_a_childs_exit_code(
    shell: SystemShell, log: Path, eventually: Eventually
) -> None:
    child = shell.spawn(sh("sleep 0.05; exit 9"), log=str(log))
    for _ in range(30):
        shell.run(Command(("true",)))
    assert eventually(lambda: child.poll() == 9)
