"""How commands end: deadline, cancel, what is left behind, many at once, nothing leaked. Real processes throughout."""

from __future__ import annotations

import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cc.clock import Cancel
from cc.errors import DeadlineExceeded, Interrupted
from cc.shell import Command, SystemShell

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    from conftest import Word

ROOT = str(Path(__file__).resolve().parents[2])
SOON = 20.0  # seconds: far more than any of this needs, far less than the commands would take


@pytest.fixture
def cancel() -> Iterator[Cancel]:
    made = Cancel()
    yield made
    made.close()


def sh(script: str, *, deadline: float = 60, grace: float = 2, **options: object) -> Command:
    return Command(("sh", "-c", script), deadline=deadline, grace=grace, **options)  # type: ignore[arg-type]


def late(shell: SystemShell, command: Command) -> DeadlineExceeded:
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded) as caught:
        shell.run(command)
    assert time.monotonic() - began < SOON
    return caught.value


# The deadline


def test_a_command_past_its_deadline_is_ended_with_its_last_words_as_evidence(shell: SystemShell, word: Word) -> None:
    error = late(shell, sh(f"echo waiting for the daemon; {word.stays}", deadline=0.3))
    assert error.code == "deadline"
    assert "did not end within 0.3 s and was ended" in str(error)
    assert error.evidence == ("waiting for the daemon",)
    assert error.result.exit_code == -signal.SIGTERM
    assert word.alive() == []


def test_a_command_has_its_grace_to_clean_up(shell: SystemShell) -> None:
    error = late(shell, sh("trap 'echo cleaned; exit 0' TERM; while :; do sleep 0.1; done", deadline=0.3, grace=20))
    assert error.result.stdout == "cleaned\n"
    assert error.result.exit_code == 0


def test_a_command_that_ignores_term_is_killed_after_its_grace(shell: SystemShell, word: Word) -> None:
    error = late(shell, sh(f"exec {word.stays_whatever}", deadline=0.3, grace=0.3))
    assert error.result.exit_code == -signal.SIGKILL
    assert word.alive() == []


@pytest.mark.parametrize(
    "escape",
    [
        "{0} & wait",
        "setsid {0} & wait",
        "(setsid {0} >/dev/null 2>&1 &) ; while :; do sleep 1; done",
        "(setsid sh -c '(setsid env -u NOTHING {1} &) ' >/dev/null 2>&1 &) ; while :; do sleep 1; done",
        'env -i /bin/sh -c "{1} & wait" & wait',
        "env -i setsid {1} & wait",
    ],
    ids=["child", "own session", "double fork", "twice double fork", "no environment", "own session, no environment"],
)
@pytest.mark.parametrize("stubborn", [False, True], ids=["obeys", "ignores TERM"])
def test_whoever_fled_is_dead_after_the_deadline(
    shell: SystemShell, word: Word, tmp_path: Path, escape: str, stubborn: bool
) -> None:
    program = tmp_path / "flees"
    ignore = "trap '' TERM INT HUP" if stubborn else ":"
    program.write_text(f"#!/bin/sh\n{ignore}\necho $$ >> {tmp_path / 'pids'}\nwhile :; do sleep 1; done\n")
    program.chmod(0o755)
    for deadline in (0.3, 3, 10):  # a busy machine may not get there in time
        late(shell, sh(escape.format(f"{program} {word.text}", f"{program} {word.text}"), deadline=deadline, grace=0.2))
        if (tmp_path / "pids").exists():
            break
    assert (tmp_path / "pids").exists(), "it never started"
    assert word.alive() == []


def test_a_command_stopped_by_a_signal_is_ended_too(shell: SystemShell, word: Word) -> None:
    late(shell, sh(f"kill -STOP $$; {word.stays}", deadline=0.3, grace=0.2))
    assert word.alive() == []


def test_a_command_that_floods_its_output_still_ends_at_the_deadline(shell: SystemShell) -> None:
    error = late(shell, Command(("yes",), deadline=0.4, grace=1))
    assert error.result.stdout_bytes > 100_000


