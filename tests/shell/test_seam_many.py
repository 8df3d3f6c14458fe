"""Many commands at once and one after the other, on machines that are out of something: nothing leaks, nothing lies."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from cc.errors import CcError, DeadlineExceeded, NonZeroExit
from cc.shell import Command, SystemShell

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Word

SOON = 20.0  # seconds: far more than any of this needs, far less than the commands would take


def sh(script: str, *, deadline: float = 60, grace: float = 2, **options: object) -> Command:
    return Command(("sh", "-c", script), deadline=deadline, grace=grace, **options)  # type: ignore[arg-type]


def test_eight_threads_each_keep_their_own_deadline_and_output(shell: SystemShell) -> None:
    def one(number: int) -> str:
        try:
            return shell.run(
                sh(f"echo {number}; sleep {0 if number % 2 else 60}", deadline=SOON if number % 2 else 0.5)
            ).stdout
        except DeadlineExceeded as error:
            return f"late {error.result.stdout}"

    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(one, range(48)))
    assert told == [f"{number}\n" if number % 2 else f"late {number}\n" for number in range(48)]


def test_hundreds_of_failed_calls_leak_no_descriptor_thread_or_zombie(
    shell: SystemShell, tmp_path: Path, eventually: Callable[[Callable[[], object]], bool]
) -> None:
    (tmp_path / "no-program").write_bytes(b"\x00\x01")
    (tmp_path / "no-program").chmod(0o755)
    commands = [
        Command(("no-such-tool",)),
        Command(("true",), cwd=str(tmp_path / "absent")),
        Command((str(tmp_path / "no-program"),)),
        Command(("/etc/passwd",)),
        sh("exit 3"),
        Command(("echo", "a\0b")),
    ]

    def one(number: int) -> None:
        with pytest.raises(CcError):
            shell.run(commands[number % len(commands)])
        with pytest.raises(CcError):
            shell.spawn(commands[number % 4], log=str(tmp_path / "log"))

    for number in range(12):
        one(number)
    assert eventually(lambda: threading.active_count() == 1)
    before = len(os.listdir("/dev/fd"))
    for number in range(150):
        one(number)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(150)))
    with pytest.raises(DeadlineExceeded):
        shell.run(Command(("sleep", "60"), deadline=0.05))
    assert eventually(lambda: threading.active_count() == 1)
    assert len(os.listdir("/dev/fd")) == before
    with pytest.raises(ChildProcessError):  # no child at all is left, not even a dead one
        os.waitpid(-1, os.WNOHANG)


def test_a_machine_out_of_descriptors_is_an_error_in_the_systems_words(shell: SystemShell) -> None:
    shell.run(Command(("true",)))
    held = []
    try:
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/dev/fd")) + 40, hard))
        try:
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            pass
        for free in range(1, 16):  # whichever of its own descriptors is the first that it can't have
            for number in held[:free]:
                os.close(number)
            del held[:free]
            before = len(os.listdir("/dev/fd"))
            with contextlib.suppress(CcError):
                shell.run(Command(("true",)))
            assert len(os.listdir("/dev/fd")) == before
            held += [os.open(os.devnull, os.O_RDONLY) for _ in range(free)]
        with pytest.raises(CcError, match="Too many open files"):
            shell.run(Command(("true",)))
    finally:
        for number in held:
            os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert shell.run(Command(("true",)))


IGNORES = """
import signal
from cc.errors import CommandFailure
from cc.shell import Command, SystemShell
def ignore(): signal.signal(signal.SIGCHLD, signal.SIG_IGN)
def make(): return SystemShell()
FIRST(); shell = SECOND()
try:
    print(shell.run(Command(("sh", "-c", "echo out; exit 3"), check=False)).exit_code)
except CommandFailure as error:
    print(error.code, error, error.result.stdout)
"""


def test_a_machine_out_of_processes_is_an_error_and_costs_no_descriptor(
    shell: SystemShell, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell.run(Command(("true",)))
    before = len(os.listdir("/dev/fd"))

    def refuse() -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fork", refuse)
        for _ in range(20):
            with pytest.raises(CcError, match=os.strerror(errno.EAGAIN)):
                shell.run(Command(("true",)))
    assert len(os.listdir("/dev/fd")) == before
    assert gc.isenabled()
    assert shell.run(Command(("true",)))


def test_a_machine_out_of_threads_is_an_error_and_leaves_no_command_behind(
    shell: SystemShell, monkeypatch: pytest.MonkeyPatch, word: Word
) -> None:
    shell.run(Command(("true",)))
    before = len(os.listdir("/dev/fd"))

    def refuse(_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(CcError, match=os.strerror(errno.EAGAIN)):
            shell.run(sh(word.stays))
    assert word.alive() == []
    assert len(os.listdir("/dev/fd")) == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_a_parent_that_inherited_ignored_children_still_learns_exit_codes(
    run_python: Callable[[str], subprocess.Popen[str]],
) -> None:
    code = IGNORES.replace("FIRST()", "ignore()").replace("SECOND", "make")
    assert run_python(code).communicate(timeout=60)[0] == "3\n"


def test_an_exit_code_that_somebody_else_took_is_an_error_and_not_a_success(
    run_python: Callable[[str], subprocess.Popen[str]],
) -> None:
    code = IGNORES.replace("FIRST(); shell = SECOND()", "shell = make(); ignore()")
    out, err = run_python(code).communicate(timeout=60)
    assert out.startswith("internal_error `sh -c "), err
    assert "its exit code is unknown" in out


def test_closed_standard_descriptors_do_not_mix_up_the_commands_own(
    run_python: Callable[[str], subprocess.Popen[str]], tmp_path: Path
) -> None:
    code = f"""
import os
for number in (0, 1, 2): os.close(number)
from cc.shell import Command, SystemShell
result = SystemShell().run(Command(("sh", "-c", "cat; echo err >&2"), input=b"in"))
open({str(tmp_path / "told")!r}, "w").write(repr((result.stdout, result.stderr)))
"""
    run_python(code).communicate(timeout=60)
    assert (tmp_path / "told").read_text() == "('in', 'err\\n')"


def test_a_bad_exit_and_a_good_one_are_told_apart_when_fast(shell: SystemShell) -> None:
    for _ in range(100):
        with pytest.raises(NonZeroExit):
            shell.run(Command(("false",)))
        assert shell.run(Command(("true",)))