def test_a_deadline_of_nothing_ends_at_once_and_an_infinite_one_never(shell: SystemShell) -> None:
    late(shell, Command(("sleep", "60"), deadline=0))
    assert shell.run(Command(("true",), deadline=float("inf")))


INNER = """
import sys
from cc.shell import Command, SystemShell
script, up = sys.argv[1:]
SystemShell().run(Command(("sh", "-c", script), on_line=lambda *_: open(up, "w").close()))
"""


def test_a_run_inside_a_run_is_found_by_the_outer_deadline(shell: SystemShell, word: Word, tmp_path: Path) -> None:
    up = tmp_path / "up"
    script = f"(setsid {word.stays} >/dev/null 2>&1 &); echo up; while :; do sleep 1; done"
    argv = (sys.executable, "-c", INNER, script, str(up))
    for deadline in (1, 10):
        late(shell, Command(argv, deadline=deadline, grace=0.2, env={"PYTHONPATH": ROOT}))
        if up.exists():
            break
    assert up.exists(), "the inner run never started"
    assert word.alive() == []


# What is left behind after an end of its own


def test_what_stays_in_the_commands_session_is_ended_and_named(shell: SystemShell, word: Word) -> None:
    result = shell.run(sh(f"{word.stays_whatever} & echo started", grace=0.3))
    assert result.stdout == "started\n"
    assert [name.split()[1] for name in result.left_behind][:1] == ["sh"]
    assert word.alive() == []


def test_a_background_job_with_its_output_elsewhere_is_ended_too(shell: SystemShell, word: Word) -> None:
    shell.run(sh(f"set -m; {word.stays} >/dev/null 2>&1 &", grace=0.3))
    assert word.alive() == []


def test_a_daemon_in_a_session_of_its_own_is_left_alone(
    shell: SystemShell, word: Word, eventually: Callable[[Callable[[], object]], bool]
) -> None:
    result = shell.run(sh(f"(setsid {word.stays} >/dev/null 2>&1 &)"))
    assert result.left_behind == ()
    assert eventually(word.alive)


def test_a_daemon_that_holds_the_pipe_does_not_hold_us(shell: SystemShell, word: Word) -> None:
    began = time.monotonic()
    result = shell.run(sh(f"setsid {word.stays} & echo started"))
    assert result.stdout == "started\n"
    assert time.monotonic() - began < SOON


def test_what_a_child_writes_just_after_the_end_is_still_heard(shell: SystemShell) -> None:
    assert shell.run(sh("(sleep 0.05; echo late) & echo early")).stdout == "early\nlate\n"


# Cancel


def test_cancel_from_another_thread_interrupts(cancel: Cancel, word: Word) -> None:
    shell = SystemShell(cancel=cancel)
    command = sh(
        f"echo up; {word.stays}", on_line=lambda *_: threading.Thread(target=cancel.request, args=("asked",)).start()
    )
    with pytest.raises(Interrupted, match=r"was interrupted \(asked\) and was ended") as caught:
        shell.run(command)
    assert caught.value.code == "interrupted"
    assert caught.value.result.exit_code == -signal.SIGTERM
    assert caught.value.evidence == ("up",)
    assert word.alive() == []


@pytest.mark.parametrize(("reason", "heard"), [("SIGINT", "INT"), ("SIGTERM", "TERM"), ("SIGHUP", "TERM")])
def test_the_child_hears_the_signal_once_and_has_its_grace(cancel: Cancel, reason: str, heard: str) -> None:
    script = (
        "trap 'echo INT' INT; trap 'echo TERM' TERM; echo up; i=0; while [ $i -lt 10 ]; do i=$((i+1)); sleep 0.1; done"
    )
    command = sh(script, grace=20, on_line=lambda _, line: cancel.request(reason) if line == "up" else None)
    with pytest.raises(Interrupted) as caught:
        SystemShell(cancel=cancel).run(command)
    assert caught.value.result.stdout == f"up\n{heard}\n"
    assert caught.value.result.exit_code == 0


def test_a_stubborn_command_is_killed_after_cancel(cancel: Cancel, word: Word) -> None:
    command = sh(f"echo up; exec {word.stays_whatever}", grace=0.3, on_line=lambda *_: cancel.request("SIGINT"))
    with pytest.raises(Interrupted):
        SystemShell(cancel=cancel).run(command)
    assert word.alive() == []


def test_nothing_is_started_after_cancel(cancel: Cancel, tmp_path: Path) -> None:
    cancel.request("SIGTERM")
    shell = SystemShell(cancel=cancel)
    with pytest.raises(Interrupted, match="was not started"):
        shell.run(sh(f"touch {tmp_path / 'ran'}"))
    with pytest.raises(Interrupted, match="was not started"):
        shell.spawn(sh(f"touch {tmp_path / 'ran'}"), log=str(tmp_path / "log"))
    assert not (tmp_path / "ran").exists()


def test_a_command_that_cleans_up_after_a_cancellation_runs_and_still_has_its_deadline(cancel: Cancel) -> None:
    cancel.request("SIGINT")
    shell = SystemShell(cancel=cancel)
    assert shell.run(sh("sleep 0.05; echo cleaned", despite_cancel=True)).stdout == "cleaned\n"
    late(shell, sh("sleep 60", deadline=0.3, despite_cancel=True))


def test_a_cancel_that_comes_once_the_command_has_ended_changes_nothing(cancel: Cancel, word: Word) -> None:
    held = f"{word.stays} & sh -c 'sleep 0.05; echo late' & echo early"
    command = sh(held, on_line=lambda _, line: cancel.request("SIGINT") if line == "late" else None)
    result = SystemShell(cancel=cancel).run(command)
    assert (result.exit_code, result.stdout) == (0, "early\nlate\n")


EIGHT = """
import signal, sys, threading
from cc.clock import Cancel
from cc.errors import Interrupted
from cc.shell import Command, SystemShell
cancel = Cancel()
signal.signal(signal.SIGINT, lambda *_: cancel.request("SIGINT"))
signal.signal(signal.SIGTERM, lambda *_: cancel.request("SIGTERM"))
shell, up, told = SystemShell(cancel=cancel), [], []
def hear(_, line):
    if line == "up":
        up.append(1)
        if len(up) == 8:
            print("ready", flush=True)
SCRIPT = '''
trap 'echo INT' INT; trap 'echo TERM' TERM; echo up
i=0; while [ $i -lt 30 ]; do i=$((i+1)); sleep 0.1; done
'''
def one():
    try:
        shell.run(Command(("sh", "-c", SCRIPT), on_line=hear, grace=20))
        told.append("not interrupted")
    except Interrupted as error:
        told.append(error.result.stdout.split())
threads = [threading.Thread(target=one) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(told, flush=True)
"""


@pytest.mark.parametrize(("number", "name"), [(signal.SIGINT, "INT"), (signal.SIGTERM, "TERM")])
def test_a_real_signal_reaches_eight_commands_once_each(
    run_python: Callable[[str], subprocess.Popen[str]], number: int, name: str
) -> None:
    process = run_python(EIGHT)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert out == f"{[['up', name]] * 8}\n", err


PLAIN = """
import os, sys, time
from cc.shell import Command, SystemShell
shell = SystemShell()
shell.run(Command(("true",)))
pid = os.getpid()
try:
    print("ready", flush=True)
    while True:
        shell.run(Command(("sh", "-c", "sleep 20", "WORD"), grace=1))
except KeyboardInterrupt:
    print("interrupted" if os.getpid() == pid else "A COPY", flush=True)
"""


def test_a_keyboard_interrupt_near_the_fork_leaves_no_command_and_no_copy_of_us(
    run_python: Callable[[str], subprocess.Popen[str]], word: Word, eventually: Callable[[Callable[[], object]], bool]
) -> None:
    for attempt in range(12):
        process = run_python(PLAIN.replace("WORD", word.text))
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(attempt * 0.0005)  # not a wait: it moves the signal across the fork
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert out == "interrupted\n", err
        assert eventually(lambda: not word.alive())
